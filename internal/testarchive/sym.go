package testarchive

import (
	"fmt"
	"io"
	"math/bits"
	"math/rand/v2"
	"strings"
)

// Generator is in the INFO GENERATOR line of every .sym file.
const Generator = "mozilla/dump_syms 2.3.6"

// Parts of a .sym file, in thousandths of its size: the ends of its functions and of its PUBLIC records; STACK records are the rest. This
// mixture gives a ratio of 4.5 : 1: line records deflate worse than names, STACK records better.
const (
	funcsEnd  = 840
	publicEnd = 850
)

// originsEnd is where the INLINE_ORIGIN records end, in thousandths. The longer the file numbers, the better line records deflate; fewer
// INLINE_ORIGIN records, which deflate best of all, keep the ratio.
func originsEnd(size int64) int64 {
	return 334 - 13*int64(min(bits.Len64(uint64(size/bytesPerFile>>3)), 10))
}

// Bounds of a file's parts.
const (
	bytesPerFile  = 16 << 10 // of text for each FILE record
	maxFiles      = 4096
	baseAddress   = 0x1000000 // addresses have as many digits in a small file as in a large one
	publicAddress = 1 << 32
	maxRecord     = 512 // bytes; no record is longer, not even the last
	flushAt       = 64 << 10
)

// Sym writes a Breakpad symbol file of exactly size bytes. Its MODULE line names debugFile and debugID; a debugFile ending in .pdb means
// 32-bit Windows, any other 64-bit Linux. It fails with w, or if size is too small for the header: about 200 bytes and the two names.
func Sym(w io.Writer, seed uint64, size int64, debugFile, debugID string) error {
	s := &symWriter{
		w: w, size: size, public: publicAddress, buf: make([]byte, 0, flushAt+2*maxRecord),
		random: rand.NewPCG(seed, 1), layout: seed,
		windows: strings.HasSuffix(debugFile, ".pdb"),
	}
	s.header(debugFile, debugID)
	if s.left() < maxRecord/8 {
		return fmt.Errorf("%d bytes are too few for the header of a symbol file", size)
	}
	s.files()
	s.origins(size * originsEnd(size) / 1000)
	s.functions(size * funcsEnd / 1000)
	s.publics(size * publicEnd / 1000)
	s.stacks()
	s.publics(size)
	s.fill()
	s.flush()
	return s.err
}

// codeID returns the code id in the .sym file of this seed and debug file.
func codeID(seed uint64, debugFile string) string {
	random := rand.NewPCG(seed, 2)
	if strings.HasSuffix(debugFile, ".pdb") {
		return fmt.Sprintf("%08X%05X", uint32(random.Uint64()), random.Uint64()&0xfffff|0x80000)
	}
	return fmt.Sprintf("%016X%016X%08X", random.Uint64(), random.Uint64(), uint32(random.Uint64()))
}

// symWriter writes one file. Its methods append whole records to buf.
type symWriter struct {
	w       io.Writer
	err     error // the first of w
	size    int64 // bytes the file is to have
	written int64 // bytes given to w
	buf     []byte

	random  *rand.PCG
	layout  uint64 // seed of the functions' addresses
	windows bool

	nfiles   uint64
	norigins uint64
	nfuncs   uint64
	public   uint64    // address of the next PUBLIC record
	class    [3]string // namespace, stem and suffix of the functions being written
}

// left returns the number of bytes still to be made.
func (s *symWriter) left() int64 { return s.size - s.at() }

// at returns the number of bytes made.
func (s *symWriter) at() int64 { return s.written + int64(len(s.buf)) }

// before reports whether another record may begin: no more than end bytes have been made, w did not fail, and there is room for the record
// and the last one.
func (s *symWriter) before(end int64) bool {
	if len(s.buf) >= flushAt {
		s.flush()
	}
	return s.err == nil && s.at() < end && s.left() >= 2*maxRecord
}

func (s *symWriter) flush() {
	if s.err == nil {
		_, s.err = s.w.Write(s.buf)
	}
	s.written += int64(len(s.buf))
	s.buf = s.buf[:0]
}

func (s *symWriter) header(debugFile, debugID string) {
	system, code := "Linux x86_64", codeID(s.layout, debugFile)
	if s.windows {
		system, code = "windows x86", code+" "+strings.TrimSuffix(debugFile, ".pdb")+".dll"
	}
	s.buf = fmt.Appendf(s.buf, "MODULE %s %s %s\nINFO CODE_ID %s\nINFO GENERATOR %s\n", system, debugID, debugFile, code, Generator)
}

func (s *symWriter) files() {
	s.nfiles = uint64(min(s.size/bytesPerFile+1, maxFiles))
	revision := fmt.Sprintf("%016x%016x%08x", s.random.Uint64(), s.random.Uint64(), uint32(s.random.Uint64()))
	var i uint64
	for ; i < s.nfiles && s.before(s.size); i++ {
		x := s.random.Uint64()
		s.buf = append(s.buf, "FILE "...)
		s.buf = appendDecimal(s.buf, i)
		s.buf = append(s.buf, " hg:hg.mozilla.org/mozilla-central:"...)
		s.buf = append(s.buf, directories[skewed(x, 5)]...)
		s.buf = append(s.buf, '/')
		s.buf = append(s.buf, stems[skewed(x>>10, 6)]...)
		s.buf = append(s.buf, suffixes[skewed(x>>22, 4)]...)
		s.buf = append(s.buf, ".cpp:"...)
		s.buf = append(s.buf, revision...)
		s.buf = append(s.buf, '\n')
	}
	s.nfiles = max(i, 1)
}

// origins writes the names of inlined functions: methods of templates, many for each.
func (s *symWriter) origins(end int64) {
	var of string
	for ; s.before(end); s.norigins++ {
		x := s.random.Uint64()
		if x&15 == 0 || of == "" {
			s.choose(x >> 4)
			of = s.class[0] + s.class[1] + s.class[2]
			s.choose(s.random.Uint64())
		}
		s.buf = append(s.buf, "INLINE_ORIGIN "...)
		s.buf = appendDecimal(s.buf, s.norigins)
		s.buf = append(s.buf, ' ')
		s.buf = append(s.buf, s.class[0]...)
		s.buf = append(s.buf, s.class[1]...)
		s.buf = append(s.buf, s.class[2]...)
		s.buf = append(s.buf, '<')
		s.buf = append(s.buf, of...)
		s.buf = append(s.buf, ", (unsigned int)2, mozilla::MallocAllocPolicy>::"...)
		s.method(x >> 32)
	}
	s.norigins = max(s.norigins, 1)
}

// functions writes FUNC records, each followed by its line records.
func (s *symWriter) functions(end int64) {
	places := newPlaces(s.layout)
	var file, line uint64 = 0, 100
	for ; s.before(end); s.nfuncs++ {
		address, size := places.next()
		x := s.random.Uint64()
		if x&15 == 0 || s.class[1] == "" { // another class, and another file
			file = (x >> 4) % s.nfiles
			line = 20 + x>>40&0x3ff
			s.choose(x >> 8)
		}
		s.buf = append(s.buf, "FUNC "...)
		s.buf = appendHex(s.buf, address)
		s.buf = append(s.buf, ' ')
		s.buf = appendHex(s.buf, size)
		s.buf = append(s.buf, " 0 "...)
		s.name(s.random.Uint64())
		s.inlines(address, size, file, line, end)
		line = s.lines(address, size, file, line+x>>56&15, end)
	}
}

// inlines writes the INLINE records of one function: a call in each of its first stretches of 32 bytes,
// every other one with a second call inside.
func (s *symWriter) inlines(address, size, file, line uint64, end int64) {
	for at := address; at+32 <= address+min(size, 128) && s.before(end); at += 32 {
		x := s.random.Uint64()
		line += x & 15
		s.inline("INLINE 0 ", line, file, (at>>6)%s.norigins, at+x>>8&7, 24)
		if x>>16&1 == 0 {
			s.inline("INLINE 1 ", 200+x>>20&63, (file+1)%s.nfiles, (at>>6+x>>32&15)%s.norigins, at+8, 12)
		}
	}
}

func (s *symWriter) inline(start string, line, file, origin, address, size uint64) {
	s.buf = append(s.buf, start...)
	s.buf = appendDecimal(s.buf, line)
	s.buf = append(s.buf, ' ')
	s.buf = appendDecimal(s.buf, file)
	s.buf = append(s.buf, ' ')
	s.buf = appendDecimal(s.buf, origin)
	s.buf = append(s.buf, ' ')
	s.buf = appendHex(s.buf, address)
	s.buf = append(s.buf, ' ')
	s.buf = appendHex(s.buf, size)
	s.buf = append(s.buf, '\n')
}

// lines writes the line records of one function and returns the last line's number.
func (s *symWriter) lines(address, size, file, line uint64, end int64) uint64 {
	for done := uint64(0); done < size && s.before(end); {
		x := s.random.Uint64()
		n := min(lineBytes[skewed(x, 4)], size-done)
		at := file
		if x>>8&15 == 0 { // inlined from elsewhere
			at = (file + 1 + x>>32&3) % s.nfiles
		}
		line = uint64(max(int64(line)+lineSteps[skewed(x>>12, 4)], 1))
		s.buf = appendHex(s.buf, address+done)
		s.buf = append(s.buf, ' ')
		s.buf = appendHex(s.buf, n)
		s.buf = append(s.buf, ' ')
		s.buf = appendDecimal(s.buf, line)
		s.buf = append(s.buf, ' ')
		s.buf = appendDecimal(s.buf, at)
		s.buf = append(s.buf, '\n')
		done += n
	}
	return line
}

// choose makes up another class.
func (s *symWriter) choose(x uint64) {
	s.class = [3]string{namespaces[skewed(x, 4)], stems[skewed(x>>8, 6)], suffixes[skewed(x>>20, 4)]}
}

// name ends a record with the name of a method of the class being written.
func (s *symWriter) name(x uint64) {
	s.buf = append(s.buf, s.class[0]...)
	s.buf = append(s.buf, s.class[1]...)
	s.buf = append(s.buf, s.class[2]...)
	s.buf = append(s.buf, "::"...)
	s.method(x)
}

func (s *symWriter) method(x uint64) {
	s.buf = append(s.buf, verbs[skewed(x, 5)]...)
	s.buf = append(s.buf, stems[skewed(x>>10, 6)]...)
	s.buf = append(s.buf, arguments[skewed(x>>22, 5)]...)
	s.buf = append(s.buf, '\n')
}

// publics writes PUBLIC records of symbols after all functions.
func (s *symWriter) publics(end int64) {
	for ; s.before(end); s.public += 16 {
		s.buf = append(s.buf, "PUBLIC "...)
		s.buf = appendHex(s.buf, s.public)
		s.buf = append(s.buf, " 0 "...)
		s.name(s.random.Uint64())
	}
}

// stacks writes how to unwind from the functions, in order, as far as there is room.
func (s *symWriter) stacks() {
	places := newPlaces(s.layout)
	for range s.nfuncs {
		if !s.before(s.size) {
			break
		}
		address, size := places.next()
		if s.windows {
			s.stackWin(address, size)
		} else {
			s.stackCFI(address, size)
		}
	}
}

// stackCFI writes at most 9 records, together shorter than maxRecord.
func (s *symWriter) stackCFI(address, size uint64) {
	s.buf = append(s.buf, "STACK CFI INIT "...)
	s.buf = appendHex(s.buf, address)
	s.buf = append(s.buf, ' ')
	s.buf = appendHex(s.buf, size)
	s.buf = append(s.buf, " .cfa: $rsp 8 + .ra: .cfa -8 + ^\n"...)
	depth := skewed(s.random.Uint64(), 3)
	for _, row := range cfiRows[:depth] {
		if row.offset >= size {
			return
		}
		s.buf = append(s.buf, "STACK CFI "...)
		s.buf = appendHex(s.buf, address+row.offset)
		s.buf = append(s.buf, row.rule...)
	}
}

// stackWin writes one record of type 4, frame data with a program string.
func (s *symWriter) stackWin(address, size uint64) {
	x := s.random.Uint64()
	s.buf = append(s.buf, "STACK WIN 4 "...)
	for _, field := range [...]uint64{address, size, x & 7, 0, x >> 3 & 3 * 4, 0, x >> 5 & 15 * 4, 0} {
		s.buf = appendHex(s.buf, field)
		s.buf = append(s.buf, ' ')
	}
	s.buf = append(s.buf, "1 $T0 $ebp = $eip $T0 4 + ^ = $ebp $T0 ^ = $esp $T0 8 + =\n"...)
}

// fill writes a last record up to the file's size.
func (s *symWriter) fill() {
	const padding = "last_symbol_"
	for s.left() > maxRecord {
		s.pad("PUBLIC fffffffffff0 0 ", maxRecord/2, padding)
	}
	s.pad("PUBLIC fffffffffff8 0 ", int(s.left()), padding)
}

// pad writes a record of n bytes.
func (s *symWriter) pad(start string, n int, padding string) {
	end := len(s.buf) + n - 1
	s.buf = append(s.buf, start...)
	for len(s.buf) < end {
		s.buf = append(s.buf, padding[:min(len(padding), end-len(s.buf))]...)
	}
	s.buf = append(s.buf, '\n')
}

// places makes up the functions' addresses: the same for the same seed.
type places struct {
	random *rand.PCG
	end    uint64
}

func newPlaces(seed uint64) *places { return &places{rand.NewPCG(seed, 3), baseAddress} }

// next returns the next function's address and its size in bytes, from 1 to 4 KiB.
func (p *places) next() (address, size uint64) {
	x := p.random.Uint64()
	address = (p.end + 15) &^ 15
	size = 1 + x&0xf + x>>8&0xff*(x>>16&0xff)>>7
	p.end = address + size
	return address, size
}

// skewed makes a number below 1<<bits of the low 2*bits of x, smaller ones being likelier.
func skewed(x uint64, bits uint) uint64 {
	mask := uint64(1)<<bits - 1
	return (x & mask) * (x >> bits & mask) >> bits
}

func appendHex(b []byte, n uint64) []byte {
	const digits = "0123456789abcdef"
	shift := 0
	for n>>shift > 15 {
		shift += 4
	}
	for ; shift >= 0; shift -= 4 {
		b = append(b, digits[n>>shift&15])
	}
	return b
}

func appendDecimal(b []byte, n uint64) []byte {
	var digits [20]byte
	i := len(digits)
	for {
		i--
		digits[i] = '0' + byte(n%10)
		n /= 10
		if n == 0 {
			return append(b, digits[i:]...)
		}
	}
}
