package lookup

import (
	"bytes"
	"compress/gzip"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"testing"

	"tecken-upload/internal/upload"
)

// order is one of the two that there are.
type order interface {
	binary.ByteOrder
	binary.AppendByteOrder
}

// eachELF runs a test for each kind of ELF file.
func eachELF(t *testing.T, test func(t *testing.T, order order, class elf.Class)) {
	for _, order := range []order{binary.LittleEndian, binary.BigEndian} {
		for _, class := range []elf.Class{elf.ELFCLASS32, elf.ELFCLASS64} {
			t.Run(fmt.Sprint(order, class), func(t *testing.T) { test(t, order, class) })
		}
	}
}

// codeAddress is where the program's segment is loaded.
const codeAddress = 0x10000

// elfOf makes an ELF file: its header, a program header of code that says how much of 4096 bytes is in the file, a build id note,
// so much of that code, and sections with their names. Those of sections count from their headers, the first being none.
func elfOf(order order, class elf.Class, inFile uint64, id []byte, sections ...elf.SectionHeader) []byte {
	var b bytes.Buffer
	write := func(v any) { _ = binary.Write(&b, order, v) } // to memory
	wide := class == elf.ELFCLASS64
	names := []byte{0}
	sections = append([]elf.SectionHeader{{}}, sections...)
	sections = append(sections, elf.SectionHeader{Name: ".shstrtab", Type: elf.SHT_STRTAB})
	nameAt := make([]uint32, len(sections))
	for i, s := range sections {
		nameAt[i] = uint32(len(names))
		names = append(append(names, s.Name...), 0)
	}
	size := max(int(inFile), 256)
	last := &sections[len(sections)-1]
	last.Offset, last.Size = uint64(size), uint64(len(names))
	table, count := uint64(size+len(names)), uint16(len(sections))
	if count == 2 {
		table, count = 0, 0
	}
	if wide {
		write(elf.Header64{Type: uint16(elf.ET_DYN), Phoff: 64, Phentsize: 56, Phnum: 1, Shoff: table, Shentsize: 64, Shnum: count, Shstrndx: count - 1})
		write(elf.Prog64{Type: uint32(elf.PT_LOAD), Flags: uint32(elf.PF_R | elf.PF_X), Vaddr: codeAddress, Filesz: inFile, Memsz: 4096})
	} else {
		write(elf.Header32{Type: uint16(elf.ET_DYN), Phoff: 52, Phentsize: 32, Phnum: 1, Shoff: uint32(table), Shentsize: 40, Shnum: count, Shstrndx: count - 1})
		write(elf.Prog32{Type: uint32(elf.PT_LOAD), Flags: uint32(elf.PF_R | elf.PF_X), Vaddr: codeAddress, Filesz: uint32(inFile), Memsz: 4096})
	}
	for _, n := range []uint32{4, uint32(len(id)), 3} {
		write(n)
	}
	b.WriteString("GNU\x00")
	b.Write(id)
	b.Write(make([]byte, size-b.Len()))
	b.Write(names)
	for i, s := range sections {
		if count == 0 {
			break
		}
		if wide {
			write(elf.Section64{Name: nameAt[i], Type: uint32(s.Type), Flags: uint64(s.Flags), Addr: s.Addr, Off: s.Offset, Size: s.Size})
		} else {
			write(elf.Section32{Name: nameAt[i], Type: uint32(s.Type), Flags: uint32(s.Flags), Addr: uint32(s.Addr), Off: uint32(s.Offset), Size: uint32(s.Size)})
		}
	}
	file := b.Bytes()
	data := elf.ELFDATA2LSB
	if order.String() == binary.BigEndian.String() {
		data = elf.ELFDATA2MSB
	}
	copy(file, append([]byte(elf.ELFMAG), byte(class), byte(data), 1))
	return file
}

// Program makes a program of 64 bits with a build id.
func Program(id []byte) []byte { return elfOf(binary.LittleEndian, elf.ELFCLASS64, 4096, id) }

// parse parses a file that is ELF's.
func parse(t testing.TB, file []byte) elfFile {
	t.Helper()
	f, ok := parseELF(file, bytes.NewReader(file))
	if !ok {
		t.Fatal("no ELF")
	}
	return f
}

func TestBuildIDs(t *testing.T) {
	eachELF(t, func(t *testing.T, order order, class elf.Class) {
		for _, id := range []string{"0123", "01234567", "0123456789abcdefghij", string(bytes.Repeat([]byte("x"), 64))} {
			f := parse(t, elfOf(order, class, 4096, []byte(id)))
			if !f.hasBuildID([]byte(id)) || f.hasBuildID([]byte(id[:len(id)-1])) || f.hasBuildID([]byte(id[1:]+"_")) {
				t.Errorf("%q", id)
			}
		}
	})
	for _, head := range []string{"", "\x7fELF", "MZ" + string(make([]byte, 100))} {
		if _, ok := parseELF([]byte(head), nil); ok {
			t.Errorf("%q is taken for ELF", head)
		}
	}
}

// Section headers, as compilers and tools that strip leave them.
var (
	text      = elf.SectionHeader{Name: ".text", Type: elf.SHT_PROGBITS, Flags: elf.SHF_ALLOC | elf.SHF_EXECINSTR, Addr: codeAddress + 1024, Offset: 1024, Size: 512}
	rodata    = elf.SectionHeader{Name: ".rodata", Type: elf.SHT_PROGBITS, Flags: elf.SHF_ALLOC, Addr: codeAddress + 2048, Offset: 2048, Size: 512}
	bss       = elf.SectionHeader{Name: ".bss", Type: elf.SHT_NOBITS, Flags: elf.SHF_ALLOC | elf.SHF_WRITE, Addr: codeAddress + 8192, Offset: 4096, Size: 1 << 30}
	tbss      = elf.SectionHeader{Name: ".tbss", Type: elf.SHT_NOBITS, Flags: elf.SHF_ALLOC | elf.SHF_WRITE | elf.SHF_TLS, Addr: codeAddress + 1024, Offset: 1024, Size: 16}
	debugInfo = elf.SectionHeader{Name: ".debug_info", Type: elf.SHT_PROGBITS, Offset: 128, Size: 8}
	symtab    = elf.SectionHeader{Name: ".symtab", Type: elf.SHT_SYMTAB, Offset: 128, Size: 8}
	note      = elf.SectionHeader{Name: ".note.gnu.build-id", Type: elf.SHT_NOTE, Flags: elf.SHF_ALLOC, Addr: codeAddress + 120, Offset: 120, Size: 32}
)

// elsewhere is a section of which the bytes were left in the program.
func elsewhere(s elf.SectionHeader) elf.SectionHeader {
	s.Type = elf.SHT_NOBITS
	return s
}

// at is a section at another place in the file.
func at(s elf.SectionHeader, offset uint64) elf.SectionHeader {
	s.Offset = offset
	return s
}

func TestCode(t *testing.T) {
	eachELF(t, func(t *testing.T, order order, class elf.Class) {
		for name, c := range map[string]struct {
			inFile   uint64
			sections []elf.SectionHeader
			want     bool
		}{
			"no sections":                      {4096, nil, true},
			"a program":                        {4096, []elf.SectionHeader{note, text, rodata, tbss, bss}, true},
			"with debug information":           {4096, []elf.SectionHeader{note, text, rodata, bss, debugInfo, symtab}, true},
			"objcopy --only-keep-debug":        {0, []elf.SectionHeader{note, elsewhere(text), elsewhere(rodata), bss, debugInfo}, false},
			"the same, the note in its place":  {580, []elf.SectionHeader{note, elsewhere(text), elsewhere(rodata), bss, debugInfo}, false},
			"eu-strip -f":                      {4096, []elf.SectionHeader{note, elsewhere(text), elsewhere(rodata), bss, debugInfo}, false},
			"code elsewhere":                   {4096, []elf.SectionHeader{elsewhere(text), rodata, bss}, false},
			"code elsewhere, but for a little": {4096, []elf.SectionHeader{at(text, 512), elsewhere(text), rodata}, false},
			"constants elsewhere":              {4096, []elf.SectionHeader{text, elsewhere(rodata), bss}, false},
			"no code":                          {4096, []elf.SectionHeader{rodata, bss}, false},
			"code behind the end":              {4096, []elf.SectionHeader{at(text, 1<<20), rodata}, false},
			"constants behind the end":         {4096, []elf.SectionHeader{text, at(rodata, 1<<20)}, false},
			"empty sections":                   {4096, []elf.SectionHeader{text, {Type: elf.SHT_NOBITS, Flags: elf.SHF_ALLOC, Addr: codeAddress}}, true},
		} {
			file := elfOf(order, class, c.inFile, []byte("0123456789"), c.sections...)
			if got, err := parse(t, file).hasCode(); err != nil || got != c.want {
				t.Errorf("%s: %t, %v", name, got, err)
			}
			for _, n := range []int{300, 1000, 2000, len(file) - 1} {
				if got, err := parse(t, file[:min(n, len(file))]).hasCode(); err != nil || got && len(c.sections) > 0 {
					t.Errorf("%s, cut to %d bytes: %t, %v", name, n, got, err)
				}
			}
		}
	})
	many := elfOf(binary.LittleEndian, elf.ELFCLASS64, 4096, []byte("0123456789"), text)
	binary.LittleEndian.PutUint16(many[60:], 0) // the number is elsewhere, where it does not fit
	if got, err := parse(t, many).hasCode(); got || err != nil {
		t.Errorf("of more sections than are looked at: %t, %v", got, err)
	}
}

func TestSymbols(t *testing.T) {
	eachELF(t, func(t *testing.T, order order, class elf.Class) {
		for _, c := range []struct {
			kind elf.SectionType
			name string
			want bool
		}{
			{elf.SHT_SYMTAB, ".symtab", true},
			{elf.SHT_PROGBITS, ".debug_info", true},
			{elf.SHT_PROGBITS, ".zdebug_info", true},
			{elf.SHT_PROGBITS, ".debug_information", false},
			{elf.SHT_PROGBITS, ".text", false},
			{elf.SHT_NOBITS, ".debug_info", false},
			{elf.SHT_DYNSYM, ".dynsym", false},
		} {
			file := elfOf(order, class, 256, []byte("0123456789"), elf.SectionHeader{Name: c.name, Type: c.kind, Size: 8})
			if got, err := parse(t, file).hasSymbols(); err != nil || got != c.want {
				t.Errorf("%v %s: %t, %v", c.kind, c.name, got, err)
			}
			for n := 64; n < len(file); n++ { // cut anywhere, the headers are gone
				if got, err := parse(t, file[:n]).hasSymbols(); err != nil || got {
					t.Errorf("cut to %d bytes: %t, %v", n, got, err)
				}
			}
		}
	})
	endless := elfOf(binary.LittleEndian, elf.ELFCLASS64, 256, []byte("0123456789"), debugInfo)
	for i := range 24 {
		copy(endless[40+i:], "\xff\xff\xff\xff")
		if _, err := parse(t, endless).hasSymbols(); err != nil {
			t.Error(err)
		}
	}
}

// unreadable is a file that can't be read.
type unreadable struct{ err error }

func (u unreadable) Read([]byte) (int, error)                { return 0, u.err }
func (u unreadable) Seek(offset int64, _ int) (int64, error) { return max(offset, 1<<20), nil }

func TestWhatCanNotBeRead(t *testing.T) {
	file := elfOf(binary.LittleEndian, elf.ELFCLASS64, 4096, []byte("0123456789"), text, symtab)
	for _, cause := range []error{io.EOF, io.ErrUnexpectedEOF, errors.New("broken")} {
		broken := fmt.Errorf("read: %w: %w", upload.ErrUnavailable, cause)
		f, _ := parseELF(file, unreadable{broken})
		for what, look := range map[string]func() (bool, error){"code": f.hasCode, "symbols": f.hasSymbols} {
			if _, err := look(); !errors.Is(err, upload.ErrUnavailable) {
				t.Errorf("%s: %v", what, err)
			}
		}
		f, _ = parseELF(file, &inflated{stored: unreadable{broken}, most: maxInflated})
		if _, err := f.hasCode(); !errors.Is(err, upload.ErrUnavailable) || errors.Is(err, errOpaque) {
			t.Errorf("inflated: %v", err)
		}
	}
}

// gzipped compresses a file.
func gzipped(t testing.TB, file []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, err := w.Write(file)
	if err := errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// What is looked for in a gzip file is found as in the file itself, to a bound.
func TestInflated(t *testing.T) {
	file := elfOf(binary.BigEndian, elf.ELFCLASS32, 4096, []byte("0123456789"), text, debugInfo)
	zipped := gzipped(t, file)
	f, _ := parseELF(file, &inflated{stored: bytes.NewReader(zipped), most: int64(len(file))})
	for range 2 {
		for what, look := range map[string]func() (bool, error){"code": f.hasCode, "symbols": f.hasSymbols} {
			if got, err := look(); !got || err != nil {
				t.Errorf("%s: %t, %v", what, got, err)
			}
		}
	}
	for name, stored := range map[string][]byte{
		"broken":    append(bytes.Clone(zipped[:100]), zipped[101:]...),
		"cut":       zipped[:len(zipped)-9],
		"no gzip":   file,
		"too large": append(bytes.Clone(zipped), gzipped(t, []byte{0})...),
	} {
		f, _ := parseELF(file, &inflated{stored: bytes.NewReader(stored), most: int64(len(file))})
		if got, err := f.hasCode(); got || !errors.Is(err, errOpaque) {
			t.Errorf("%s: %t, %v", name, got, err)
		}
	}
}

// FuzzELF: whatever a file holds, looking at it is safe.
func FuzzELF(f *testing.F) {
	for _, order := range []order{binary.LittleEndian, binary.BigEndian} {
		f.Add(elfOf(order, elf.ELFCLASS64, 4096, []byte("0123456789"), text, bss, debugInfo))
		f.Add(elfOf(order, elf.ELFCLASS32, 0, []byte("0123456789"), symtab))
	}
	f.Fuzz(func(t *testing.T, file []byte) {
		if e, ok := parseELF(file, bytes.NewReader(file)); ok {
			_, err := e.hasSymbols()
			_, also := e.hasCode()
			if err := errors.Join(err, also); err != nil {
				t.Error(err)
			}
			e.hasBuildID([]byte("0123456789"))
		}
	})
}
