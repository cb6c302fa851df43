package symbols

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"

	"tecken-upload/internal/inflate"
)

// A sentContent is http.ServeContent's content. That does not return why it could not be read.
type sentContent interface {
	io.ReadSeeker
	failed() error
}

// content returns the form to send.
func (p *payload) content() sentContent {
	if p.inflate {
		return &inflating{stored: p.file, size: p.plain(), slots: p.slots}
	}
	return &storedForm{stored: p.file, size: p.file.Stored}
}

// storedForm reads a file's stored form. Of a file that was only looked at it knows the size.
type storedForm struct {
	stored io.ReadSeeker
	size   int64
	at     int64
	err    error // final error, except its end
}

func (f *storedForm) failed() error { return f.err }

// Read implements io.Reader.
func (f *storedForm) Read(p []byte) (int, error) {
	n, err := f.stored.Read(p)
	f.at += int64(n)
	if errors.Is(err, io.EOF) && f.at < f.size {
		err = io.ErrUnexpectedEOF
	}
	if err != nil && !errors.Is(err, io.EOF) {
		f.err = fmt.Errorf("read a download: %w", err)
	}
	return n, err
}

// Seek implements io.Seeker as far as http.ServeContent needs it: for the size, and to an offset.
func (f *storedForm) Seek(offset int64, whence int) (int64, error) {
	if whence == io.SeekEnd {
		return f.size, nil
	}
	f.at = offset
	if offset == 0 {
		return 0, nil // the current offset
	}
	return f.stored.Seek(offset, whence)
}

// inflateSlots bound the downloads that inflate at the same moment: verifying uploads has the other cores. A slot is held during one Read,
// without the time that it waits for storage. The channel's capacity is the number of slots.
type inflateSlots chan struct{}

func (s inflateSlots) take()    { s <- struct{}{} }
func (s inflateSlots) release() { <-s }

// withoutSlot reads for a download with a slot, and releases it meanwhile.
type withoutSlot struct {
	io.Reader
	slots inflateSlots
}

// Read implements io.Reader.
func (r *withoutSlot) Read(p []byte) (int, error) {
	r.slots.release()
	defer r.slots.take()
	return r.Reader.Read(p)
}

// inflating reads the inflated form of a stored one, once, from its start. Its size is taken on trust.
type inflating struct {
	stored io.ReadSeeker
	size   int64 // -1: unknown
	slots  inflateSlots
	gzip   io.Reader
	at     int64
	err    error // that ended it, other than its end
}

func (f *inflating) failed() error { return f.err }

// Read implements io.Reader.
func (f *inflating) Read(p []byte) (int, error) {
	if f.err != nil {
		return 0, f.err
	}
	f.slots.take()
	defer f.slots.release()
	n, err := f.read(p)
	if f.at += int64(n); f.at == f.size && err == nil {
		// A reader that knows the size does not ask for the end, where the checksum is.
		err = f.end()
	}
	if errors.Is(err, io.EOF) && f.at < f.size {
		err = io.ErrUnexpectedEOF
	}
	if err != nil && !errors.Is(err, io.EOF) {
		f.err = fmt.Errorf("inflate a download: %w", err)
		return 0, f.err
	}
	return n, err
}

// end reads to the end of the stream, where its checksum is: io.EOF means that it matches.
func (f *inflating) end() error {
	n, err := io.ReadFull(f.gzip, make([]byte, 1))
	if n > 0 {
		return fmt.Errorf("it is longer than %d bytes", f.size)
	}
	return err
}

func (f *inflating) read(p []byte) (int, error) {
	if f.gzip == nil {
		reader, err := inflate.NewGzip(&withoutSlot{f.stored, f.slots})
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

// Seek implements io.Seeker as far as http.ServeContent needs it: for the size, before the first Read.
func (f *inflating) Seek(_ int64, whence int) (int64, error) {
	switch {
	case whence != io.SeekEnd:
		return 0, nil
	case f.size < 0:
		return math.MaxInt64, nil // until it ends; no length is sent
	}
	return f.size, nil
}

// A downloadWriter gives each write its own time until its end, sets Accept-Ranges, and leaves the text of refusals to the server.
type downloadWriter struct {
	http.ResponseWriter
	payload  *payload
	stopping context.Context // ends when the server stops
	extend   func(n int)     // called before n bytes are written
	refused  int             // the status of a refusal
	err      error           // of the first failed write
}

// WriteHeader implements http.ResponseWriter.
func (w *downloadWriter) WriteHeader(status int) {
	if w.payload.inflate {
		w.Header().Set("Accept-Ranges", "none")
		if w.payload.plain() < 0 {
			w.Header().Del("Content-Length")
		}
	}
	if status >= http.StatusBadRequest {
		w.refused = status
		return
	}
	w.extend(0)
	w.ResponseWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (w *downloadWriter) Write(p []byte) (int, error) {
	if w.refused != 0 {
		return len(p), nil
	}
	w.extend(len(p))
	// After the deadline is set: the other order could miss the end.
	if w.stopping.Err() != nil {
		w.err = context.Cause(w.stopping)
		return 0, w.err
	}
	n, err := w.ResponseWriter.Write(p)
	if err != nil {
		w.err = err
	}
	return n, err
}
