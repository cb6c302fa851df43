package symbols

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"tecken-upload/internal/lookup"
	"tecken-upload/internal/symbol"
	"tecken-upload/internal/web/exchange"
)

// A payload is a file to send in its stored form or, for a client without gzip, inflated.
type payload struct {
	file    lookup.File
	key     symbol.Key
	binary  bool // for debuginfod's clients
	inflate bool
	slots   inflateSlots // for inflating
	size    int64        // bytes of the inflated form if measured, else -1 or 0
}

// sendFile sends a found file. An answer without a body, to a HEAD or to a client that has the file, needs only a look at it, and waits for
// no slot.
func (s *Server) sendFile(c echo.Context, found lookup.Found, binary bool) error {
	r := c.Request()
	p := &payload{key: found.Location.Key, binary: binary, slots: s.inflating}
	var err error
	if r.Method == http.MethodHead || isConditional(r.Header) {
		if p.file, err = s.Finder.Look(r.Context(), found); err != nil {
			return err
		}
		wanted := p.wanted(r)
		if wanted && r.Method == http.MethodHead {
			s.measure(r, found, p)
		}
		if !wanted || r.Method == http.MethodHead {
			return s.send(c, p)
		}
	}
	leave, err := s.sending.enter(r.Context())
	if err != nil {
		return err
	}
	defer leave()
	if p.file, err = s.Finder.Open(r.Context(), found); err != nil {
		return err
	}
	defer p.file.Close()
	s.measure(r, found, p)
	return s.send(c, p)
}

// measure determines the size of the inflated form, if that is sent and its size is unknown. Some clients take no answer without a length.
func (s *Server) measure(r *http.Request, found lookup.Found, p *payload) {
	if !p.file.Gzip || acceptsGzip(r.Header) || p.plain() >= 0 {
		return
	}
	p.size = s.Finder.Measure(r.Context(), found, p.file, func(stored io.ReadSeeker) (int64, error) {
		return io.Copy(io.Discard, &inflating{stored: stored, size: -1, slots: p.slots})
	})
	if p.size > 0 {
		p.file.Inflated = p.size
	}
}

// isConditional reports whether a request may be answered without a body.
func isConditional(h http.Header) bool {
	for _, field := range []string{"If-None-Match", "If-Modified-Since", "If-Match", "If-Unmodified-Since"} {
		if h.Get(field) != "" {
			return true
		}
	}
	return false
}

// wanted reports whether a GET's conditions ask for the file.
func (p *payload) wanted(r *http.Request) bool {
	p.inflate = p.file.Gzip && !acceptsGzip(r.Header)
	whole := r.Clone(r.Context())
	whole.Method = http.MethodHead
	whole.Header.Del("Range")
	trial := &trialWriter{header: make(http.Header)}
	p.describe(trial.header)
	http.ServeContent(trial, whole, "", p.file.Object.Modified, p.content())
	return trial.status == http.StatusOK
}

// A trialWriter keeps the status of an answer that is not sent.
type trialWriter struct {
	header http.Header
	status int
}

func (t *trialWriter) Header() http.Header         { return t.header }
func (t *trialWriter) WriteHeader(status int)      { t.status = status }
func (t *trialWriter) Write(p []byte) (int, error) { return len(p), nil }

// send sends a payload: whole, in part, or not at all if the client has it. Ranges are of the stored form only: the other would have to be
// inflated from its start. Several ranges at once get the whole (RFC 9110, 14.2): each may cost a request to storage, and a header has room
// for 100,000.
func (s *Server) send(c echo.Context, p *payload) error {
	r, h := c.Request(), c.Response().Header()
	p.inflate = p.file.Gzip && !acceptsGzip(r.Header)
	p.setRange(r)
	p.describe(h)
	deadline := &sendDeadline{crowded: s.sending.crowded, set: func(wait time.Duration) { s.SetWriteDeadline(c, wait) }}
	w := &downloadWriter{ResponseWriter: c.Response(), payload: p, stopping: s.Stopping(), extend: deadline.extend}
	release := exchange.WhenEnded(s.Stopping(), func() { s.SetWriteDeadline(c, exchange.StopTime) })
	defer release()
	sendInSteps(r.Context())
	content := p.content()
	http.ServeContent(w, r, "", p.file.Object.Modified, content)
	if w.refused != 0 {
		h.Del("Content-Encoding") // of the file, not of this answer
		s.WriteStatus(c, w.refused)
		return nil
	}
	switch err := content.failed(); {
	case err == nil && w.err == nil:
		return nil
	case err != nil && r.Context().Err() == nil && !s.toldLately(s.Now()):
		s.Report(c.Request().Context(), c, exchange.Caller{}, err)
	default:
		s.Logger.DebugContext(r.Context(), "download ended", "err", errors.Join(err, w.err))
	}
	panic(http.ErrAbortHandler) // the answer is cut short: the client must notice
}

// setRange leaves the answered range in a request, for http.ServeContent.
func (p *payload) setRange(r *http.Request) {
	unit, spec, _ := strings.Cut(r.Header.Get("Range"), "=")
	spec = strings.TrimSpace(spec)
	suffix, isSuffix := strings.CutPrefix(spec, "-")
	switch {
	case r.Method == http.MethodHead, p.inflate, !strings.EqualFold(unit, "bytes"), strings.Contains(spec, ","):
		r.Header.Del("Range") // ranges are for GET, and of bytes: others do not count (RFC 9110, 14.2)
	case isSuffix && suffix != "" && strings.Trim(suffix, "0") == "":
		// The last no bytes can't be had. http.ServeContent would send an unreadable answer.
		r.Header.Set("Range", fmt.Sprintf("bytes=%d-", p.file.Stored))
	default:
		r.Header.Set("Range", "bytes="+spec)
	}
}

// describe sets an answer's headers about the file.
func (p *payload) describe(h http.Header) {
	h.Set("Content-Type", contentType(p.key))
	h.Set("Vary", "Accept-Encoding")
	h.Set("Etag", p.tag())
	if p.binary {
		h.Set("Content-Type", "application/octet-stream")
		describeBinary(h, p)
	}
	if p.file.Gzip && !p.inflate {
		h.Set("Content-Encoding", "gzip")
		h.Set("Content-Length", strconv.FormatInt(p.file.Stored, 10))
	}
}

// plain returns the size of the inflated form, or -1 if unknown.
func (p *payload) plain() int64 {
	switch {
	case p.file.Object.Gzip && p.file.Object.Size >= 0:
		return p.file.Object.Size
	case p.size > 0:
		return p.size
	}
	return -1
}

// tag distinguishes the forms of a file: the same content may be compressed otherwise the next time. It is the content's MD5 if only that
// is known.
func (p *payload) tag() string {
	obj, form := p.file.Object, ""
	if p.inflate {
		form = "-inflated"
	}
	if obj.Size >= 0 && (p.inflate && obj.Gzip || !p.file.Gzip) {
		return fmt.Sprintf(`"%s"`, hex.EncodeToString(obj.MD5[:]))
	}
	return fmt.Sprintf(`"%x-%x-%x%s"`, obj.MD5[:4], p.file.Stored, obj.Modified.UnixNano(), form)
}
