package exchange

import (
	"context"
	"errors"
	"net/http"
	"slices"

	"github.com/labstack/echo/v4"

	"tecken-upload/internal/background"
	"tecken-upload/internal/spool"
	"tecken-upload/internal/upload"
)

// Reasons that are no error's own.
const (
	ReasonDatabase = "database" // it is unavailable
	ReasonDisk     = "disk"     // the spool can't be used
	reasonError    = "error"    // an error of no known kind, or a panic
)

// A Fault is a request that failed by our fault.
type Fault struct {
	Method, Path string
	Route        string        // the route's pattern; empty where none matched
	Cause        string        // one of a few words, of which FailureCauses has those of uploads
	Err          error         // what went wrong
	Stack        []byte        // of a recovered panic; nil otherwise
	Token        *upload.Token // of an upload; nil where it is not known
	Label        string        // as in Upload.TokenLabel
	Declared     int64         // bytes of the request's body, -1 where it does not say
}

// Caller is the sender of an upload, as far as it is known.
type Caller struct {
	Token *upload.Token
	Label string
}

// A serviceError says which service an upload.ErrUnavailable is of.
type serviceError struct {
	reason string
	error
}

// Unwrap returns what the service failed with.
func (e *serviceError) Unwrap() error { return e.error }

// OrService names the service that an error for want of one is of: ReasonDatabase or ReasonDisk.
func OrService(reason string, err error) error {
	if errors.Is(err, upload.ErrUnavailable) {
		return &serviceError{reason, err}
	}
	return err
}

// Reason returns the reason that an upload is refused for with err; "" where its client hung up.
func Reason(err error) string {
	busy, isBusy := errors.AsType[*upload.BusyError](err)
	full, isFull := errors.AsType[*spool.FullError](err)
	service, isService := errors.AsType[*serviceError](err)
	for _, s := range statuses {
		switch {
		case !errors.Is(err, s.is):
			continue
		case isBusy && busy.Lack != "" && errors.Is(s.is, upload.ErrBusy):
			return string(busy.Lack)
		case isFull && full.Busy && errors.Is(s.is, spool.ErrFull):
			return string(upload.LackSpool)
		case isService && errors.Is(s.is, upload.ErrUnavailable):
			return service.reason
		}
		return s.reason
	}
	return reasonError
}

// Lack returns the reason of an upload that was begun, and ended for want of room; "" of another one.
func Lack(err error) string {
	full, isFull := errors.AsType[*spool.FullError](err)
	if isFull && full.Busy || errors.Is(err, upload.ErrBusy) {
		return Reason(err)
	}
	return ""
}

// RefusalReasons lists the reasons that uploads are refused for.
func RefusalReasons() []string {
	reasons := append([]string{ReasonDatabase, ReasonDisk, reasonError}, lacks()...)
	for _, s := range statuses {
		reasons = append(reasons, s.reason)
	}
	slices.Sort(reasons)
	return slices.DeleteFunc(slices.Compact(reasons), func(reason string) bool { return reason == "" })
}

// FailureCauses lists those of the reasons that are failures of ours.
func FailureCauses() []string {
	causes := []string{ReasonDatabase, ReasonDisk, reasonError}
	for _, s := range statuses {
		if Ours(s.is) && s.reason != "" {
			causes = append(causes, s.reason)
		}
	}
	slices.Sort(causes)
	return slices.Compact(causes)
}

func lacks() (reasons []string) {
	for _, l := range upload.Lacks() {
		reasons = append(reasons, string(l))
	}
	return reasons
}

// Ours reports whether an error is a failure of ours.
func Ours(err error) bool {
	if errors.Is(err, upload.ErrBusy) || errors.Is(err, upload.ErrShutdown) || upload.OutcomeOf(err) == upload.Rejected {
		return false
	}
	return Status(err) >= http.StatusInternalServerError
}

// Report reports an error: ours is a fault, the client's a debug line.
func (s *Responder) Report(ctx context.Context, c echo.Context, from Caller, err error) {
	r := c.Request()
	if !Ours(err) {
		s.Logger.DebugContext(ctx, "refused", "status", Status(err), "err", err)
		return
	}
	f := Fault{
		Method: r.Method, Path: r.URL.Path, Route: c.Path(), Cause: Reason(err), Err: err,
		Token: from.Token, Label: from.Label, Declared: r.ContentLength,
	}
	if p, ok := errors.AsType[*background.PanicError](err); ok {
		f.Stack = p.Stack
	}
	s.Reporter.Fault(ctx, &f)
}
