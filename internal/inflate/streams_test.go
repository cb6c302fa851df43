package inflate

import "slices"

// A stream is a DEFLATE stream in the making, bit by bit. RFC 1951, section 3.1.1.
type stream struct {
	bytes []byte
	free  int // bits of the last byte
}

// bits appends the n low bits of v, the lowest first, as for numbers.
func (s *stream) bits(v, n int) *stream {
	for ; n > 0; v, n = v>>1, n-1 {
		if s.free == 0 {
			s.bytes, s.free = append(s.bytes, 0), 8
		}
		s.bytes[len(s.bytes)-1] |= byte(v&1) << (8 - s.free)
		s.free--
	}
	return s
}

// code appends a Huffman code of n bits, the highest first.
func (s *stream) code(v, n int) *stream {
	for n--; n >= 0; n-- {
		s.bits(v>>n, 1)
	}
	return s
}

// The code lengths of a block with the literal a, the end of the block, and the length 3, which is symbol 257.
var usual = map[int]int{'a': 1, 256: 2, 257: 2}

// The codes of usual, and of a first distance.
const (
	litA, end, len3 = 0b0, 0b10, 0b11
	dist1           = 0
)

// lengths makes a list of n code lengths.
func lengths(n int, of map[int]int) []int {
	list := make([]int, n)
	for symbol, length := range of {
		list[symbol] = length
	}
	return list
}

// dynamic appends the header of a block with codes of these lengths, each length written out.
func (s *stream) dynamic(final int, literals, distances []int) *stream {
	s.bits(final, 1).bits(2, 2).bits(len(literals)-257, 5).bits(len(distances)-1, 5).bits(19-4, 4)
	// The code of the code lengths: four bits for 0 to 12, five for 13 to 18.
	for _, symbol := range []int{16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15} {
		s.bits(4+symbol/13, 3)
	}
	for _, length := range slices.Concat(literals, distances) {
		s.code(length, 4)
	}
	return s
}

// codeLengths appends the header of a block with 257 literals and one distance, up to the code of their lengths: of gives the number of
// bits for each symbol.
func (s *stream) codeLengths(of map[int]int) *stream {
	s.bits(1, 1).bits(2, 2).bits(0, 5).bits(0, 5).bits(19-4, 4)
	for _, symbol := range []int{16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15} {
		s.bits(of[symbol], 3)
	}
	return s
}

// A verdict is a stream with zlib's verdict.
type verdict struct {
	stream *stream
	want   string
	ok     bool // zlib accepts it
}

func raw(s string) *stream { return &stream{bytes: []byte(s)} }

func fixed() *stream { return new(stream).bits(1, 1).bits(1, 2).code(0x30+'a', 8) }

// verdicts are zlib 1.2.13's, on streams over which decoders differ.
func verdicts() map[string]verdict {
	usualLits := lengths(286, usual)
	good := func(s *stream) *stream { return s.code(litA, 1).code(len3, 2).code(dist1, 1).code(end, 2) }
	noDistance := func(s *stream) *stream {
		return s.dynamic(1, usualLits, []int{0}).code(litA, 1).code(len3, 2).bits(0, 1).code(end, 2)
	}
	with := func(literals, distances []int) *stream {
		return new(stream).dynamic(1, literals, distances).bits(0, 32)
	}
	return map[string]verdict{
		"stored":                       {raw("\x01\x03\x00\xfc\xffabc"), "abc", true},
		"two blocks":                   {raw("\x00\x01\x00\xfe\xffa\x4b\x4a\x06\x00"), "abc", true},
		"empty":                        {raw("\x03\x00"), "", true},
		"dynamic":                      {good(new(stream).dynamic(1, usualLits, []int{1})), "aaaa", true},
		"no distance code, none used":  {new(stream).dynamic(1, usualLits, []int{0}).code(litA, 1).code(end, 2), "a", true},
		"only an end of block":         {new(stream).dynamic(1, lengths(257, map[int]int{256: 1}), []int{0}).code(0, 1), "", true},
		"30 distance codes":            {new(stream).dynamic(1, usualLits, lengths(30, map[int]int{0: 1})).code(litA, 1).code(end, 2), "a", true},
		"fixed: distance 1 of 1":       {fixed().code(1, 7).code(0, 5).code(0, 7), "aaaa", true},
		"nothing":                      {raw(""), "", false},
		"cut short":                    {raw("\x4b\x4c\x4a\x06"), "", false},
		"block type 3":                 {raw("\x07"), "", false},
		"stored lengths disagree":      {raw("\x01\x03\x00\xfd\xffabc"), "", false},
		"no distance code, one used":   {noDistance(new(stream)), "", false},
		"that of the block before":     {noDistance(good(new(stream).dynamic(0, usualLits, []int{1}))), "", false},
		"a distance without a code":    {new(stream).dynamic(1, usualLits, []int{1}).code(litA, 1).code(len3, 2).bits(1, 1).code(end, 2), "", false},
		"incomplete literals":          {with(lengths(286, map[int]int{'a': 2, 256: 2, 257: 2}), []int{1}), "", false},
		"oversubscribed literals":      {with(lengths(286, map[int]int{'a': 1, 'b': 1, 256: 1}), []int{1}), "", false},
		"incomplete distances":         {with(usualLits, []int{2, 2}), "", false},
		"oversubscribed distances":     {with(usualLits, []int{1, 1, 1}), "", false},
		"no end of block":              {with(lengths(286, map[int]int{'a': 1, 257: 1}), []int{1}), "", false},
		"287 literal codes":            {with(lengths(287, usual), []int{1}), "", false},
		"31 distance codes":            {with(usualLits, lengths(31, map[int]int{0: 1})), "", false},
		"incomplete code lengths":      {new(stream).codeLengths(map[int]int{0: 2, 1: 2}).bits(0, 600), "", false},
		"oversubscribed code lengths":  {new(stream).codeLengths(map[int]int{0: 1, 1: 1, 2: 1}).bits(0, 600), "", false},
		"repeats no length":            {new(stream).codeLengths(map[int]int{0: 1, 16: 1}).code(1, 1).bits(0, 600), "", false},
		"repeats past the last length": {new(stream).codeLengths(map[int]int{0: 1, 18: 1}).code(1, 1).bits(127, 7).code(1, 1).bits(127, 7).bits(0, 60), "", false},
		"fixed: distance 2 of 1":       {fixed().code(1, 7).code(1, 5).code(0, 7), "", false},
		"fixed: distance code 30":      {fixed().code(1, 7).code(30, 5).code(0, 7), "", false},
		"fixed: symbol 286":            {fixed().code(0xc6, 8).code(0, 5).code(0, 7), "", false},
		"fixed: symbol 287":            {fixed().code(0xc7, 8).code(0, 5).code(0, 7), "", false},
	}
}
