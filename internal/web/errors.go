package web

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"net/http"
	"strconv"
	"time"

	"github.com/labstack/echo/v4"

	"tecken-upload/internal/archive"
	"tecken-upload/internal/background"
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
	{errNoToken, http.StatusForbidden, "token"},
	{errTokenUnknown, http.StatusForbidden, "token"},
	{errTokenExpired, http.StatusForbidden, "token"},
	{errForbidden, http.StatusForbidden, "permission"},
	{errEncodedForm, http.StatusBadRequest, "form"},
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
	{errSymbolNotFound, http.StatusNotFound, ""},
	{errNoRecord, http.StatusNotFound, ""},
	{errBadQuery, http.StatusBadRequest, ""},
}

// statusOf returns the status that err is answered with. An error of no known kind is our fault: 500.
func statusOf(err error) int {
	for _, s := range statuses {
		if errors.Is(err, s.is) {
			return s.status
		}
	}
	return http.StatusInternalServerError
}

// orGone gives an error that a client has led to by hanging up the kind of that: whatever was done for it was cancelled.
func orGone(r *http.Request, err error) error {
	if r.Context().Err() != nil && errors.Is(err, context.Canceled) {
		return fmt.Errorf("%w: %w", upload.ErrClientGone, err)
	}
	return err
}

// A protocolError is an error whose text is what the client is told.
type protocolError string

// Error implements error.
func (e protocolError) Error() string { return string(e) }

// textOf returns what the client is told of err.
func textOf(err error) string {
	if fixed, ok := errors.AsType[protocolError](err); ok {
		return fixed.Error()
	}
	if statusOf(err) == http.StatusForbidden {
		return err.Error()
	}
	if errors.Is(err, errNoRecord) {
		return errNoRecord.Error()
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

// errorBody is the body of every error but faults of a query.
type errorBody struct {
	Error string `json:"error"`
}

// faultsBody is that of a query's faults.
type faultsBody struct {
	Errors queryFaults `json:"errors"`
}

// answerError writes the answer to err.
func (s *Server) answerError(c echo.Context, err error) {
	status := statusOf(err)
	if status == http.StatusServiceUnavailable || status == http.StatusTooManyRequests {
		c.Response().Header().Set("Retry-After", retryAfterOf(err))
	}
	if faults, ok := errors.AsType[queryFaults](err); ok {
		s.write(c, status, faultsBody{faults})
		return
	}
	s.write(c, status, errorBody{Error: textOf(err)})
}

// write writes an answer within answerTimeout.
func (s *Server) write(c echo.Context, status int, body any) {
	if err := http.NewResponseController(c.Response()).SetWriteDeadline(time.Now().Add(answerTimeout)); err != nil {
		s.Logger.DebugContext(c.Request().Context(), "set the write deadline", "err", err)
	}
	if err := writeJSON(c.Response(), status, body, c.Request().Method != http.MethodHead); err != nil {
		s.Logger.DebugContext(c.Request().Context(), "write the answer", "status", status, "err", err)
	}
}

// writeJSON writes an answer with its length, so that a client knows a cut one. It leaves "<" and ">" as they
// are: no browser renders them.
func writeJSON(w http.ResponseWriter, status int, body any, withBody bool) error {
	text, err := encoded(body)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(text)+1))
	w.WriteHeader(status)
	if !withBody {
		return nil
	}
	_, err = w.Write(append(text, '\n'))
	return err
}

// handleError answers the errors that handlers return, and the router's own.
func (s *Server) handleError(err error, c echo.Context) {
	if c.Response().Committed {
		return
	}
	r := c.Request()
	if r.ContentLength != 0 {
		// A body sent to the wrong address: its sender is to learn that.
		s.answerNow(c, func() { s.answerAny(c, err) })
		s.drain(c, unread(r, drainUnknown))
		return
	}
	s.answerAny(c, err)
}

func (s *Server) answerAny(c echo.Context, err error) {
	var routed *echo.HTTPError
	switch r := c.Request(); {
	case errors.As(err, &routed) && routed.Code == http.StatusMethodNotAllowed:
		s.write(c, routed.Code, errorBody{Error: fmt.Sprintf("Method Not Allowed (%s): %s", r.Method, r.URL.Path)})
	case errors.As(err, &routed):
		s.write(c, routed.Code, errorBody{Error: http.StatusText(routed.Code)})
	default:
		err = orGone(r, err)
		s.note(c.Request().Context(), c, caller{}, err)
		s.answerError(c, err)
	}
}

// recover turns a handler's panic into an error.
func (s *Server) recover(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) (err error) {
		defer func() {
			if v := recover(); v != nil {
				if err, ok := v.(error); ok && errors.Is(err, http.ErrAbortHandler) {
					panic(v)
				}
				err = background.Caught(v)
			}
		}()
		return next(c)
	}
}

// observe tells the watcher of each request.
func (s *Server) observe(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		start := s.Now()
		if c.Request().ContentLength != 0 {
			// net/http reads some of a body that nobody wants before it answers. An upload's own bounds
			// take the place of this one.
			_ = http.NewResponseController(c.Response()).SetReadDeadline(time.Now().Add(drainUnknown.time))
		}
		// An answer that is broken off on purpose, by a panic, counts as well.
		defer func() {
			s.Watcher.Request(cmp.Or(c.Path(), "none"), c.Request().Method, c.Response().Status, s.Now().Sub(start))
		}()
		if err := next(c); err != nil {
			c.Error(err)
		}
		return nil
	}
}
