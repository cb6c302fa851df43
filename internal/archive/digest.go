package archive

import (
	"context"
	"crypto/md5"
	"errors"
	"hash"
	"hash/crc32"
	"io"

	"tecken-upload/internal/symbol"
)

// errMore ends the reading of a member above its declared size.
var errMore = errors.New("more bytes than declared")

// movedStep is after how many bytes of content work reports that it gets on: less than a second's work of the slowest decoder.
const movedStep = 4 << 20

// A pace reports the work's movement, and ends it with its turn.
type pace struct {
	turn Turn
	n    int64 // bytes since the last report
}

func (p *pace) Write(b []byte) (int, error) {
	if ctx := p.turn.Context(); ctx.Err() != nil {
		return 0, context.Cause(ctx)
	}
	if p.n += int64(len(b)); p.n >= movedStep {
		p.report()
	}
	return len(b), nil
}

// report reports what was not reported yet.
func (p *pace) report() {
	if p.n > 0 {
		p.turn.Moved(p.n)
		p.n = 0
	}
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

func newDigest(turn Turn, size int64) *digest {
	return &digest{pace: pace{turn: turn}, want: size, md5: md5.New()}
}

// read reads all of content. The MD5 of a large one is computed on another processor.
func (d *digest) read(content io.Reader) error {
	defer d.pace.report()
	if d.want < besideSize {
		buf := buffers.Get().(*[]byte)
		defer buffers.Put(buf)
		return d.readTo(content, *buf, func(p []byte) []byte {
			d.md5.Write(p)
			return *buf
		})
	}
	sum := newBeside(d.md5)
	defer sum.close()
	return d.readTo(content, sum.buffer(), sum.write)
}

// readTo reads all of content into buf, and into the buffers that sum returns for each that is full.
func (d *digest) readTo(content io.Reader, buf []byte, sum func(p []byte) []byte) error {
	for {
		n, err := content.Read(buf)
		if n > 0 {
			if err := d.add(buf[:n]); err != nil {
				return err
			}
			buf = sum(buf[:n])
		}
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
	}
}

// add takes the next bytes of the content, except for its MD5.
func (d *digest) add(p []byte) error {
	if _, err := d.pace.Write(p); err != nil {
		return err
	}
	if d.n += int64(len(p)); d.n > d.want {
		return errMore
	}
	d.crc = crc32.Update(d.crc, crc32.IEEETable, p)
	_, _ = d.scan.Write(p)
	return nil
}

// into writes the results to m.
func (d *digest) into(m *Member) {
	d.md5.Sum(m.MD5[:0])
	m.head = d.scan.Header()
	if m.Key.IsSym() {
		m.Header = m.head
	}
}
