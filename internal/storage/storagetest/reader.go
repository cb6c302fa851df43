package storagetest

import (
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"testing"
)

// strictReader is a body's reader with no more than upload.Body's promises.
type strictReader struct {
	t testing.TB
	r io.ReadSeeker

	mu    sync.Mutex // held during a Read, to detect two at once
	ended bool
}

func (r *strictReader) use(how string) (done func()) {
	if !r.mu.TryLock() {
		r.t.Errorf("%s of a body that is being used", how)
		r.mu.Lock()
	}
	if r.ended {
		r.t.Errorf("%s of a body after Put has returned", how)
	}
	return r.mu.Unlock
}

// Read implements io.Reader.
func (r *strictReader) Read(p []byte) (int, error) {
	done := r.use("read")
	defer done()
	return r.r.Read(p)
}

// Seek implements io.Seeker for offset 0.
func (r *strictReader) Seek(offset int64, whence int) (int64, error) {
	done := r.use("seek")
	defer done()
	if offset != 0 {
		r.t.Errorf("seek to %d, whence %d", offset, whence)
		return 0, errors.New("only offset 0 is supported")
	}
	return r.r.Seek(offset, whence)
}

func (r *strictReader) end() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ended = true
}

// strictReaderAt is a body's reader in place. It fails the test when it is used after its end.
type strictReaderAt struct {
	t     testing.TB
	r     io.ReaderAt
	ended atomic.Bool
}

// ReadAt implements io.ReaderAt.
func (r *strictReaderAt) ReadAt(p []byte, off int64) (int, error) {
	if r.ended.Load() {
		r.t.Error("read of a body after Stage has returned")
	}
	return r.r.ReadAt(p, off)
}

// countingReader and countingReaderAt call count with the bytes of each read.
type countingReader struct {
	io.ReadSeeker
	count func(n int)
}

// Read implements io.Reader.
func (r *countingReader) Read(p []byte) (int, error) {
	n, err := r.ReadSeeker.Read(p)
	r.count(n)
	return n, err
}

type countingReaderAt struct {
	io.ReaderAt
	count func(n int)
}

// ReadAt implements io.ReaderAt.
func (r *countingReaderAt) ReadAt(p []byte, off int64) (int, error) {
	n, err := r.ReaderAt.ReadAt(p, off)
	r.count(n)
	return n, err
}

// hookReader calls before ahead of each read, with the number of bytes read so far. Read returns before's error.
type hookReader struct {
	io.ReadSeeker
	before func(read int64) error
	read   int64
}

// Read implements io.Reader.
func (r *hookReader) Read(p []byte) (int, error) {
	if err := r.before(r.read); err != nil {
		return 0, err
	}
	// In small steps, so that a read has a middle.
	n, err := r.ReadSeeker.Read(p[:min(len(p), 64<<10)])
	r.read += int64(n)
	return n, err
}

// Seek implements io.Seeker.
func (r *hookReader) Seek(offset int64, whence int) (int64, error) {
	n, err := r.ReadSeeker.Seek(offset, whence)
	r.read = n
	return n, err
}
