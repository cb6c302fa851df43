package inflate

import (
	"encoding/binary"
	"errors"
)

// errMore: the input at hand ends too early for the next step, of which nothing was done.
var errMore = errors.New("the stream goes on")

// A bitReader takes bits from its input, from the lowest of each byte on. RFC 1951, section 3.1.1.
type bitReader struct {
	input []byte
	pos   int    // of the next byte to be read into bits
	bits  uint64 // the next n of the stream; the rest are 0, or what follows in the input
	n     uint
}

// refill reads into bits: 56 of them at least, or all.
func (b *bitReader) refill() {
	if len(b.input)-b.pos >= 8 {
		b.bits |= binary.LittleEndian.Uint64(b.input[b.pos:]) << b.n
		b.pos += int(63-b.n) >> 3
		b.n |= 56
		return
	}
	for ; b.n < 56 && b.pos < len(b.input); b.pos++ {
		b.bits |= uint64(b.input[b.pos]) << b.n
		b.n += 8
	}
}

// unread gives whole bytes back to the input.
func (b *bitReader) unread() {
	b.pos -= int(b.n >> 3)
	b.n &= 7
	b.bits &= 1<<b.n - 1
}

// skip takes n bits.
func (b *bitReader) skip(n uint) {
	b.bits >>= n
	b.n -= n
}

// take takes a number of n bits.
func (b *bitReader) take(n uint) uint {
	v := uint(b.bits & (1<<n - 1))
	b.skip(n)
	return v
}
