package download

import (
	"bytes"
	"context"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"testing"
	"time"

	"tecken-upload/internal/upload"
)

func TestAnswersAreBoundedInNumber(t *testing.T) {
	const most = 100
	c := newCache[int](most, func(bool, time.Duration, error) {})
	loads := 0
	get := func(key string) {
		t.Helper()
		if _, err := c.get(t.Context(), key, false, func(context.Context) (int, error) { loads++; return 0, nil }); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 10 * most {
		get(fmt.Sprint(i))
		get("asked for all the time")
		if n := c.len(); n > most {
			t.Fatalf("%d answers", n)
		}
	}
	if loads != 10*most+1 {
		t.Errorf("%d lookups: what is asked for all the time was forgotten", loads)
	}
	c.clear()
	if n := c.len(); n != 0 {
		t.Errorf("%d answers are left", n)
	}
}

// ELFHeadOf is elfHeadOf.
var ELFHeadOf = elfHeadOf

// elfHeadOf makes the head of an ELF file: its header, a program header of code, and a build id note.
func elfHeadOf(order binary.AppendByteOrder, class elf.Class, inFile uint64, id []byte) []byte {
	head := append([]byte(elf.ELFMAG), byte(class), byte(elf.ELFDATA2LSB), 1)
	if order == binary.AppendByteOrder(binary.BigEndian) {
		head[elf.EI_DATA] = byte(elf.ELFDATA2MSB)
	}
	head = append(head, make([]byte, 9)...)
	var b bytes.Buffer
	write := func(v any) { _ = binary.Write(&b, order.(binary.ByteOrder), v) } // to memory
	if class == elf.ELFCLASS64 {
		write(elf.Header64{Type: uint16(elf.ET_DYN), Phoff: 64, Phentsize: 56, Phnum: 1})
		write(elf.Prog64{Type: uint32(elf.PT_LOAD), Flags: uint32(elf.PF_R | elf.PF_X), Filesz: inFile, Memsz: 4096})
	} else {
		write(elf.Header32{Type: uint16(elf.ET_DYN), Phoff: 52, Phentsize: 32, Phnum: 1})
		write(elf.Prog32{Type: uint32(elf.PT_LOAD), Flags: uint32(elf.PF_R | elf.PF_X), Filesz: uint32(inFile), Memsz: 4096})
	}
	copy(b.Bytes(), head)
	for _, n := range []uint32{4, uint32(len(id)), 3} {
		write(n)
	}
	b.WriteString("GNU\x00")
	b.Write(id)
	return b.Bytes()
}

func TestELF(t *testing.T) {
	id := []byte("0123456789abcdefghij")
	for _, order := range []binary.AppendByteOrder{binary.LittleEndian, binary.BigEndian} {
		for _, class := range []elf.Class{elf.ELFCLASS32, elf.ELFCLASS64} {
			for inFile, code := range map[uint64]bool{4096: true, 0: false, 580: false} {
				f, ok := parseELF(elfHeadOf(order, class, inFile, id))
				if !ok || !f.hasBuildID(id) || f.hasBuildID(id[:16]) || f.hasBuildID([]byte("0123456789abcdefghi_")) || f.hasCode() != code {
					t.Errorf("%v %v, %d bytes of code: ELF %t, id %t, code %t", order, class, inFile, ok, f.hasBuildID(id), f.hasCode())
				}
			}
		}
	}
	for _, head := range []string{"", "\x7fELF", "MZ" + string(make([]byte, 100))} {
		if _, ok := parseELF([]byte(head)); ok {
			t.Errorf("%q is taken for ELF", head)
		}
	}
}

// withSections makes an ELF file with two sections behind it: one of that kind and name, and that of the names.
func withSections(order binary.AppendByteOrder, class elf.Class, kind elf.SectionType, name string) []byte {
	file := elfHeadOf(order, class, 4096, []byte("0123456789"))
	text := "\x00" + name + "\x00"
	at := len(file) + len(text)
	file = append(file, text...)
	var b bytes.Buffer
	write := func(v any) { _ = binary.Write(&b, order.(binary.ByteOrder), v) } // to memory
	if class == elf.ELFCLASS64 {
		write(elf.Section64{Name: 1, Type: uint32(kind), Off: 0, Size: 8})
		write(elf.Section64{Type: uint32(elf.SHT_STRTAB), Off: uint64(at - len(text)), Size: uint64(len(text))})
		order.(binary.ByteOrder).PutUint64(file[40:], uint64(at))
		for i, n := range []uint16{64, 2, 1} {
			order.(binary.ByteOrder).PutUint16(file[58+2*i:], n)
		}
	} else {
		write(elf.Section32{Name: 1, Type: uint32(kind), Off: 0, Size: 8})
		write(elf.Section32{Type: uint32(elf.SHT_STRTAB), Off: uint32(at - len(text)), Size: uint32(len(text))})
		order.(binary.ByteOrder).PutUint32(file[32:], uint32(at))
		for i, n := range []uint16{40, 2, 1} {
			order.(binary.ByteOrder).PutUint16(file[46+2*i:], n)
		}
	}
	return append(file, b.Bytes()...)
}

func TestSections(t *testing.T) {
	has := func(file []byte) bool {
		t.Helper()
		f, ok := parseELF(file)
		if !ok {
			t.Fatal("no ELF")
		}
		found, err := f.hasSymbols(bytes.NewReader(file))
		if err != nil {
			t.Error(err)
		}
		return found
	}
	for _, order := range []binary.AppendByteOrder{binary.LittleEndian, binary.BigEndian} {
		for _, class := range []elf.Class{elf.ELFCLASS32, elf.ELFCLASS64} {
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
				file := withSections(order, class, c.kind, c.name)
				if got := has(file); got != c.want {
					t.Errorf("%v %v, %v %s: %t", order, class, c.kind, c.name, got)
				}
				for n := 64; n < len(file); n++ { // cut anywhere, the headers are gone
					if has(file[:n]) {
						t.Errorf("%v %v: cut to %d bytes", order, class, n)
					}
				}
			}
		}
	}
	for _, cause := range []error{io.EOF, io.ErrUnexpectedEOF} {
		broken := fmt.Errorf("read: %w: %w", upload.ErrUnavailable, cause)
		f, _ := parseELF(withSections(binary.LittleEndian, elf.ELFCLASS64, elf.SHT_SYMTAB, ".symtab"))
		if _, err := f.hasSymbols(unreadable{broken}); !errors.Is(err, upload.ErrUnavailable) {
			t.Errorf("of what can't be read: %v", err)
		}
	}
	endless := withSections(binary.LittleEndian, elf.ELFCLASS64, elf.SHT_PROGBITS, ".debug_info")
	for i := range 24 {
		copy(endless[40+i:], "\xff\xff\xff\xff")
		has(endless)
	}
}

// unreadable is a file that can't be read.
type unreadable struct{ err error }

func (u unreadable) Read([]byte) (int, error)                { return 0, u.err }
func (u unreadable) Seek(offset int64, _ int) (int64, error) { return offset, nil }

// FuzzELF: whatever a file holds, looking at it is safe.
func FuzzELF(f *testing.F) {
	for _, order := range []binary.AppendByteOrder{binary.LittleEndian, binary.BigEndian} {
		f.Add(elfHeadOf(order, elf.ELFCLASS64, 4096, []byte("0123456789")))
		f.Add(elfHeadOf(order, elf.ELFCLASS32, 0, []byte("0123456789")))
	}
	for _, symbols := range []elf.SectionType{elf.SHT_SYMTAB, elf.SHT_PROGBITS} {
		f.Add(withSections(binary.LittleEndian, elf.ELFCLASS64, symbols, ".debug_info"))
		f.Add(withSections(binary.BigEndian, elf.ELFCLASS32, symbols, ".debug_info"))
	}
	f.Fuzz(func(t *testing.T, head []byte) {
		if e, ok := parseELF(head); ok {
			if _, err := e.hasSymbols(bytes.NewReader(head)); err != nil {
				t.Error(err)
			}
			e.hasCode()
			e.hasBuildID([]byte("0123456789"))
		}
	})
}
