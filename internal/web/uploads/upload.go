package uploads

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"tecken-upload/internal/background"
	"tecken-upload/internal/gate"
	"tecken-upload/internal/upload"
	"tecken-upload/internal/web/exchange"
)

// formSlack is the size of a body beside the archive, in bytes.
const formSlack = 1 << 20

// Post answers POST /upload/. A refusal before the upload runs leaves no record.
func (s *Server) Post(c echo.Context) error {
	r := c.Request()
	token, label, err := s.Authenticate(r)
	if err != nil {
		limit := exchange.DiscardUnknown
		if errors.Is(err, upload.ErrUnavailable) {
			limit = exchange.DiscardAuthenticated // as far as known
		}
		return s.refuse(c, exchange.Caller{}, err, limit)
	}
	var of result
	err = background.Try(func() (err error) {
		of, err = s.upload(r, c, token, label)
		return err
	})
	switch {
	case err != nil:
		return s.refuse(c, exchange.Caller{Token: &token, Label: label}, err, exchange.DiscardAuthenticated)
	case of.accepted != nil:
		s.answerAccepted(c, of.accepted)
	case of.report.Err != nil:
		s.AnswerAndDiscard(c, exchange.DiscardAuthenticated, func() { s.WriteError(c, of.report.Err) })
	default:
		s.Write(c, http.StatusCreated, newUploadBody(&of.report.Upload))
	}
	return nil
}

// upload admits and runs one upload. It returns an error, and no result, if it did not begin.
func (s *Server) upload(r *http.Request, c echo.Context, token upload.Token, label string) (of result, err error) {
	if !token.CanUpload() {
		return of, exchange.ErrForbidden
	}
	if r.ContentLength > s.MaxUploadSize+formSlack {
		return of, &upload.SizeError{Limit: s.MaxUploadSize}
	}
	if err := checkEncoding(r); err != nil {
		return of, err
	}
	async := prefersAsync(r.Header)
	ctx, cancel := s.uploadContext(r, async)
	defer func() {
		if of.accepted == nil { // else the upload goes on
			cancel()
		}
	}()
	if namesURL(r) {
		return s.uploadURL(ctx, c, token, label, async, cancel)
	}
	pass, err := s.admit(ctx, token, r.ContentLength)
	if err != nil {
		return of, err
	}
	body := s.newBody(ctx, c)
	body.pace = s.newPace(pass)
	defer body.release()
	return s.run(ctx, upload.Request{
		Token:    token,
		Label:    label,
		Declared: r.ContentLength,
		Pass:     pass,
		Source: upload.Archive(&multipartSource{body: body, contentType: r.Header.Get("Content-Type"), fetch: func(ctx context.Context, in *upload.Arrival, form urlForm) (upload.Delivery, error) {
			return s.fetchInto(ctx, in, pass, async, form)
		}}),
	}, async, func() {
		body.release() // first: the end of ctx would end the reading of the connection's next request
		cancel()
	})
}

// run runs an admitted upload, and returns like upload. end is called when the upload has ended.
func (s *Server) run(ctx context.Context, req upload.Request, async bool, end func()) (of result, err error) {
	if async {
		of = s.runOn(ctx, req, end)
	} else {
		defer end()
		of.report = s.Uploads.Run(ctx, req)
	}
	if of.report != nil && of.report.Upload.ID == 0 {
		return result{}, upload.OfBacking(upload.BackingDatabase, of.report.Err)
	}
	return of, nil
}

// admit waits at the gate, until the client disconnects.
func (s *Server) admit(ctx context.Context, token upload.Token, size int64) (*gate.Pass, error) {
	ctx, here := exchange.WhileHere(ctx)
	defer here()
	return s.enter(ctx, token, size)
}

// enter waits at the gate, as long as uploads are taken.
func (s *Server) enter(ctx context.Context, token upload.Token, size int64) (pass *gate.Pass, err error) {
	err = s.whileTaking(ctx, func(ctx context.Context) (err error) {
		pass, err = s.Gate.Enter(ctx, token, size)
		return upload.OfBacking(upload.BackingDisk, err)
	})
	return pass, err
}

// whileTaking calls wait with a context that also ends when no more uploads are taken.
func (s *Server) whileTaking(ctx context.Context, wait func(ctx context.Context) error) error {
	if s.refusing.Err() != nil {
		return upload.ErrShutdown
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	refused := background.AfterContext(s.refusing, "upload context", func() { cancel(upload.ErrShutdown) }) //nolint:contextcheck // it is the server's
	defer refused()
	return wait(ctx)
}

// uploadContext makes the context of one upload. Unlike the request's own its cause says why it ended: the client hung up, or the server
// stops. An upload that goes on without its client depends on it only for its reads.
func (s *Server) uploadContext(r *http.Request, async bool) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(context.WithoutCancel(r.Context()))
	gone := func() bool { return true }
	if !async {
		gone = background.AfterContext(r.Context(), "upload context", func() { cancel(upload.ErrClientGone) })
	}
	stopped := background.AfterContext(s.Stopping(), "upload context", func() { cancel(upload.ErrShutdown) })
	return ctx, func() {
		gone()
		stopped()
		cancel(context.Canceled)
	}
}

// refuse answers an upload that did not begin, and discards its body.
func (s *Server) refuse(c echo.Context, from exchange.Caller, err error, limit exchange.DiscardLimit) error {
	err = exchange.OrGone(c.Request(), err)
	s.Disk.Note(err)
	s.countRefusal(err)
	s.Report(c.Request().Context(), c, from, err)
	s.AnswerAndDiscard(c, limit.Unread(c.Request()), func() { s.WriteError(c, err) })
	return nil
}

// multipartSource delivers the archive from a multipart form, or from the address in a form without a file.
type multipartSource struct {
	body        *body
	contentType string
	fetch       func(ctx context.Context, in *upload.Arrival, form urlForm) (upload.Delivery, error)
}

// Deliver implements upload.Deliverer.
func (m *multipartSource) Deliver(ctx context.Context, in *upload.Arrival) (upload.Delivery, error) {
	var file *os.File
	form, err := readForm(m.body, m.contentType, func(known multipartForm, content io.Reader) (err error) {
		file, err = in.Receive(ctx, content, known.Try)
		return err
	})
	address := strings.TrimSpace(form.URL)
	if named := errors.Is(err, upload.ErrNoFile) && address != ""; err != nil && !named {
		return upload.Delivery{}, err
	}
	// From here on the connection is only watched for its end, without a time limit.
	if err := m.body.rc.SetReadDeadline(time.Time{}); err != nil {
		return upload.Delivery{}, err
	}
	if file == nil {
		return m.fetch(ctx, in, urlForm{url: address, try: form.Try})
	}
	return upload.Delivery{File: file, Filename: form.Filename, Try: form.Try}, nil
}
