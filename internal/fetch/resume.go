package fetch

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strconv"
	"strings"

	"tecken-upload/internal/background"
)

var (
	// strongTag is an entity tag that promises the same bytes (RFC 9110, 8.8.3).
	strongTag = regexp.MustCompile(`^"[!#-~]*"$`)
	// contentRange is the range of a part with a known total (RFC 9110, 14.4).
	contentRange = regexp.MustCompile(`^bytes ([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18})$`)
)

// strong returns an answer's strong validator, or "".
func strong(h http.Header) string {
	if tags := h.Values("ETag"); len(tags) == 1 && strongTag.MatchString(tags[0]) {
		return tags[0]
	}
	return ""
}

// errAgain reports that the source failed again.
var errAgain = errors.New("the fetch could not be resumed")

// resume continues a broken fetch where it ended. It returns io.EOF if nothing is left.
func (d *Download) resume() error {
	for {
		// Nothing more comes from the broken body.
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

// wait pauses before a resume.
func (d *Download) wait() error {
	if background.Sleep(d.ctx, background.Backoff(d.resumes, d.client.pause, lastPause)) != nil {
		return d.ended()
	}
	return nil
}

// again requests the rest, and accepts only a proven rest of the same archive.
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
		// Even a 404: the archive was there a moment ago, and an expired signed address may be renewed.
		return d.brokeOff(fmt.Errorf("the archive has changed, is gone, or is not served in parts: status %d", status))
	}
}

// temporary reports whether a status may change for a client that already has a part.
func temporary(status int) bool {
	switch status {
	case http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests:
		return true
	}
	return status >= http.StatusInternalServerError
}

// isAll reports whether the answer proves that nothing is left.
func (d *Download) isAll(resp *http.Response) bool {
	ranges := resp.Header.Values("Content-Range")
	return strong(resp.Header) == d.etag && len(ranges) == 1 && ranges[0] == fmt.Sprintf("bytes */%d", d.read)
}

// isRest checks that a part is all of the rest.
func (d *Download) isRest(resp *http.Response) error {
	if strong(resp.Header) != d.etag {
		return d.brokeOff(errors.New("the rest is of another archive"))
	}
	ranges := resp.Header.Values("Content-Range")
	m := contentRange.FindStringSubmatch(strings.Join(ranges, ","))
	if m == nil {
		return d.brokeOff(errors.New("the rest has no valid Content-Range"))
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
		return d.brokeOff(fmt.Errorf("the rest is %d-%d of %d, want %d- of %d", start, end, total, d.read, d.size))
	}
	d.size = total
	return nil
}
