package symbols

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"sync/atomic"

	"tecken-upload/internal/inflate"
)

// A sentContent is what http.ServeContent sends. That does not tell why it could not be read.
type sentContent interface {
	io.ReadSeeker
	failed() error
}

// content returns the form that is sent.
func (p *payload) content() sentContent {
	if p.inflate {
		return &inflating{stored: p.file, size: p.plain(), turns: p.turns}
	}
	return &storedForm{stored: p.file, size: p.file.Stored}
}

// storedForm reads a file as it is stored. Of one that was only looked at it knows the size.
type storedForm struct {
	stored io.ReadSeeker
	size   int64
	at     int64
	err    error // that ended it, other than its end
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

// Seek implements io.Seeker as far as http.ServeContent needs it: to learn the size, and to go to a place.
func (f *storedForm) Seek(offset int64, whence int) (int64, error) {
	if whence == io.SeekEnd {
		return f.size, nil
	}
	f.at = offset
	if offset == 0 {
		return 0, nil // where it is
	}
	return f.stored.Seek(offset, whence)
}

// inflateTurns bound how many downloads inflate at the same moment: verifying uploads has the other cores to itself. A turn is one Read,
// without the time that it waits for what is stored. As many hold one as the channel has room for.
type inflateTurns chan struct{}

func (t inflateTurns) enter() { t <- struct{}{} }
func (t inflateTurns) leave() { <-t }

// betweenTurns reads for one who has a turn, which is somebody else's meanwhile.
type betweenTurns struct {
	io.Reader
	turns inflateTurns
}

// Read implements io.Reader.
func (b *betweenTurns) Read(p []byte) (int, error) {
	b.turns.leave()
	defer b.turns.enter()
	return b.Reader.Read(p)
}

// inflating reads the inflated form of a stored one, once, from its start. Its size is what it is said to be.
type inflating struct {
	stored io.ReadSeeker
	size   int64 // -1: not known
	turns  inflateTurns
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
	f.turns.enter()
	defer f.turns.leave()
	n, err := f.read(p)
	if f.at += int64(n); f.at == f.size && err == nil {
		// Whoever knows the size does not ask what comes after it. The checksum does.
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

// end reads on to the end of the stream, where its checksum is: io.EOF tells that it is that of what was read.
func (f *inflating) end() error {
	n, err := io.ReadFull(f.gzip, make([]byte, 1))
	if n > 0 {
		return fmt.Errorf("it is longer than %d bytes", f.size)
	}
	return err
}

func (f *inflating) read(p []byte) (int, error) {
	if f.gzip == nil {
		reader, err := inflate.NewGzip(&betweenTurns{f.stored, f.turns})
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
	switch {
	case whence != io.SeekEnd:
		return 0, nil
	case f.size < 0:
		return math.MaxInt64, nil // until it ends; no length is told
	}
	return f.size, nil
}

// A downloadWriter gives each write its own time until its end comes, says whether ranges can be had, and leaves
// the text of refusals to the server.
type downloadWriter struct {
	http.ResponseWriter
	payload *payload
	ending  context.Context //nolint:containedctx // a Writer has no other way to hear of its end
	extend  func()
	sent    atomic.Int64 // bytes of the body, since whoever watches asked last
	refused int          // the status of a refusal
	err     error        // of the first write that failed
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
	w.extend()
	w.ResponseWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (w *downloadWriter) Write(p []byte) (int, error) {
	if w.refused != 0 {
		return len(p), nil
	}
	w.extend()
	// After the deadline is set: the other order could miss the end.
	if w.ending.Err() != nil {
		w.err = context.Cause(w.ending)
		return 0, w.err
	}
	n, err := w.ResponseWriter.Write(p)
	w.sent.Add(int64(n))
	if err != nil {
		w.err = err
	}
	return n, err
}
