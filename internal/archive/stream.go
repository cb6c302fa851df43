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

// bufSize is what is read of the archive at once.
const bufSize = 128 << 10

// errMore ends the reading of a member above its declared size.
var errMore = errors.New("more bytes than declared")

// A source reads a range of the archive, until its context ends. It keeps its first failure, which is ours, since a decoder may wrap or
// replace it.
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

// movedStep is after how many bytes of content work reports that it gets on: less than a second's work of the slowest
// decoder, on all but the slowest machines.
const movedStep = 4 << 20

// A pace reports the work's movement, and ends it with its context.
type pace struct {
	ctx   context.Context //nolint:containedctx // the work's, which lasts as long
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

// A digest reads a member's content, and computes everything about it.
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

// into writes the results to m.
func (d *digest) into(m *Member) {
	d.md5.Sum(m.MD5[:0])
	m.head = d.scan.Header()
	if m.Key.IsSym() {
		m.Header = m.head
	}
}
