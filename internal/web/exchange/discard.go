package exchange

import (
	"errors"
	"io"
	"net/http"
	"os"
	"time"

	"github.com/labstack/echo/v4"
)

// A DiscardLimit says how much of a refused body is read before the connection is closed on it. Clients send
// all of their body before they read an answer.
type DiscardLimit struct {
	bytes int64
	time  time.Duration
	first time.Duration // for its first byte; 0: no less than for all of it
}

// The limits for bodies of unknown senders, and of authenticated ones.
var (
	DiscardUnknown       = DiscardLimit{bytes: 16 << 20, time: 10 * time.Second}
	DiscardAuthenticated = DiscardLimit{bytes: 2 << 30, time: 60 * time.Second}
)

// discardUninvited is for how long the first byte of a body is waited for that was to be sent after a 100 Continue, and
// was refused instead. Clients that got no answer for a second or so send it all the same.
const discardUninvited = 2 * time.Second

// Unread is the limit for a body of which nothing has been read: one that was to be sent after a 100 Continue may
// never come.
func (l DiscardLimit) Unread(r *http.Request) DiscardLimit {
	if r.Header.Get("Expect") != "" {
		l.first = discardUninvited
	}
	return l
}

// LimitBody bounds the reading of a request's body until something else does: net/http reads some of a body that no handler reads before
// it answers.
func LimitBody(c echo.Context) {
	if c.Request().ContentLength != 0 {
		_ = http.NewResponseController(c.Response()).SetReadDeadline(time.Now().Add(DiscardUnknown.time))
	}
}

// AnswerAndDiscard lets answer write an answer that is sent at once, though the body may still be arriving, and discards the body.
func (s *Responder) AnswerAndDiscard(c echo.Context, limit DiscardLimit, answer func()) {
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
	s.discard(c, limit)
}

// discard reads what is left of the body and throws it away. Whatever ends it, the connection is closed
// afterwards. It may take long, and needs nothing of the request's header.
func (s *Responder) discard(c echo.Context, limit DiscardLimit) {
	s.discards.Add(1)
	defer s.discards.Done()
	c.Request().Header = nil
	rc := http.NewResponseController(c.Response())
	until := time.Now().Add(limit.time)
	if limit.first > 0 && !begins(c, limit.first) {
		return
	}
	if err := rc.SetReadDeadline(until); err != nil {
		return
	}
	release := WhenEnded(s.stopping, func() { _ = rc.SetReadDeadline(time.Now().Add(StopTime)) })
	defer release()
	if _, err := io.CopyN(io.Discard, c.Request().Body, limit.bytes); errors.Is(err, os.ErrDeadlineExceeded) && time.Now().Before(until) {
		s.discardConnection(rc, limit, until)
	}
}

// begins reports whether a first byte of the body arrives in time.
func begins(c echo.Context, limit time.Duration) bool {
	if http.NewResponseController(c.Response()).SetReadDeadline(time.Now().Add(limit)) != nil {
		return false
	}
	_, err := io.ReadFull(c.Request().Body, make([]byte, 1))
	return err == nil
}

// discardConnection does the same past net/http, which can't read on in a chunked body once a read was interrupted.
func (s *Responder) discardConnection(rc *http.ResponseController, limit DiscardLimit, until time.Time) {
	conn, buffered, err := rc.Hijack()
	if err != nil {
		return
	}
	defer conn.Close()
	if s.stopping.Err() != nil {
		until = time.Now().Add(StopTime)
	}
	if conn.SetReadDeadline(until) == nil {
		_, _ = io.CopyN(io.Discard, buffered, limit.bytes)
	}
}
