package web

import (
	"errors"
	"io"
	"net/http"
	"os"
	"time"

	"github.com/labstack/echo/v4"
)

// drainLimit says how much of a refused body is read before the connection is closed on it. Clients send
// all of their body before they read an answer.
type drainLimit struct {
	bytes int64
	time  time.Duration
	first time.Duration // for its first byte; 0: no less than for all of it
}

// drainUninvited is for how long the first byte of a body is waited for that was to be sent after a 100 Continue, and
// was refused instead. Clients that got no answer for a second or so send it all the same.
const drainUninvited = 2 * time.Second

// drainStopping is for how long a body is still read when the server stops.
const drainStopping = time.Second

var (
	drainUnknown       = drainLimit{bytes: 16 << 20, time: 10 * time.Second}
	drainAuthenticated = drainLimit{bytes: 2 << 30, time: 60 * time.Second}
)

// unread is the limit for a body of which nothing has been read: one that was to be sent after a 100 Continue may
// never come.
func unread(r *http.Request, limit drainLimit) drainLimit {
	if r.Header.Get("Expect") != "" {
		limit.first = drainUninvited
	}
	return limit
}

// answerRefusal writes the answer to err at once.
func (s *Server) answerRefusal(c echo.Context, err error) {
	s.answerNow(c, func() { s.answerError(c, err) })
}

// answerNow lets answer write an answer that is sent at once, though the body may still be arriving.
func (s *Server) answerNow(c echo.Context, answer func()) {
	rc := http.NewResponseController(c.Response())
	// Where it can't be had (HTTP/1.0), the server reads a little of the body first, and closes then.
	if err := rc.EnableFullDuplex(); err != nil {
		s.Logger.DebugContext(c.Request().Context(), "enable full duplex", "err", err)
	}
	c.Response().Header().Set("Connection", "close")
	answer()
	if err := rc.Flush(); err != nil {
		s.Logger.DebugContext(c.Request().Context(), "flush the answer", "err", err)
	}
}

// drain reads what is left of the body and throws it away. Whatever ends it, the connection is closed
// afterwards. It may take long, and needs nothing of the request's header.
func (s *Server) drain(c echo.Context, limit drainLimit) {
	s.drains.Add(1)
	defer s.drains.Done()
	c.Request().Header = nil
	rc := http.NewResponseController(c.Response())
	until := time.Now().Add(limit.time)
	if limit.first > 0 && !s.begins(c, limit.first) {
		return
	}
	if err := rc.SetReadDeadline(until); err != nil {
		return
	}
	release := whenEnded(s.stopping, func() { _ = rc.SetReadDeadline(time.Now().Add(drainStopping)) })
	defer release()
	if _, err := io.CopyN(io.Discard, c.Request().Body, limit.bytes); errors.Is(err, os.ErrDeadlineExceeded) && time.Now().Before(until) {
		s.drainConnection(rc, limit, until)
	}
}

// begins reports whether a first byte of the body arrives in time.
func (s *Server) begins(c echo.Context, limit time.Duration) bool {
	if http.NewResponseController(c.Response()).SetReadDeadline(time.Now().Add(limit)) != nil {
		return false
	}
	_, err := io.ReadFull(c.Request().Body, make([]byte, 1))
	return err == nil
}

// drainConnection does the same past net/http, whose chunked bodies can't be read on once a read of theirs was
// interrupted.
func (s *Server) drainConnection(rc *http.ResponseController, limit drainLimit, until time.Time) {
	conn, buffered, err := rc.Hijack()
	if err != nil {
		return
	}
	defer conn.Close()
	if s.stopping.Err() != nil {
		until = time.Now().Add(drainStopping)
	}
	if conn.SetReadDeadline(until) == nil {
		_, _ = io.CopyN(io.Discard, buffered, limit.bytes)
	}
}
