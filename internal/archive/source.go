package archive

import (
	"context"
	"errors"
	"fmt"
	"io"
)

// bufSize is what is read of the archive at once.
const bufSize = 128 << 10

// A source reads a range of the archive, until its context ends. It keeps its first failure, which is ours, whatever a decoder makes of it.
type source struct {
	ctx            context.Context
	r              io.ReaderAt
	base, pos, end int64
	// await waits until bytes beyond pos are there, or never will be, and returns where those that are there end; nil: all are there.
	await func(pos int64) (end int64, err error)
	turn  Turn // of the work that reads, for await; nil: none
	err   error
}

func newSource(ctx context.Context, r io.ReaderAt, off, n int64) *source {
	return &source{ctx: ctx, r: r, base: off, pos: off, end: off + n}
}

// Read reads on. At the range's end it returns io.EOF; a file that ends before is a failure.
func (s *source) Read(p []byte) (int, error) {
	if s.err == nil && s.ctx.Err() != nil {
		s.err = context.Cause(s.ctx)
	}
	switch {
	case s.err != nil:
		return 0, s.err
	case s.pos >= s.end:
		return 0, io.EOF
	}
	end := s.end
	if s.await != nil {
		var there int64
		if there, s.err = s.await(s.pos); s.err != nil {
			return 0, s.err
		}
		if there <= s.pos {
			return 0, io.EOF
		}
		end = min(end, there)
	}
	p = p[:min(int64(len(p)), end-s.pos)]
	n, err := s.r.ReadAt(p, s.pos)
	s.pos += int64(n)
	if n == len(p) {
		return n, nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	s.err = fmt.Errorf("read archive at %d: %w", s.pos, err)
	return n, s.err
}

// Seek lets a plain tar's reader skip unread content.
func (s *source) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekStart:
		offset += s.base
	case io.SeekCurrent:
		offset += s.pos
	case io.SeekEnd:
		offset += s.end
	}
	if offset < s.base {
		return 0, errors.New("seek before the start")
	}
	s.pos = offset
	return s.pos - s.base, nil
}
