package fetch

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"
)

var (
	// strongTag is an entity tag that promises the same bytes (RFC 9110, 8.8.3).
	strongTag = regexp.MustCompile(`^"[!#-~]*"$`)
	// contentRange is the range of a part whose whole is known (RFC 9110, 14.4).
	contentRange = regexp.MustCompile(`^bytes ([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18})$`)
)

// strong returns an answer's validator, or "" where it has none that promises the same bytes.
func strong(h http.Header) string {
	if tags := h.Values("ETag"); len(tags) == 1 && strongTag.MatchString(tags[0]) {
		return tags[0]
	}
	return ""
}

// errAgain: the other side failed once more.
var errAgain = errors.New("the transfer could not be taken up")

// resume takes up a transfer that broke, where it ended. It returns io.EOF where nothing is left.
func (d *Download) resume() error {
	for {
		// The broken one holds nothing that is waited for.
		_ = d.body.Close()
		if d.etag == "" || d.resumes == maxResumes || d.size >= 0 && d.read >= d.size {
			return d.brokeOff(d.broken)
		}
		if err := d.wait(); err != nil {
			return err
		}
		d.resumes++
		err := d.again()
		if !errors.Is(err, errAgain) {
			return err
		}
		d.broken = err
	}
}

func (d *Download) brokeOff(cause error) error {
	return unreachable(cause, "'%s' broke off the transfer. Try again later.", d.url.Host)
}

// wait waits before the transfer is taken up.
func (d *Download) wait() error {
	pause := min(d.client.pause<<d.resumes, lastPause)
	timer := time.NewTimer(pause/2 + rand.N(pause/2+1))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-d.ctx.Done():
		return d.ended()
	}
}

// again asks for the rest. What is no proof of being the rest of the same is not taken.
func (d *Download) again() error {
	resp, err := d.get(d.read) //nolint:bodyclose // resume and Close close it
	if errors.Is(err, ErrUnreachable) {
		return fmt.Errorf("%w: %w", errAgain, err)
	}
	if err != nil {
		return err
	}
	d.body = resp.Body
	switch status := resp.StatusCode; {
	case status == http.StatusRequestedRangeNotSatisfiable && d.isAll(resp):
		return io.EOF
	case status == http.StatusPartialContent:
		if err := d.isRest(resp); err != nil {
			return err
		}
		d.broken = nil
		return nil
	case temporary(status):
		return fmt.Errorf("%w: status %d", errAgain, status)
	default:
		// Even a 404: it was there a moment ago, and a signed address that has expired may be made anew.
		return d.brokeOff(fmt.Errorf("what is there now is another archive, or can't be had, or not in parts: status %d", status))
	}
}

// temporary reports whether what a status means may pass, for one who had a part already.
func temporary(status int) bool {
	switch status {
	case http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests:
		return true
	}
	return status >= http.StatusInternalServerError
}

// isAll reports whether the answer to a request for the rest proves that there is none.
func (d *Download) isAll(resp *http.Response) bool {
	ranges := resp.Header.Values("Content-Range")
	return strong(resp.Header) == d.etag && len(ranges) == 1 && ranges[0] == fmt.Sprintf("bytes */%d", d.read)
}

// isRest checks that a part is all of the rest of what has been read.
func (d *Download) isRest(resp *http.Response) error {
	if strong(resp.Header) != d.etag {
		return d.brokeOff(errors.New("the rest is of another archive"))
	}
	ranges := resp.Header.Values("Content-Range")
	m := contentRange.FindStringSubmatch(strings.Join(ranges, ","))
	if m == nil {
		return d.brokeOff(errors.New("the rest does not say what it is the rest of"))
	}
	var n [3]int64
	for i := range n {
		n[i], _ = strconv.ParseInt(m[i+1], 10, 64) // at most 18 digits
	}
	start, end, total := n[0], n[1], n[2]
	switch length := resp.ContentLength; {
	case total > d.limit:
		return tooLarge(d.limit)
	case start != d.read, end != total-1, d.size >= 0 && total != d.size, length >= 0 && length != total-start:
		return d.brokeOff(fmt.Errorf("the rest is not what was asked for: %d-%d of %d, not %d- of %d", start, end, total, d.read, d.size))
	}
	d.size = total
	return nil
}
