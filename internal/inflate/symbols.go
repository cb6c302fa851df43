package inflate

import "encoding/binary"

// Masks of indices. In out and in a table's second level they change nothing, and spare a check of the bounds.
const (
	literalMask  = 1<<literalBits - 1
	distanceMask = 1<<distanceBits - 1
	outMask      = outSize - 1
)

// symbols decodes a block with codes: fast while there is input for that, the rest symbol by symbol.
func (r *Reader) symbols() error {
	for r.at < outFull && r.block == codedBlock {
		if len(r.input)-r.pos >= fastInput {
			if !r.fast() {
				return r.corrupt()
			}
		} else if err := r.symbol(); err != nil {
			return err
		}
	}
	return nil
}

// symbol decodes a literal, a match or the end of the block, or with errMore nothing. Bits that are missing are 0: an entry that takes no more
// than there are does not depend on them.
func (r *Reader) symbol() error {
	r.refill()
	e := r.codes.literals[r.bits&literalMask]
	if e&isLink != 0 {
		e = r.codes.literals[e.linked(r.bits, literalBits)]
	}
	if e.bits() > r.n {
		return errMore
	}
	switch {
	case e&isLiteral != 0:
		r.out[r.at] = byte(e >> 16)
		r.at++
	case e&isOther == 0:
		return r.match(e)
	case e&isEnd != 0:
		r.block = noBlock
	default:
		return r.corrupt()
	}
	r.skip(e.bits())
	return nil
}

// match decodes a match of that length, or with errMore nothing.
func (r *Reader) match(length entry) error {
	bits := r.bits >> length.bits()
	e := r.codes.distances[bits&distanceMask]
	if e&isLink != 0 {
		e = r.codes.distances[e.linked(bits, distanceBits)]
	}
	taken := length.bits() + e.bits()
	if taken > r.n {
		return errMore
	}
	distance := e.number(bits)
	if e&isOther != 0 || distance > uint(r.at) {
		return r.corrupt()
	}
	n := length.number(r.bits)
	if distance < 8 {
		copyNear(&r.out, uint(r.at), distance, n)
	} else {
		copyFar(&r.out, uint(r.at), distance, n)
	}
	r.at += int(n)
	r.skip(taken)
	return nil
}

// copyFar copies n bytes from a distance of eight at least. Like copyNear it may write up to 15 more.
func copyFar(out *[outSize + 8]byte, at, distance, n uint) {
	for end := at + n; at < end; at += 16 {
		copy16(out, at, at-distance)
	}
}

// copy16 copies 16 bytes. It reads the second eight after it has written the first, which they may be.
func copy16(out *[outSize + 8]byte, at, from uint) {
	store(out, at, load(out, from))
	store(out, at+8, load(out, from+8))
}

// copyNear copies n bytes from a distance below eight: the bytes there again and again. RFC 1951, section 3.2.3.
func copyNear(out *[outSize + 8]byte, at, distance, n uint) {
	v := load(out, at-distance) & (1<<(8*distance) - 1)
	for width := 8 * distance; width < 64; width *= 2 {
		v |= v << width
	}
	whole := 8 - 8%distance
	for end := at + n; at < end; at += whole {
		store(out, at, v)
	}
}

// load returns the eight bytes at i.
func load(out *[outSize + 8]byte, i uint) uint64 {
	i &= outMask
	return binary.LittleEndian.Uint64(out[i : i+8])
}

// store writes eight bytes at i.
func store(out *[outSize + 8]byte, i uint, v uint64) {
	i &= outMask
	binary.LittleEndian.PutUint64(out[i:i+8], v)
}

// fastInput is what fast reads at most before it looks for the input's end: eight bytes, and eight behind the seven of these it may use.
const fastInput = 16

// fast decodes while there is input for a match, or several literals, and room in out. It returns false for a broken stream.
//
// Of n the low six bits count; subtracting a whole entry, which has its bits there, spares a mask. Reading input leaves 56 bits at least: for
// literals of the first level while 31 are left, and then for a length of at most 15 + 5. A distance has 15 + 13.
func (r *Reader) fast() bool {
	in, pos, bits, n := r.input, r.pos, r.bits, r.n
	out, at := &r.out, uint(r.at)
	t := r.codes
	ok := true
	for pos <= len(in)-fastInput && at < outFull {
		next := (*[fastInput]byte)(in[pos:])
		bits |= binary.LittleEndian.Uint64(next[:]) << (n & 63)
		used := (^n & 63) >> 3
		n |= 56
		e := t.literals[bits&literalMask]
		for e&isLiteral != 0 && n&63 >= 31 {
			out[at&outMask] = byte(e >> 16)
			at++
			bits >>= e & 63
			n -= uint(e)
			e = t.literals[bits&literalMask]
		}
		if e&isLink != 0 {
			e = t.literals[e.linked(bits, literalBits)%uint(len(t.literals))]
		}
		if e&isLiteral != 0 {
			out[at&outMask] = byte(e >> 16)
			at++
			bits >>= e & 63
			n -= uint(e)
			pos += int(used)
			continue
		}
		if e&isOther != 0 {
			ok = e&isEnd != 0
			bits >>= e & 63
			n -= uint(e)
			pos += int(used)
			r.block = noBlock
			break
		}
		length := e.number(bits)
		bits >>= e & 63
		n -= uint(e)
		if n&63 < 28 {
			bits |= binary.LittleEndian.Uint64(next[used:used+8]) << (n & 63)
			used += (^n & 63) >> 3
			n |= 56
		}
		e = t.distances[bits&distanceMask]
		if e&isLink != 0 {
			e = t.distances[e.linked(bits, distanceBits)%uint(len(t.distances))]
		}
		distance := e.number(bits)
		if e&isOther != 0 || distance > at {
			ok = false
			break
		}
		bits >>= e & 63
		n -= uint(e)
		pos += int(used)
		end := at + length
		if distance < 8 {
			copyNear(out, at, distance, length)
		} else {
			for copy16(out, at, at-distance); length > 16; length -= 16 {
				at += 16
				copy16(out, at, at-distance)
			}
		}
		at = end
	}
	r.pos, r.bits, r.n, r.at = pos, bits, n&63, int(at)
	return ok
}
