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

	"tecken-upload/internal/upload"
)

// statusClientGone is nginx's number for clients that hung up, for metrics. No client sees it.
const statusClientGone = 499

// retryAfter is the Retry-After of a 503 without a better one, more or less: see someTime.
const retryAfter = 15 * time.Second

// statuses are the statuses of uploads' errors, by class.
var statuses = map[upload.Class]int{
	upload.ClassBroken:      http.StatusInternalServerError,
	upload.ClassGone:        statusClientGone,
	upload.ClassInvalid:     http.StatusBadRequest,
	upload.ClassTooLarge:    http.StatusRequestEntityTooLarge,
	upload.ClassOverLimit:   http.StatusTooManyRequests,
	upload.ClassUnavailable: http.StatusServiceUnavailable,
	upload.ClassTooSlow:     http.StatusGatewayTimeout,
}

// A Refusal is an error of the web's own, without a fault of an upload, file or record. Its texts are the wire protocol's.
type Refusal struct {
	status int
	reason string // as in upload.Kind
	text   string
}

// Error returns the text for the client.
func (r *Refusal) Error() string { return r.text }

// The refusals of the web.
var (
	ErrNoToken        = &Refusal{http.StatusForbidden, reasonToken, "This requires an Auth-Token to authenticate the request"}
	ErrTokenUnknown   = &Refusal{http.StatusForbidden, reasonToken, "API Token not matched"}
	ErrTokenExpired   = &Refusal{http.StatusForbidden, reasonToken, "API Token found but expired"}
	ErrForbidden      = &Refusal{http.StatusForbidden, reasonPermission, "Forbidden"}
	ErrEncodedForm    = &Refusal{http.StatusBadRequest, reasonForm, "The body has a Content-Encoding, which is not undone here; send the form as it is"}
	ErrSymbolNotFound = &Refusal{http.StatusNotFound, "", "Symbol Not Found"}
	ErrNoRecord       = &Refusal{http.StatusNotFound, "", "Not Found"}
	ErrBadQuery       = &Refusal{http.StatusBadRequest, "", "bad query"} // wrapped by QueryFaults, which have a body of their own
)

// refusalOf returns the refusal for err. An error of no known kind is our fault: 500.
func refusalOf(err error) *Refusal {
	kind, known := upload.KindOf(err)
	if refusal, ok := errors.AsType[*Refusal](err); ok && !known {
		return refusal
	}
	return &Refusal{statuses[kind.Class], kind.Reason, upload.Sentence(err)}
}

// Status returns the status for err.
func Status(err error) int { return refusalOf(err).status }

// Reason returns the reason of an upload's refusal with err; "" if its client hung up.
func Reason(err error) string { return refusalOf(err).reason }

// OrGone marks errors that the client caused by hanging up, since all its work was cancelled.
func OrGone(r *http.Request, err error) error {
	if r.Context().Err() != nil && errors.Is(err, context.Canceled) {
		return fmt.Errorf("%w: %w", upload.ErrClientGone, err)
	}
	return err
}

// QueryFaults are the faults of a request by parameter.
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

// someTime is retryAfter, within a quarter: clients refused together must not come back together.
func someTime() time.Duration { return retryAfter*3/4 + rand.N(retryAfter/2) }

// retryAfterOf returns the Retry-After of a 429 or 503, in whole seconds, rounded up.
func retryAfterOf(err error) string {
	wait := someTime()
	if busy := (*upload.BusyError)(nil); errors.As(err, &busy) {
		wait = busy.RetryAfter
	}
	return strconv.Itoa(max(1, int(math.Ceil(wait.Seconds()))))
}

// Busy makes the error of a request, other than an upload, that finds no room. Reason is one sentence for the client.
func Busy(reason string) error { return &upload.BusyError{Reason: reason, RetryAfter: someTime()} }

// errorBody is the body of every error except a query's faults.
type errorBody struct {
	Error string `json:"error"`
}

// faultsBody is the body of a query's faults.
type faultsBody struct {
	Errors QueryFaults `json:"errors"`
}

// WriteError writes the answer to an error, without reporting it.
func (s *Responder) WriteError(c echo.Context, err error) {
	status := Status(err)
	if status == http.StatusServiceUnavailable || status == http.StatusTooManyRequests {
		c.Response().Header().Set("Retry-After", retryAfterOf(err))
	}
	if faults, ok := errors.AsType[QueryFaults](err); ok {
		s.Write(c, status, faultsBody{faults})
		return
	}
	s.Write(c, status, errorBody{Error: refusalOf(err).text})
}

// WriteStatus writes an error with only a status.
func (s *Responder) WriteStatus(c echo.Context, status int) {
	s.Write(c, status, errorBody{Error: http.StatusText(status)})
}

// HandleError answers the errors of handlers, and of the router.
func (s *Responder) HandleError(err error, c echo.Context) {
	if c.Response().Committed {
		return
	}
	if c.Request().ContentLength != 0 {
		// A body sent to a wrong address: its sender must get the answer.
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
