package exchange

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"tecken-upload/internal/archive"
	"tecken-upload/internal/spool"
	"tecken-upload/internal/upload"
)

// statusClientGone is never seen by a client; it keeps those that hung up apart in metrics. The number is
// nginx's.
const statusClientGone = 499

// retryAfter is told with a 503 that knows no better, more or less: see someTime.
const retryAfter = 15 * time.Second

// statuses is the one table from error to status, and to the reason that the metric of refused uploads has for it; the first that matches
// counts, so that what ended an upload stands before what that broke on its way.
var statuses = []struct {
	is     error
	status int
	reason string // "": it refuses no upload
}{
	{upload.ErrClientGone, statusClientGone, ""},
	{upload.ErrShutdown, http.StatusServiceUnavailable, "shutdown"},
	{upload.ErrDeadline, http.StatusGatewayTimeout, "slow"},
	{upload.ErrReceiveTimeout, http.StatusGatewayTimeout, "slow"},
	{ErrNoToken, http.StatusForbidden, "token"},
	{ErrTokenUnknown, http.StatusForbidden, "token"},
	{ErrTokenExpired, http.StatusForbidden, "token"},
	{ErrForbidden, http.StatusForbidden, "permission"},
	{ErrEncodedForm, http.StatusBadRequest, "form"},
	{upload.ErrNoFile, http.StatusBadRequest, "form"},
	{upload.ErrMalformed, http.StatusBadRequest, "form"},
	{archive.ErrInvalid, http.StatusBadRequest, "form"},
	{archive.ErrTooLarge, http.StatusRequestEntityTooLarge, "size"},
	{upload.ErrTooLarge, http.StatusRequestEntityTooLarge, "size"},
	{spool.ErrTooLarge, http.StatusRequestEntityTooLarge, "size"},
	{upload.ErrSource, http.StatusBadRequest, "url"},
	{upload.ErrSourceDown, http.StatusServiceUnavailable, "url"},
	{upload.ErrSourceSlow, http.StatusGatewayTimeout, "url"},
	{upload.ErrOverLimit, http.StatusTooManyRequests, "limit"},
	{upload.ErrBusy, http.StatusServiceUnavailable, "busy"},
	{spool.ErrFull, http.StatusServiceUnavailable, "disk_full"},
	{upload.ErrRefused, http.StatusInternalServerError, "refused"},
	{upload.ErrUnavailable, http.StatusServiceUnavailable, "unavailable"},
	{ErrSymbolNotFound, http.StatusNotFound, ""},
	{ErrNoRecord, http.StatusNotFound, ""},
	{ErrBadQuery, http.StatusBadRequest, ""},
}

// Status returns the status that err is answered with. An error of no known kind is our fault: 500.
func Status(err error) int {
	for _, s := range statuses {
		if errors.Is(err, s.is) {
			return s.status
		}
	}
	return http.StatusInternalServerError
}

// OrGone marks errors that the client caused by hanging up: whatever was done for it was cancelled.
func OrGone(r *http.Request, err error) error {
	if r.Context().Err() != nil && errors.Is(err, context.Canceled) {
		return fmt.Errorf("%w: %w", upload.ErrClientGone, err)
	}
	return err
}

// What requests are refused for by the web alone.
var (
	// ErrEncodedForm: the body was compressed for its way.
	ErrEncodedForm error = protocolError("The body has a Content-Encoding, which is not undone here; send the form as it is")
	// ErrSymbolNotFound: there is no such symbol file. The text is that of Mozilla's Tecken.
	ErrSymbolNotFound error = protocolError("Symbol Not Found")
	// ErrNoRecord: there is no record of that id.
	ErrNoRecord = errors.New("Not Found") //nolint:staticcheck // an answer's text
	// ErrBadQuery: the request's parameters are at fault. It is wrapped by QueryFaults.
	ErrBadQuery = errors.New("bad query")
)

// QueryFaults say by parameter what is wrong with a request.
type QueryFaults map[string][]string

// Error returns all faults.
func (e QueryFaults) Error() string {
	var all []string
	for _, name := range slices.Sorted(maps.Keys(e)) {
		all = append(all, e[name]...)
	}
	return strings.Join(all, " ")
}

// Unwrap returns ErrBadQuery.
func (e QueryFaults) Unwrap() error { return ErrBadQuery }

// A protocolError is an error whose text is what the client is told.
type protocolError string

// Error implements error.
func (e protocolError) Error() string { return string(e) }

// textOf returns what the client is told of err.
func textOf(err error) string {
	if fixed, ok := errors.AsType[protocolError](err); ok {
		return fixed.Error()
	}
	if Status(err) == http.StatusForbidden {
		return err.Error()
	}
	if errors.Is(err, ErrNoRecord) {
		return ErrNoRecord.Error()
	}
	return upload.Sentence(err)
}

// someTime is retryAfter, more or less a quarter of it: those who are refused together, because something is down or full, are not to
// come back together.
func someTime() time.Duration { return retryAfter*3/4 + rand.N(retryAfter/2) }

// retryAfterOf returns the Retry-After of a 429 or 503, in whole seconds: too late by less than one, never too early.
func retryAfterOf(err error) string {
	wait := someTime()
	if busy := (*upload.BusyError)(nil); errors.As(err, &busy) {
		wait = busy.RetryAfter
	}
	return strconv.Itoa(max(1, int(math.Ceil(wait.Seconds()))))
}

// Busy makes the error of a request, other than an upload, that finds no room. Reason is one sentence, fit for the client.
func Busy(reason string) error { return &upload.BusyError{Reason: reason, RetryAfter: someTime()} }

// errorBody is the body of every error but faults of a query.
type errorBody struct {
	Error string `json:"error"`
}

// faultsBody is that of a query's faults.
type faultsBody struct {
	Errors QueryFaults `json:"errors"`
}

// WriteError writes the answer to an error, without a report of it.
func (s *Responder) WriteError(c echo.Context, err error) {
	status := Status(err)
	if status == http.StatusServiceUnavailable || status == http.StatusTooManyRequests {
		c.Response().Header().Set("Retry-After", retryAfterOf(err))
	}
	if faults, ok := errors.AsType[QueryFaults](err); ok {
		s.Write(c, status, faultsBody{faults})
		return
	}
	s.Write(c, status, errorBody{Error: textOf(err)})
}

// WriteStatus writes an error that is its status alone.
func (s *Responder) WriteStatus(c echo.Context, status int) {
	s.Write(c, status, errorBody{Error: http.StatusText(status)})
}

// HandleError answers the errors that handlers return, and the router's own.
func (s *Responder) HandleError(err error, c echo.Context) {
	if c.Response().Committed {
		return
	}
	if c.Request().ContentLength != 0 {
		// A body sent to the wrong address: its sender is to learn that.
		s.AnswerAndDiscard(c, DiscardUnknown.Unread(c.Request()), func() { s.answerAny(c, err) })
		return
	}
	s.answerAny(c, err)
}

func (s *Responder) answerAny(c echo.Context, err error) {
	var routed *echo.HTTPError
	switch r := c.Request(); {
	case errors.As(err, &routed) && routed.Code == http.StatusMethodNotAllowed:
		s.Write(c, routed.Code, errorBody{Error: fmt.Sprintf("Method Not Allowed (%s): %s", r.Method, r.URL.Path)})
	case errors.As(err, &routed):
		s.WriteStatus(c, routed.Code)
	default:
		err = OrGone(r, err)
		s.Report(c.Request().Context(), c, Caller{}, err)
		s.WriteError(c, err)
	}
}
