package uploads

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"os"
	"syscall"
	"time"

	"github.com/labstack/echo/v4"

	"tecken-upload/internal/gate"
	"tecken-upload/internal/upload"
	"tecken-upload/internal/web/exchange"
)

// body reads a request's body within its bounds, and returns the domain's error for its end.
type body struct {
	r     io.Reader
	rc    *http.ResponseController
	ctx   context.Context
	left  int64 // bytes that may still come
	limit int64 // of the archive, for the error when none are left
	stall time.Duration
	until time.Time // deadline of the whole body
	pace  pace
	most  int64 // bytes of one Read
	// release ends the body's hold on the connection's read deadline; called once.
	release func()
}

// newBody returns the body of a request, without a lower bound for its rate.
func (s *Server) newBody(ctx context.Context, c echo.Context) *body {
	b := &body{
		r:     c.Request().Body,
		rc:    http.NewResponseController(c.Response()),
		ctx:   ctx,
		left:  s.MaxUploadSize + formSlack,
		limit: s.MaxUploadSize,
		stall: s.ReceiveStallTimeout,
		until: time.Now().Add(s.ReceiveTimeout),
		most:  math.MaxInt64,
	}
	if c.Request().ContentLength < 0 {
		// net/http fills the whole buffer from one chunk, however long that takes.
		b.most = chunkedRead
	}
	// A Read that waits for bytes would not notice that the upload has been cancelled.
	b.release = exchange.WhenEnded(ctx, func() { _ = b.rc.SetReadDeadline(time.Unix(1, 0)) })
	return b
}

// Read implements io.Reader.
func (b *body) Read(p []byte) (int, error) {
	deadline := time.Now().Add(b.stall)
	if b.until.Before(deadline) {
		deadline = b.until
	}
	if err := b.rc.SetReadDeadline(deadline); err != nil {
		return 0, err
	}
	// After the deadline is set: the other order could miss a cancellation.
	if b.ctx.Err() != nil {
		return 0, context.Cause(b.ctx)
	}
	n, err := b.r.Read(p[:min(int64(len(p)), b.left+1, b.most)])
	if b.left -= int64(n); b.left < 0 {
		return 0, &upload.SizeError{Limit: b.limit}
	}
	if err == nil && b.pace.tooSlow(time.Now(), n) {
		return n, fmt.Errorf("%w: it holds room that others wait for", upload.ErrReceiveTimeout)
	}
	if err == nil || err == io.EOF {
		return n, err
	}
	return n, b.reason(err, deadline)
}

// reason returns why the body could not be read. A deadline of ours comes first: net/http ends the request's context for every failed read.
func (b *body) reason(err error, deadline time.Time) error {
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded) && !time.Now().Before(deadline):
		return upload.ErrReceiveTimeout
	case !interrupted(err):
		return fmt.Errorf("%w: %w", upload.ErrMalformed, err) // chunks that are none
	case b.ctx.Err() != nil:
		return context.Cause(b.ctx)
	}
	return fmt.Errorf("%w: %w", upload.ErrClientGone, err)
}

// interrupted reports whether err is the connection's, not the content's.
func interrupted(err error) bool {
	for _, e := range []error{os.ErrDeadlineExceeded, io.ErrUnexpectedEOF, syscall.ECONNRESET, syscall.EPIPE, net.ErrClosed} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

const (
	// chunkedRead is the part of a chunked body read at once: what the slowest client sends inside the stall limit.
	chunkedRead = 4 << 10
	// paceWindow is the time over which a body's rate is measured: a network's hiccup is tolerated.
	paceWindow = 60 * time.Second
	// paceStep is the precision.
	paceStep = 5 * time.Second
)

// pace watches a body's rate over its last window. A body that declares much and sends little holds its room only while no other upload
// needs it.
type pace struct {
	min       int64         // bytes a second; 0: any rate
	window    time.Duration // 0: paceWindow
	contended func() bool   // whether others are refused for room

	total int64
	marks []mark // at most one per paceStep; the first is the latest that is a window old
}

// newPace watches the body of an upload that has been admitted.
func (s *Server) newPace(pass *gate.Pass) pace {
	return pace{min: s.ReceiveMinRate, contended: pass.Contended}
}

// mark is the number of bytes at a time.
type mark struct {
	at    time.Time
	total int64
}

// tooSlow records n more bytes, and reports whether the body is in the way.
func (p *pace) tooSlow(now time.Time, n int) bool {
	p.total += int64(n)
	if p.min == 0 {
		return false
	}
	if len(p.marks) == 0 || now.Sub(p.marks[len(p.marks)-1].at) >= paceStep {
		p.marks = append(p.marks, mark{now, p.total})
	}
	window := cmp.Or(p.window, paceWindow)
	for len(p.marks) > 1 && now.Sub(p.marks[1].at) >= window {
		p.marks = p.marks[1:]
	}
	elapsed := now.Sub(p.marks[0].at)
	if elapsed < window {
		return false
	}
	rate := float64(p.total-p.marks[0].total) / elapsed.Seconds()
	return rate < float64(p.min) && p.contended()
}
