package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"

	"github.com/labstack/echo/v4"

	"tecken-upload/internal/intake"
	"tecken-upload/internal/spool"
	"tecken-upload/internal/upload"
)

// formSlack is what a body may have besides the archive, in bytes.
const formSlack = 1 << 20

// drainLimit says how much of a refused body is read before the connection is closed on it. Clients send
// all of their body before they read an answer.
type drainLimit struct {
	bytes int64
	time  time.Duration
}

// drainStopping is for how long a body is still read when the server stops.
const drainStopping = time.Second

var (
	drainUnknown       = drainLimit{bytes: 16 << 20, time: 10 * time.Second}
	drainAuthenticated = drainLimit{bytes: 2 << 30, time: 60 * time.Second}
)

// postUpload answers POST /upload/. Until the upload is run, whatever refuses it leaves no record.
func (s *Server) postUpload(c echo.Context) error {
	r := c.Request()
	token, label, err := s.authenticate(r)
	if err != nil {
		return s.refuse(c, err, drainUnknown)
	}
	report, err := s.upload(r, c, token, label)
	if err != nil {
		return s.refuse(c, err, drainAuthenticated)
	}
	if report.Err == nil {
		report.Status = http.StatusCreated
		s.write(c, report.Status, newUploadBody(&report.Upload))
	} else {
		// Answered before it is drained; told of before that, too, since draining takes its time.
		report.Status = s.answerRefusal(c, report.Err)
	}
	s.Watcher.Ended(context.WithoutCancel(r.Context()), report)
	if report.Err != nil {
		s.drain(c, drainAuthenticated)
	}
	return nil
}

// upload admits and runs one upload. It returns an error, and no report, where it was never begun.
func (s *Server) upload(r *http.Request, c echo.Context, token upload.Token, label string) (*upload.Report, error) {
	if !token.CanUpload() {
		return nil, errForbidden
	}
	if s.closing.Load() {
		return nil, upload.ErrShutdown
	}
	if r.ContentLength > s.MaxUploadSize+formSlack {
		return nil, &upload.SizeError{Limit: s.MaxUploadSize}
	}
	ctx, cancel := s.uploadContext(r)
	defer cancel()
	leave, err := s.Gate.Enter(ctx)
	if err != nil {
		return nil, err
	}
	defer leave()
	workspace, err := s.Spool.Create(ctx, r.ContentLength)
	if err != nil {
		return nil, err
	}
	body := s.newBody(ctx, c)
	defer body.release()
	report := s.Uploads.Run(ctx, upload.Request{
		Token:     token,
		Label:     label,
		Declared:  r.ContentLength,
		Workspace: workspace,
		Source:    &multipartSource{body: body, contentType: r.Header.Get("Content-Type")},
	})
	if report.Upload.ID == 0 {
		return nil, report.Err
	}
	return report, nil
}

// uploadContext makes the context of one upload. Unlike the request's own it tells by its cause why it
// ended: the client hung up, or the server stops.
func (s *Server) uploadContext(r *http.Request) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(context.WithoutCancel(r.Context()))
	gone := context.AfterFunc(r.Context(), func() { cancel(upload.ErrClientGone) })
	stopped := context.AfterFunc(s.stopping, func() { cancel(upload.ErrShutdown) })
	return ctx, func() {
		gone()
		stopped()
		cancel(context.Canceled)
	}
}

// refuse answers an upload that was not begun, and gets rid of its body.
func (s *Server) refuse(c echo.Context, err error, limit drainLimit) error {
	status := s.answerRefusal(c, err)
	s.note(c.Request(), status, err)
	s.drain(c, limit)
	return nil
}

// answerRefusal writes the answer to err at once, though the body may still be arriving.
func (s *Server) answerRefusal(c echo.Context, err error) int {
	rc := http.NewResponseController(c.Response())
	// Where it can't be had (HTTP/1.0), the server reads a little of the body first, and closes then.
	if err := rc.EnableFullDuplex(); err != nil {
		s.Logger.DebugContext(c.Request().Context(), "enable full duplex", "err", err)
	}
	c.Response().Header().Set("Connection", "close")
	status := s.answerError(c, err)
	if err := rc.Flush(); err != nil {
		s.Logger.DebugContext(c.Request().Context(), "flush the answer", "err", err)
	}
	return status
}

// drain reads what is left of the body and throws it away.
func (s *Server) drain(c echo.Context, limit drainLimit) {
	rc := http.NewResponseController(c.Response())
	if err := rc.SetReadDeadline(time.Now().Add(limit.time)); err != nil {
		return
	}
	hurry := context.AfterFunc(s.stopping, func() { _ = rc.SetReadDeadline(time.Now().Add(drainStopping)) })
	defer hurry()
	// Whatever ends it, the connection is closed afterwards.
	_, _ = io.CopyN(io.Discard, c.Request().Body, limit.bytes)
}

// multipartSource delivers the archive out of a multipart form.
type multipartSource struct {
	body        *body
	contentType string
}

// Deliver implements upload.Source.
func (m *multipartSource) Deliver(ctx context.Context, ws *spool.Workspace, limit int64) (upload.Delivery, error) {
	var file *os.File
	form, err := intake.Read(m.body, m.contentType, func(content io.Reader) (err error) {
		file, err = ws.Receive(ctx, content, limit)
		return err
	})
	if err != nil {
		return upload.Delivery{}, err
	}
	// From here on the connection is only watched for its end, which takes as long as it takes.
	if err := m.body.rc.SetReadDeadline(time.Time{}); err != nil {
		return upload.Delivery{}, err
	}
	info, err := file.Stat()
	if err != nil {
		return upload.Delivery{}, err
	}
	return upload.Delivery{File: file, Size: info.Size(), Filename: form.Filename, Try: form.Try}, nil
}

// body reads a request's body within its bounds, and tells in the words of the domain what ended it.
type body struct {
	r     io.Reader
	rc    *http.ResponseController
	ctx   context.Context
	left  int64 // bytes that may still come
	limit int64 // of the archive; told when none are left
	stall time.Duration
	until time.Time // when all of it must be here
	stop  func() bool
}

func (s *Server) newBody(ctx context.Context, c echo.Context) *body {
	b := &body{
		r:     c.Request().Body,
		rc:    http.NewResponseController(c.Response()),
		ctx:   ctx,
		left:  s.MaxUploadSize + formSlack,
		limit: s.MaxUploadSize,
		stall: s.ReceiveStallTimeout,
		until: time.Now().Add(s.ReceiveTimeout),
	}
	// A Read that waits for bytes would not notice that the upload has been cancelled.
	b.stop = context.AfterFunc(ctx, func() { _ = b.rc.SetReadDeadline(time.Unix(1, 0)) })
	return b
}

// release ends the body's hold on the connection.
func (b *body) release() { b.stop() }

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
	n, err := b.r.Read(p[:min(int64(len(p)), b.left+1)])
	if b.left -= int64(n); b.left < 0 {
		return 0, &upload.SizeError{Limit: b.limit}
	}
	if err == nil || err == io.EOF {
		return n, err
	}
	return n, b.reason(err, deadline)
}

// reason tells why the body could not be read. A deadline of ours comes first: net/http ends the request's
// context for every failed read.
func (b *body) reason(err error, deadline time.Time) error {
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded) && !time.Now().Before(deadline):
		return upload.ErrReceiveTimeout
	case b.ctx.Err() != nil:
		return context.Cause(b.ctx)
	}
	return fmt.Errorf("%w: %w", upload.ErrClientGone, err)
}
