package fetch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"tecken-upload/internal/background"
)

// A Download fetches one archive: one goroutine opens, reads and closes it.
type Download struct {
	client    *Client
	first     *url.URL   // as asked for
	url       *url.URL   // after the redirects so far
	redirects []*url.URL // all so far
	limit     int64      // bytes

	ctx    context.Context
	cancel context.CancelCauseFunc
	timely context.CancelFunc
	watch  *time.Timer // runs while waiting for the source

	body    io.ReadCloser
	etag    string // strong, or empty
	size    int64  // declared bytes, or -1
	ends    bool   // the answer declares its end; the end of the connection would look the same as a break
	read    int64  // bytes
	resumes int
	broken  error // why the body can't be read on, unless the fetch is resumed
	err     error // the download's final error
}

// URL returns the requested address without its query.
func (d *Download) URL() string { return shown(d.first) }

// Redirects returns the addresses of the redirects so far, in order, without their queries.
func (d *Download) Redirects() []string {
	var list []string
	for _, u := range d.redirects {
		list = append(list, shown(u))
	}
	return list
}

// Size returns the archive's declared bytes, or -1. It is known once the download is open.
func (d *Download) Size() int64 { return d.size }

// Filename returns the last element of the current address's path, or "" after a slash.
func (d *Download) Filename() string { return filename(d.url) }

// Open requests the archive, of at most limit bytes, and returns once it begins to arrive. Call it once, and Close even if it fails.
func (d *Download) Open(ctx context.Context, limit int64) error {
	d.limit = limit
	ctx, d.timely = context.WithTimeoutCause(ctx, d.client.Timeout, errLate)
	ctx, d.cancel = context.WithCancelCause(ctx)
	d.ctx = withEnd(ctx)
	d.watch = background.After(d.client.StallTimeout, "fetch stall", func() { d.cancel(errStalled) })
	d.watch.Stop()
	d.err = d.open()
	return d.err
}

func (d *Download) open() error {
	resp, err := d.follow() //nolint:bodyclose // Close closes it
	if err != nil {
		return err
	}
	d.body = resp.Body
	if resp.StatusCode != http.StatusOK {
		return d.answered(resp.StatusCode)
	}
	if d.size = resp.ContentLength; d.size > d.limit {
		return tooLarge(d.limit)
	}
	d.etag, d.ends = strong(resp.Header), d.size >= 0 || len(resp.TransferEncoding) > 0
	if !d.ends && d.etag == "" {
		return unreachable(nil, "'%s' does not say where the archive ends. Try again later.", d.url.Host)
	}
	return nil
}

// follow requests the archive until the answer is no redirect.
func (d *Download) follow() (*http.Response, error) {
	for {
		resp, err := d.get(0)
		if err != nil {
			return nil, err
		}
		if !redirects(resp.StatusCode) {
			return resp, nil
		}
		resp.Body.Close()
		location := resp.Header.Get("Location")
		switch {
		case location == "":
			return nil, refused("'%s' answered %d without a Location.", d.url.Host, resp.StatusCode)
		case len(d.redirects) == maxRedirects:
			return nil, refused("The URL redirects more than %d times.", maxRedirects)
		}
		next, err := d.client.hosts.parse(d.url, location)
		if err != nil {
			return nil, err
		}
		d.redirects, d.url = append(d.redirects, next), next
	}
}

func redirects(status int) bool {
	switch status {
	case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther,
		http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		return true
	}
	return false
}

// get requests the archive from the given byte on. Its error is the download's, or an unreachable one.
func (d *Download) get(from int64) (*http.Response, error) {
	r := &http.Request{Method: http.MethodGet, URL: d.url, Host: d.url.Host, Header: http.Header{
		"Accept":          {"*/*"},
		"Accept-Encoding": {"identity"},
		"User-Agent":      {d.client.Agent},
	}}
	if from > 0 || d.resumes > 0 {
		r.Header.Set("Range", "bytes="+strconv.FormatInt(from, 10)+"-")
		r.Header.Set("If-Range", d.etag)
	}
	d.watch.Reset(d.client.StallTimeout)
	defer d.watch.Stop()
	// Not by an http.Client: its errors quote the whole address.
	resp, err := d.client.transport.RoundTrip(r.WithContext(d.ctx))
	switch {
	case err == nil:
		return resp, nil
	case d.ctx.Err() != nil:
		return nil, d.ended()
	case errors.Is(err, errNotPublic):
		return nil, &Error{Kind: ErrRefused, Reason: fmt.Sprintf("'%s' has no public address.", d.url.Host), cause: plain(err)}
	}
	return nil, unreachable(plain(err), "'%s' can't be reached, or does not answer as it should. Try again later.", d.url.Host)
}

// answered returns the error for a status.
func (d *Download) answered(status int) error {
	if status >= http.StatusInternalServerError {
		return unreachable(nil, "'%s' answered %d. Try again later.", d.url.Host, status)
	}
	return refused("'%s' answered %d.", d.url.Host, status)
}

// ended returns why the download's context has ended.
func (d *Download) ended() error {
	cause := context.Cause(d.ctx)
	switch {
	case errors.Is(cause, errStalled):
		return stalled(d.url.Host, d.client.StallTimeout)
	case errors.Is(cause, errLate):
		return late(d.url.Host, d.client.Timeout)
	}
	return cause
}

// Read reads bytes as they arrive. It resumes a broken fetch if it can.
func (d *Download) Read(p []byte) (int, error) {
	if d.err == nil && d.broken != nil {
		d.err = d.resume()
	}
	if d.err != nil {
		return 0, d.err
	}
	n, err := d.receive(p)
	switch {
	case d.read > d.limit:
		d.err = tooLarge(d.limit)
		return 0, d.err
	case d.ctx.Err() != nil:
		d.err = d.ended()
	case err != nil && d.read == d.size, errors.Is(err, io.EOF) && d.size < 0 && d.ends:
		d.err = io.EOF
	case err != nil || d.size >= 0 && d.read > d.size:
		d.broken = plain(err)
	}
	return n, d.err
}

// receive reads once, and counts.
func (d *Download) receive(p []byte) (int, error) {
	d.watch.Reset(d.client.StallTimeout)
	defer d.watch.Stop()
	n, err := d.body.Read(p)
	d.read += int64(n)
	return n, err
}

// Close ends the download at any point.
func (d *Download) Close() error {
	if d.ctx == nil {
		return nil
	}
	d.watch.Stop()
	d.cancel(errClosed)
	d.timely()
	if d.err == nil || errors.Is(d.err, io.EOF) {
		d.err = errClosed
	}
	if d.body == nil {
		return nil
	}
	return d.body.Close()
}
