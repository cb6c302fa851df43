package s3store

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptrace"
	"sync"
	"time"

	"tecken-upload/internal/background"
)

// errStalled ends an attempt without movement. It is a timeout to the SDK, which retries it.
var errStalled error = stalledError{}

type stalledError struct{}

func (stalledError) Error() string { return "no progress for too long" }
func (stalledError) Timeout() bool { return true }

// A watchedClient ends requests that stop moving. It watches a request from its connection until it is sent, without the time to read the
// request's body, and the reading of the answer, without the reader's pauses. Between these the transport's own timeout applies.
//
// It follows no redirects: to the SDK each is an error.
type watchedClient struct {
	next  http.RoundTripper
	stall time.Duration
}

// Do sends one request.
func (c *watchedClient) Do(req *http.Request) (*http.Response, error) {
	resp, err := c.do(req) //nolint:contextcheck // it is the request's
	noteAttempt(req.Context(), resp, err)
	return resp, err
}

func (c *watchedClient) do(req *http.Request) (*http.Response, error) {
	req, cancel := cancellable(req)
	ctx := req.Context()
	stalled := func() { cancel(errStalled) }

	sending := newWatch(c.stall, stalled)
	traced := httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn:      func(httptrace.GotConnInfo) { background.Guard("S3 trace", sending.arm) },
		WroteRequest: func(httptrace.WroteRequestInfo) { background.Guard("S3 trace", sending.end) },
	})
	req = req.WithContext(traced)
	if req.Body != nil {
		req.Body = &watchedBody{ReadCloser: req.Body, before: sending.disarm, after: sending.arm}
	}
	resp, err := c.next.RoundTrip(req)
	sending.end()
	if err != nil {
		if errors.Is(context.Cause(ctx), errStalled) {
			err = errStalled
		}
		cancel(nil)
		return nil, err
	}
	receiving := newWatch(c.stall, stalled)
	resp.Body = &watchedBody{
		ReadCloser: resp.Body, before: receiving.arm, after: receiving.disarm,
		failed: func(err error) error {
			if errors.Is(context.Cause(ctx), errStalled) {
				return errStalled
			}
			return err
		},
		closed: func() {
			receiving.end()
			cancel(nil)
		},
	}
	return resp, nil
}

// A watch calls a function once it has been armed without a break for a time.
type watch struct {
	limit time.Duration

	mu    sync.Mutex
	timer *time.Timer
	ended bool // arming has no effect
}

func newWatch(limit time.Duration, stalled func()) *watch {
	w := &watch{limit: limit, timer: background.After(limit, "S3 stall", stalled)}
	w.timer.Stop()
	return w
}

func (w *watch) arm() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.ended {
		w.timer.Reset(w.limit)
	}
}

func (w *watch) disarm() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.timer.Stop()
}

// end disarms it for good. The transport may read a body and call its trace after it has returned.
func (w *watch) end() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ended = true
	w.timer.Stop()
}

// A watchedBody calls functions around its reads and after its close.
type watchedBody struct {
	io.ReadCloser
	before, after func()
	failed        func(error) error // may be nil
	closed        func()            // may be nil
}

// Read implements io.Reader. A panic becomes an error: the transport reads bodies in goroutines of its own.
func (b *watchedBody) Read(p []byte) (n int, err error) {
	b.before()
	err = background.Try(func() (err error) {
		n, err = b.ReadCloser.Read(p)
		return err
	})
	b.after()
	if err != nil && !errors.Is(err, io.EOF) && b.failed != nil {
		err = b.failed(err)
	}
	return n, err
}

// Close implements io.Closer.
func (b *watchedBody) Close() error {
	err := b.ReadCloser.Close()
	if b.closed != nil {
		b.closed()
	}
	return err
}
