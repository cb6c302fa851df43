package server

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/labstack/echo/v4"

	"tecken-upload/internal/upload"
)

// sendStall is how long one write of a download may take: 32 KiB at most. A slow reader is not cut off, one that has
// stopped is.
const sendStall = 60 * time.Second

// A payload is a file to be sent as it is stored or, where that is gzip and its reader wants none, inflated.
type payload struct {
	content     io.ReadSeeker // as stored
	object      upload.Object // describes it
	gzip        bool          // it is stored as gzip
	plain       int64         // bytes of its inflated form; -1: not known
	contentType string
}

// sendSymbol sends a symbol file out of storage.
func (s *Server) sendSymbol(c echo.Context, loc upload.Location) error {
	content, obj, err := s.Symbols.Open(c.Request().Context(), loc)
	if err != nil {
		return s.refuseDownload(c, err)
	}
	defer content.Close()
	p := payload{content: content, object: obj, gzip: obj.Gzip, plain: obj.Size, contentType: contentType(loc.Key)}
	return s.send(c, p)
}

// send sends a payload: whole, in part, or not at all where the client has it. Ranges are of the stored form only: to
// find a place in the other, all before it would have to be inflated. Several at once are not given: each may cost a
// request to storage, and a header has room for 100,000. Its client gets the whole (RFC 9110, 14.2).
func (s *Server) send(c echo.Context, p payload) error {
	stored, err := p.content.Seek(0, io.SeekEnd)
	if err != nil {
		return s.refuseDownload(c, fmt.Errorf("measure a download: %w", err))
	}
	r, h := c.Request(), c.Response().Header()
	if strings.Contains(r.Header.Get("Range"), ",") {
		r.Header.Del("Range")
	}
	h.Set("Content-Type", p.contentType)
	h.Set("Vary", "Accept-Encoding")
	if r.Method == http.MethodHead {
		r.Header.Del("Range") // it is for GET alone, which http.ServeContent does not mind
	}
	w := &downloadWriter{ResponseWriter: c.Response(), stopping: s.stopping, extend: func() { s.setWriteDeadline(c, sendStall) }}
	hurry := context.AfterFunc(s.stopping, func() { s.setWriteDeadline(c, drainStopping) })
	defer hurry()
	if p.gzip && !acceptsGzip(r.Header) {
		h.Set("Etag", p.plainTag(stored))
		err = s.sendInflated(w, r, p)
	} else {
		w.ranges = true
		h.Set("Etag", p.storedTag(stored))
		if p.gzip {
			h.Set("Content-Encoding", "gzip")
			h.Set("Content-Length", strconv.FormatInt(stored, 10))
		}
		http.ServeContent(w, r, "", p.object.Modified, p.content)
	}
	if w.refused != 0 {
		h.Del("Content-Encoding") // of the file, not of this answer
		s.write(c, w.refused, errorBody{Error: http.StatusText(w.refused)})
		return nil
	}
	if err != nil && r.Context().Err() == nil {
		s.note(r, err) // the answer is cut short: its client sees that by its length
		panic(http.ErrAbortHandler)
	}
	return nil
}

// sendInflated sends the inflated form.
func (s *Server) sendInflated(w *downloadWriter, r *http.Request, p payload) error {
	body := &inflating{stored: p.content, size: p.plain}
	if p.plain < 0 {
		w.WriteHeader(http.StatusOK)
		if r.Method == http.MethodGet {
			_, _ = io.Copy(w, body) // a client that went away is no fault
			return body.err
		}
		return nil
	}
	whole := r.Clone(r.Context())
	whole.Header.Del("Range")
	whole.Header.Del("If-Range")
	http.ServeContent(w, whole, "", p.object.Modified, body)
	return body.err
}

// storedTag tells one stored form from another: the same content may be compressed in another way the next time.
func (p payload) storedTag(stored int64) string {
	if !p.gzip && p.object.Size >= 0 {
		return fmt.Sprintf(`"%s"`, hex.EncodeToString(p.object.MD5[:]))
	}
	return fmt.Sprintf(`"%x-%x-%x"`, p.object.MD5[:4], stored, p.object.Modified.UnixNano())
}

// plainTag tells one inflated form from another: by its MD5, where that is what is known.
func (p payload) plainTag(stored int64) string {
	if p.plain >= 0 {
		return fmt.Sprintf(`"%s"`, hex.EncodeToString(p.object.MD5[:]))
	}
	return fmt.Sprintf(`"%x-%x-%x-inflated"`, p.object.MD5[:4], stored, p.object.Modified.UnixNano())
}

// inflating reads the inflated form of a stored one, once, from its start. Its size is what it is said to be.
type inflating struct {
	stored io.ReadSeeker
	size   int64
	gzip   *gzip.Reader
	err    error // that ended it, other than io.EOF
}

// Read implements io.Reader.
func (f *inflating) Read(p []byte) (int, error) {
	if f.err != nil {
		return 0, f.err
	}
	n, err := f.read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		f.err = fmt.Errorf("inflate a download: %w", err)
		err = f.err
	}
	return n, err
}

func (f *inflating) read(p []byte) (int, error) {
	if f.gzip == nil {
		if _, err := f.stored.Seek(0, io.SeekStart); err != nil {
			return 0, err
		}
		reader, err := gzip.NewReader(f.stored)
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF // not even a header
		}
		if err != nil {
			return 0, err
		}
		f.gzip = reader
	}
	return f.gzip.Read(p)
}

// Seek implements io.Seeker as far as http.ServeContent needs it: to learn the size, before the first Read.
func (f *inflating) Seek(_ int64, whence int) (int64, error) {
	if whence == io.SeekEnd {
		return f.size, nil
	}
	return 0, nil
}

// A downloadWriter gives each write its own time until the server stops, says whether ranges can be had, and leaves
// the text of refusals to the server.
type downloadWriter struct {
	http.ResponseWriter
	stopping context.Context //nolint:containedctx // a Writer has no other way to hear of its end
	extend   func()
	ranges   bool
	refused  int // the status of a refusal
}

// WriteHeader implements http.ResponseWriter.
func (w *downloadWriter) WriteHeader(status int) {
	if !w.ranges {
		w.Header().Set("Accept-Ranges", "none")
	}
	if status >= http.StatusBadRequest {
		w.refused = status
		return
	}
	w.extend()
	w.ResponseWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (w *downloadWriter) Write(p []byte) (int, error) {
	if w.refused != 0 {
		return len(p), nil
	}
	if w.stopping.Err() != nil {
		return 0, context.Cause(w.stopping)
	}
	w.extend()
	return w.ResponseWriter.Write(p)
}
