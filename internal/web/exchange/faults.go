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

// Reasons for refusing uploads that the web alone has.
const (
	reasonToken      = "token" // there is none, or none that is known
	reasonPermission = "permission"
	reasonForm       = "form"
)

// A Fault is a request that failed by our fault.
type Fault struct {
	Method, Path string
	Route        string        // the route's pattern; "" if none matched
	Cause        string        // one of a few words; FailureCauses has those of uploads
	Err          error         // the error
	Stack        []byte        // of a recovered panic, or nil
	Token        *upload.Token // of an upload; nil if unknown
	Label        string        // as in Upload.TokenLabel
	Declared     int64         // bytes of the request's body, or -1
}

// Caller is an upload's sender, as far as known.
type Caller struct {
	Token *upload.Token
	Label string
}

// Lack returns the reason of an upload that ended for want of room, or "".
func Lack(err error) string {
	full, isFull := errors.AsType[*spool.FullError](err)
	if isFull && full.Busy || errors.Is(err, upload.ErrBusy) {
		return Reason(err)
	}
	return ""
}

// RefusalReasons lists the reasons for refusing uploads.
func RefusalReasons() []string {
	reasons := append(upload.Reasons(false), reasonToken, reasonPermission, reasonForm)
	slices.Sort(reasons)
	return slices.Compact(reasons)
}

// FailureCauses lists those reasons that are our failures.
func FailureCauses() []string { return upload.Reasons(true) }

// Ours reports whether an error is a failure of ours.
func Ours(err error) bool {
	kind, _ := upload.KindOf(err)
	return kind.Ours() && Status(err) >= http.StatusInternalServerError
}

// Report reports an error: ours as a fault, the client's as a debug line.
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
