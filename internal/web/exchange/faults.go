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

// Reasons that uploads are refused for by the web alone.
const (
	reasonToken      = "token" // there is none, or none that is known
	reasonPermission = "permission"
	reasonForm       = "form"
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
	reasons := append(upload.Reasons(false), reasonToken, reasonPermission, reasonForm)
	slices.Sort(reasons)
	return slices.Compact(reasons)
}

// FailureCauses lists those of the reasons that are failures of ours.
func FailureCauses() []string { return upload.Reasons(true) }

// Ours reports whether an error is a failure of ours.
func Ours(err error) bool {
	kind, _ := upload.KindOf(err)
	return kind.Ours() && Status(err) >= http.StatusInternalServerError
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
