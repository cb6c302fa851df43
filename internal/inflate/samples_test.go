package inflate

import (
	"bytes"
	"compress/flate"
	"io"
	"math/rand/v2"
	"strings"

	klauspost "github.com/klauspost/compress/flate"

	"tecken-upload/internal/testarchive"
)

// symText returns the beginning of a symbol file.
func symText(n int) []byte {
	var b bytes.Buffer
	if err := testarchive.Sym(&b, 1, int64(max(n, 4096)), "libxul.so", "0123456789ABCDEF0123456789ABCDEF0"); err != nil {
		panic(err)
	}
	return b.Bytes()[:n]
}

func random(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{}).Read(b)
	return b
}

// levels are those of both writers: the one from 0 on has their names -2 to 9, the other those below 100.
const levels = 24

// deflated returns a stream of parts, with a flush between them, at one of the levels.
func deflated(level int, parts ...[]byte) []byte {
	var b bytes.Buffer
	var w interface {
		io.WriteCloser
		Flush() error
	}
	var err error
	if level < levels/2 {
		w, err = flate.NewWriter(&b, level-2)
	} else {
		w, err = klauspost.NewWriter(&b, level-levels/2-2)
	}
	for i, p := range parts {
		if err == nil && i > 0 {
			err = w.Flush()
		}
		if err == nil {
			_, err = w.Write(p)
		}
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		panic(err)
	}
	return b.Bytes()
}

// samples are streams of all kinds.
func samples() [][]byte {
	text, noise := symText(100_000), random(70_000)
	var all [][]byte
	for level := range levels {
		all = append(all, deflated(level, text[:20_000], noise[:100], nil, text[:3_000]))
	}
	all = append(all,
		deflated(0, text), deflated(2, noise), deflated(2, noise[:65_535]),
		deflated(8, text, noise, text), deflated(11, text, text),
		deflated(8, bytes.Repeat(noise[:32_768], 8)), // distances of 32768, over the ends of the window
		deflated(8, bytes.Repeat(noise[:32_767], 8)),
		deflated(8, []byte(strings.Repeat("a", 300_000))), // distance 1, length 258
		deflated(8, []byte(strings.Repeat("abc", 100_000))),
		longCodes(), farBack(32_768, 32_768), farBack(32_767, 32_768), farBack(200_000, 32_768), farBack(5, 6), farBack(6, 6),
	)
	for n := range 9 {
		all = append(all, deflated(8, bytes.Repeat(noise[:n+1], 40_000/(n+1))))
	}
	return all
}

// small are short streams of all kinds.
func small() [][]byte {
	var all [][]byte
	for _, level := range []int{0, 2, 3, 8, 11, 14, 23} {
		all = append(all, deflated(level, symText(140), random(10), symText(300)[140:]))
	}
	return append(all, longCodes(), deflated(8, []byte("abc"), nil, []byte("abcabcabcabcabcabc")))
}

// longCodes is a block with codes of all lengths from 1 to 15, with second levels in both tables.
func longCodes() []byte {
	literals, distances := make([]int, literalSymbols), make([]int, distanceSymbols)
	order := []int{'a', 'b', 257, 258, 265, 269, 'c', 273, 277, 'd', 281, 284, 285, 'e', 'f', endOfBlock}
	for i, symbol := range order {
		literals[symbol] = min(i+1, maxBits)
	}
	for i := range maxBits + 1 {
		distances[i] = min(i+1, maxBits)
	}
	s := new(stream).dynamic(1, literals, distances)
	codes := make(map[int][2]int)
	for i, symbol := range order { // 0, 10, 110 and so on; the longest are two
		n := min(i+1, maxBits)
		codes[symbol] = [2]int{1<<n - 2, n}
	}
	codes['f'], codes[endOfBlock] = [2]int{1<<maxBits - 2, maxBits}, [2]int{1<<maxBits - 1, maxBits}
	put := func(symbol int) { s.code(codes[symbol][0], codes[symbol][1]) }
	for range 20 {
		for _, symbol := range []int{'a', 'b', 'c', 'd', 'e', 'f'} {
			put(symbol)
		}
	}
	extra := map[int]int{265: 1, 269: 2, 273: 3, 277: 4, 281: 5, 284: 5}
	for i, symbol := range []int{257, 258, 265, 269, 273, 277, 281, 284, 285} {
		put(symbol)
		s.bits(1, extra[symbol])
		distance := 7 + i // the longest codes: in symbols 8 and up
		code := 1<<min(distance+1, maxBits) - 2
		if distance == maxBits {
			code++
		}
		s.code(code, min(distance+1, maxBits)).bits(0, max(distance/2-1, 0))
	}
	put(endOfBlock)
	return s.bytes
}

// farBack is n bytes, stored, and a match of length 3 at a distance, in a block with fixed codes.
func farBack(n, distance int) []byte {
	s := new(stream)
	for left := random(n); len(left) > 0; {
		part := left[:min(len(left), 65_535)]
		left = left[len(part):]
		s.bits(0, 3).bits(0, s.free).bits(len(part), 16).bits(len(part)^0xffff, 16)
		s.bytes = append(s.bytes, part...)
	}
	symbol, extra, least := 0, 0, 1
	for symbol < 29 && distance >= least+1<<extra {
		least += 1 << extra
		symbol++
		extra = max(symbol/2-1, 0)
	}
	return s.bits(1, 1).bits(1, 2).code(1, 7).code(symbol, 5).bits(distance-least, extra).code(0, 7).bytes
}
