package archive

import (
	"context"
	"crypto/md5"
	"errors"
	"hash"
	"hash/crc32"

	"tecken-upload/internal/symbol"
)

// errMore ends the reading of a member above its declared size.
var errMore = errors.New("more bytes than declared")

// movedStep is after how many bytes of content work reports that it gets on: less than a second's work of the slowest decoder.
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
