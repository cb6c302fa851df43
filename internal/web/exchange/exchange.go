// Package exchange is what every room of the web needs to answer a request: its token, the status of an error, answers as JSON, whole or
// streamed, the discarding of refused bodies, and reports of faults.
//
// Answers are JSON, except symbol files and redirects to them. Every error is {"error": "<one sentence>"}, except for requests that
// net/http itself can't read. errors.go has the one table from error to status. A request is refused before its body if possible. The
// answer is then written at once, and the body discarded, because a client that sees its connection break never learns why.
package exchange

import (
	"context"
	"log/slog"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/labstack/echo/v4"

	"tecken-upload/internal/background"
	"tecken-upload/internal/upload"
)

// What we would rather lose.
const (
	// answerTimeout bounds writing an answer to a client that does not read.
	answerTimeout = 30 * time.Second
	// tokenTimeout bounds the lookup of a token, while the client waits with its body.
	tokenTimeout = 5 * time.Second
	// StopTime is how long a body is still read or written when the server stops.
	StopTime = time.Second
)

// Tokens looks up API tokens.
type Tokens interface {
	// Token returns the token of that hash, even if expired or revoked, or upload.ErrNotFound, or an error wrapping upload.ErrUnavailable.
	Token(ctx context.Context, hash upload.TokenHash) (upload.Token, error)
}

// Reporter reports faults. It is safe for concurrent use, and does not block.
type Reporter interface {
	// Fault is called for each request that failed by our fault, other than an upload that was begun.
	Fault(ctx context.Context, f *Fault)
}

// Config is what a Responder works with.
type Config struct {
	Tokens   Tokens
	Reporter Reporter
	Logger   *slog.Logger
	// Now is the clock; time.Now outside of tests.
	Now func() time.Time
}

// A Responder answers requests, for all rooms of one server.
type Responder struct {
	Config
	// stopping ends when the server has waited for the uploads in flight long enough; stop ends it.
	stopping context.Context
	stop     context.CancelCauseFunc
	discards sync.WaitGroup // bodies of refused requests being discarded
}

// New makes a Responder. Its waits end with ctx.
func New(ctx context.Context, c Config) *Responder {
	s := &Responder{Config: c}
	s.stopping, s.stop = context.WithCancelCause(ctx)
	return s
}

// Stop ends the context Stopping.
func (s *Responder) Stop() { s.stop(upload.ErrShutdown) }

// Stopping returns the context that ends with Stop, by upload.ErrShutdown: what is in flight then must end.
func (s *Responder) Stopping() context.Context { return s.stopping }

// Wait waits for the discarding of bodies: some connections are out of an http.Server's sight. After Stop that takes about a second.
func (s *Responder) Wait() { s.discards.Wait() }

// Write writes an answer as JSON, with its own time limit.
func (s *Responder) Write(c echo.Context, status int, body any) {
	s.SetWriteDeadline(c, answerTimeout)
	if err := writeJSON(c.Response(), status, body, c.Request().Method != http.MethodHead); err != nil {
		s.Logger.DebugContext(c.Request().Context(), "write the answer", "status", status, "err", err)
	}
}

// WriteEmpty writes an answer without a body.
func (s *Responder) WriteEmpty(c echo.Context, status int) {
	s.SetWriteDeadline(c, answerTimeout)
	if c.Request().Method != http.MethodHead && status != http.StatusNoContent {
		c.Response().Header().Set("Content-Length", "0")
	}
	c.Response().WriteHeader(status)
}

// SetWriteDeadline bounds the next writes.
func (s *Responder) SetWriteDeadline(c echo.Context, wait time.Duration) {
	if err := http.NewResponseController(c.Response()).SetWriteDeadline(time.Now().Add(wait)); err != nil {
		s.Logger.DebugContext(c.Request().Context(), "set the write deadline", "err", err)
	}
}

// writeJSON writes an answer with its length, so that a client notices a cut. It leaves "<" and ">" unescaped: no browser renders them.
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

// WhenEnded calls f once ctx has ended, unless release is called first. f does not run after release: it would change a deadline set later,
// or of another request.
func WhenEnded(ctx context.Context, f func()) (release func()) {
	over := make(chan struct{})
	stop := background.AfterContext(ctx, "body deadline", func() {
		defer close(over)
		f()
	})
	return sync.OnceFunc(func() {
		if !stop() {
			<-over
		}
	})
}
