package exchange

import (
	"errors"
	"io"
	"net/http"
	"os"
	"time"

	"github.com/labstack/echo/v4"
)

// A DiscardLimit bounds the discarding of a refused body before the connection is closed. Clients send their whole body before they read an
// answer.
type DiscardLimit struct {
	bytes int64
	time  time.Duration
	first time.Duration // for its first byte; 0: as for all of it
}

// The limits for unknown senders, and authenticated ones.
var (
	DiscardUnknown       = DiscardLimit{bytes: 16 << 20, time: 10 * time.Second}
	DiscardAuthenticated = DiscardLimit{bytes: 2 << 30, time: 60 * time.Second}
)

// discardUninvited is how long to wait for the first byte of a body that was to follow a 100 Continue, and was refused instead. Clients
// without an answer for about a second send it anyway.
const discardUninvited = 2 * time.Second

// Unread is the limit for an unread body: one that was to follow a 100 Continue may never come.
func (l DiscardLimit) Unread(r *http.Request) DiscardLimit {
	if r.Header.Get("Expect") != "" {
		l.first = discardUninvited
	}
	return l
}

// LimitBody bounds the reading of a request's body until something else does: net/http reads some of an unread body before it answers.
func LimitBody(c echo.Context) {
	if c.Request().ContentLength != 0 {
		_ = http.NewResponseController(c.Response()).SetReadDeadline(time.Now().Add(DiscardUnknown.time))
	}
}

// AnswerAndDiscard calls answer, which is sent at once even while the body arrives, and discards the body.
func (s *Responder) AnswerAndDiscard(c echo.Context, limit DiscardLimit, answer func()) {
	rc := http.NewResponseController(c.Response())
	// Without full duplex (HTTP/1.0), the server reads a little of the body first, and then closes.
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

// discard reads and drops the rest of the body, then closes the connection in any case. It may take long, and needs nothing of the
// request's header.
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

// discardConnection discards past net/http, which can't continue with a chunked body after an interrupted read.
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
