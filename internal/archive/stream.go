package archive

import (
	"context"
	"crypto/md5"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"

	"tecken-upload/internal/symbol"
)

const (
	// bufSize is what is read of the archive at once.
	bufSize = 128 << 10
	// maxIdle is how often in a row a decoder may give neither bytes nor an error.
	maxIdle = 100
)

// errMore ends the reading of a member that goes on after the bytes it declared.
var errMore = errors.New("more bytes than declared")

// A source reads a range of the archive, until its context ends. It keeps its first failure, so that
// what is our fault can be told from the archive's own after a decoder has wrapped or replaced it.
type source struct {
	ctx            context.Context
	r              io.ReaderAt
	base, pos, end int64
	err            error
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
	p = p[:min(int64(len(p)), s.end-s.pos)]
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

// Seek lets a plain tar's reader skip content that is not read.
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

// A stream is what a decoder makes of a source: guarded against panics and against giving nothing for
// ever, ended by the context, and never longer than it is allowed to be.
type stream struct {
	ctx  context.Context
	r    io.Reader
	left int64 // bytes that it may still give
	// check is shown what the stream gives; nil: that was checked before.
	check *tarChecker
	head  []byte // the first block
	idle  int
	eof   bool  // the end was seen by a reader
	err   error // the first failure
}

func (s *stream) Read(p []byte) (int, error) {
	if s.err == nil && s.ctx.Err() != nil {
		s.err = context.Cause(s.ctx)
	}
	if s.err != nil || len(p) == 0 {
		return 0, s.err
	}
	// One byte more than allowed, or a stream that just fits could not be told from one that does not.
	n, err := s.decode(p[:min(int64(len(p)), s.left+1)])
	s.left -= int64(n)
	s.head = append(s.head, p[:min(n, blockSize-len(s.head))]...)
	if s.check != nil {
		if s.err = s.check.check(p[:n]); s.err != nil {
			return 0, s.err // with the bytes, a reader of whole blocks would not look at the error
		}
	}
	s.idle++
	if n > 0 {
		s.idle = 0
	}
	switch {
	case s.left < 0:
		s.err = tooLarge("The tar has too many bytes that belong to no member")
	case errors.Is(err, io.EOF) && n > 0:
		return n, nil // the end is told by the next Read alone
	case errors.Is(err, io.EOF):
		s.eof = true
		return 0, io.EOF
	case err != nil:
		s.err = err
	case s.idle > maxIdle:
		s.err = io.ErrNoProgress
	}
	return n, s.err
}

func (s *stream) decode(p []byte) (n int, err error) {
	err = guard(func() error {
		n, err = s.r.Read(p)
		return err
	})
	return n, err
}

// movedStep is after how many bytes of content work reports that it gets on: less than a second's work of the slowest
// decoder, on all but the slowest machines.
const movedStep = 4 << 20

// A pace reports how work gets on, and ends it with its context.
type pace struct {
	ctx   context.Context //nolint:containedctx // that of the work, which lasts as long
	moved func()
	n     int64 // bytes since the last report
}

func (p *pace) Write(b []byte) (int, error) {
	if p.ctx.Err() != nil {
		return 0, context.Cause(p.ctx)
	}
	if p.n += int64(len(b)); p.n >= movedStep {
		p.n = 0
		p.moved()
	}
	return len(b), nil
}

// A digest takes a member's content and learns all there is to know of it.
type digest struct {
	pace pace
	want int64 // bytes declared; one more fails with errMore
	n    int64
	md5  hash.Hash
	crc  uint32
	scan symbol.HeaderScanner
}

func newDigest(ctx context.Context, moved func(), m *Member) *digest {
	return &digest{pace: pace{ctx: ctx, moved: moved}, want: m.Size, md5: md5.New()}
}

func (d *digest) Write(p []byte) (int, error) {
	if _, err := d.pace.Write(p); err != nil {
		return 0, err
	}
	if d.n += int64(len(p)); d.n > d.want {
		return 0, errMore
	}
	d.md5.Write(p)
	d.crc = crc32.Update(d.crc, crc32.IEEETable, p)
	_, _ = d.scan.Write(p)
	return len(p), nil
}

// into writes what was learned to m.
func (d *digest) into(m *Member) {
	d.md5.Sum(m.MD5[:0])
	m.head = d.scan.Header()
	if m.Key.IsSym() {
		m.Header = m.head
	}
}
