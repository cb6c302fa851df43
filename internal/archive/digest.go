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

// read reads all of content. From besideSize bytes on its MD5 is computed on another processor.
func (d *digest) read(content io.Reader) error {
	defer d.pace.report()
	own := buffers.Get().(*[]byte)
	defer buffers.Put(own)
	buf := *own
	var sum *beside
	defer func() {
		if sum != nil {
			sum.close()
		}
	}()
	for {
		n, err := readFull(content, buf)
		if err := d.add(buf[:n]); err != nil {
			return err
		}
		switch {
		case sum != nil:
			buf = sum.write(buf[:n])
		case d.n < besideSize:
			d.md5.Write(buf[:n])
		default:
			d.md5.Write(buf[:n])
			sum = newBeside(d.md5)
			buf = sum.buffer()
		}
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
	}
}

// readFull reads until buf is full, or content gives an error.
func readFull(content io.Reader, buf []byte) (n int, err error) {
	for n < len(buf) && err == nil {
		var more int
		more, err = content.Read(buf[n:])
		n += more
	}
	return n, err
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
