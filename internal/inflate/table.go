package inflate

import (
	"math/bits"
	"sync"
)

// Symbols that codes may have, and the bits of a code. RFC 1951, sections 3.2.5 and 3.2.7.
const (
	literalSymbols  = 286 // literals, lengths and the end of the block
	distanceSymbols = 30
	lengthSymbols   = 19 // lengths of codes
	endOfBlock      = 256
	maxBits         = 15
)

// Bits that index the first level of a table.
const (
	literalBits  = 11
	distanceBits = 8
	lengthBits   = 7 // all that a code of the code lengths has
)

// An entry is what the next bits of a stream mean. Bits 0–7 are how many of them it takes, extra bits included; 8–12 how many of these are
// the code, before the extra bits. The rest is by kind:
//
//	literal   bit 31; 16–23: the byte
//	number    16–30: the number, without what its extra bits add
//	link      bits 15 and 14; 16–30: where the second level begins; 8–11: how many bits index it, behind those that index the first
//	end       bits 15 and 13: the end of the block
//	invalid   bit 15 alone: no code begins with these bits
type entry uint32

const (
	isLiteral entry = 1 << 31
	isOther   entry = 1 << 15 // neither a literal nor a number
	isLink    entry = 1 << 14
	isEnd     entry = 1 << 13
	invalid         = isOther
)

// bits returns the number of bits e takes.
func (e entry) bits() uint { return uint(e & 63) }

// number returns a number whose code is at the start of bits.
func (e entry) number(bits uint64) uint {
	return uint(e>>16) + uint(bits&(1<<e.bits()-1)>>(e>>8&31))
}

// linked returns the index of the entry behind a link, in a table whose first level is indexed by so many bits.
func (e entry) linked(bits uint64, first uint) uint {
	return uint(e>>16) + uint(bits>>first)&(1<<(e>>8&15)-1)
}

// Meanings are entries of symbols, without the bits of their codes. RFC 1951, sections 3.2.5 and 3.2.7.
var (
	literalMeanings  = literals()
	distanceMeanings = distances()

	// lengthMeanings are numbers: a length's, times 256, and how often it comes, less one.
	lengthMeanings = [lengthSymbols]entry{
		0, 1 << 24, 2 << 24, 3 << 24, 4 << 24, 5 << 24, 6 << 24, 7 << 24, 8 << 24, 9 << 24, 10 << 24, 11 << 24, 12 << 24, 13 << 24, 14 << 24, 15 << 24,
		lengthBefore<<24 | 2<<16 | 2, 2<<16 | 3, 10<<16 | 7,
	}
)

// lengthBefore stands for the length before.
const lengthBefore = 16

// literals returns the meanings of literals, the end of the block, and lengths. The last two symbols have codes in the fixed tables alone.
func literals() (m [literalSymbols + 2]entry) {
	for i := range entry(endOfBlock) {
		m[i] = isLiteral | i<<16
	}
	m[endOfBlock] = isOther | isEnd
	numbers(m[endOfBlock+1:literalSymbols-1], 3, 4)
	m[literalSymbols-1] = 258 << 16
	m[literalSymbols], m[literalSymbols+1] = invalid, invalid
	return m
}

// distances returns the meanings of distances; of the last two symbols the same is true.
func distances() (m [distanceSymbols + 2]entry) {
	numbers(m[:distanceSymbols], 1, 2)
	m[distanceSymbols], m[distanceSymbols+1] = invalid, invalid
	return m
}

// numbers makes the meanings of symbols for the numbers from least on: twice so many symbols have no extra bits, each so many after them have
// one more.
func numbers(m []entry, least entry, many int) {
	for i := range m {
		extra := entry(max(i/many-1, 0))
		m[i] = least<<16 | extra
		least += 1 << extra
	}
}

// tables are those of a block with codes. The second levels follow the first. They have 2340 and 400 entries at most, by zlib's
// examples/enough.c for 286 symbols and 11 bits, and 30 and 8. A masked index is known to be inside.
type tables struct {
	literals  [1 << 12]entry
	distances [1 << 9]entry
}

// fixedTables returns those of a block with fixed codes. RFC 1951, section 3.2.6.
var fixedTables = sync.OnceValue(func() *tables {
	var literals [len(literalMeanings)]uint8
	var distances [len(distanceMeanings)]uint8
	for i := range literals {
		switch {
		case i < 144 || i >= 280:
			literals[i] = 8
		case i < 256:
			literals[i] = 9
		default:
			literals[i] = 7
		}
	}
	for i := range distances {
		distances[i] = 5
	}
	t := new(tables)
	build(t.literals[:], literalBits, literalMeanings[:], literals[:])
	build(t.distances[:], distanceBits, distanceMeanings[:], distances[:])
	return t
})

// build makes the table of the code in which each symbol has so many bits. It returns false for a code that zlib refuses: one that is not
// complete, unless it has a single symbol, of one bit, or none.
func build(table []entry, first int, symbols []entry, lengths []uint8) bool {
	var counts [maxBits + 1]uint16
	for _, n := range lengths {
		counts[n]++
	}
	var next [maxBits + 2]uint16 // where in order the symbols with so many bits begin
	free := 1                    // codes of so many bits
	for n := 1; n <= maxBits; n++ {
		next[n+1] = next[n] + counts[n]
		if free = free<<1 - int(counts[n]); free < 0 {
			return false
		}
	}
	used := next[maxBits+1]
	var order [288]entry
	for symbol, n := range lengths {
		if n > 0 {
			order[next[n]] = symbols[symbol] + entry(n)<<8 + entry(n)
			next[n]++
		}
	}
	if free == 0 {
		fill(table, first, order[:used], counts[:])
		return true
	}
	for i := range table[:1<<first] {
		table[i] = invalid | 1<<8 | 1 // zlib takes a bit
		if used == 1 && i&1 == 0 {
			table[i] = order[0]
		}
	}
	return used == 0 || used == 1 && counts[1] == 1
}

// fill makes the table of a complete code, given the symbols in the order of their codes. A code's first bit is an index's lowest, so an index
// is the code reversed. The first level doubles with each bit.
func fill(table []entry, first int, order []entry, counts []uint16) {
	code := uint(0) // reversed
	for n := 1; n <= first; n++ {
		half := 1 << (n - 1)
		copy(table[half:2*half], table[:half])
		for _, e := range order[:counts[n]] {
			table[code] = e
			code = following(code, n)
		}
		order = order[counts[n]:]
	}
	mask := uint(1)<<first - 1
	start, end := uint(0), mask+1 // of the second level at hand
	link := mask + 1
	for n := first + 1; n <= maxBits; n++ {
		for ; counts[n] > 0; counts[n]-- {
			if code&mask != link {
				link = code & mask
				width := n - first
				for left := 1<<width - int(counts[n]); left > 0; {
					width++
					left = left<<1 - int(counts[first+width])
				}
				start, end = end, end+1<<width
				table[link] = isOther | isLink | entry(start)<<16 | entry(width)<<8
			}
			for i := start + code>>first; i < end; i += 1 << (n - first) {
				table[i] = order[0]
			}
			order = order[1:]
			code = following(code, n)
		}
	}
}

// following returns the code of n bits after this one, both reversed.
func following(code uint, n int) uint {
	carry := uint(1) << bits.Len(^code&(1<<n-1)) >> 1
	return code&(carry-1) | carry
}
