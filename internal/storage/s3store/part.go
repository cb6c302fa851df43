package s3store

import (
	"context"
	"io"
	"net/http"
	"sync"

	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"

	"tecken-upload/internal/background"
)

// cancellable returns a request that cancel ends. It ends with the context of req too, except a part that was sent whole: its answer is waited
// for, up to partTimeout.
func cancellable(req *http.Request) (*http.Request, context.CancelCauseFunc) {
	parent := req.Context()
	if awsmiddleware.GetOperationName(parent) != "UploadPart" || req.Body == nil {
		ctx, cancel := context.WithCancelCause(parent)
		return req.WithContext(ctx), cancel
	}
	ctx, cancel := context.WithCancelCause(context.WithoutCancel(parent))
	body := &partSending{ReadCloser: req.Body, left: req.ContentLength}
	stop := background.AfterContext(parent, "S3 part", func() {
		end := func() { cancel(context.Cause(parent)) }
		if body.cut(context.Cause(parent)) {
			end()
		} else {
			background.After(partTimeout, "S3 part", end)
		}
	})
	req = req.WithContext(ctx)
	req.Body = body
	return req, func(cause error) {
		stop()
		cancel(cause)
	}
}

// partSending is a body of which no more is given out once it is cut, and which can't be cut once all of it was given out.
type partSending struct {
	io.ReadCloser
	mu   sync.Mutex // guards what follows
	left int64
	err  error // it was cut for that
}

// Read implements io.Reader.
func (p *partSending) Read(buf []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.err != nil:
		return 0, p.err
	case p.left <= 0:
		return 0, io.EOF
	}
	n, err := p.ReadCloser.Read(buf)
	p.left -= int64(n)
	return n, err
}

// cut reports whether the body is cut.
func (p *partSending) cut(why error) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.left > 0 {
		p.err = why
	}
	return p.err != nil
}
