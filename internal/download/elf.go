package download

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
)

// elfHead is how much of an ELF file is looked at, in bytes: linkers put the build id behind the program headers,
// within the first KiB.
const elfHead = 64 << 10

// An elfFile is what the head of an ELF file tells.
type elfFile struct {
	head  []byte
	order binary.ByteOrder
	wide  bool // 64 bits
}

// parseELF reads the head of a file; ok is false where that is not ELF's.
func parseELF(head []byte) (f elfFile, ok bool) {
	if len(head) < 64 || !bytes.HasPrefix(head, []byte(elf.ELFMAG)) {
		return f, false
	}
	f = elfFile{head: head, order: binary.LittleEndian, wide: head[elf.EI_CLASS] == byte(elf.ELFCLASS64)}
	if head[elf.EI_DATA] == byte(elf.ELFDATA2MSB) {
		f.order = binary.BigEndian
	}
	return f, true
}

// hasBuildID reports whether the head holds a GNU build id note of exactly that id: sizes of name and description,
// type, name, description. It finds it wherever it is, in a segment or, where a file has none, in a section.
// https://refspecs.linuxfoundation.org/LSB_5.0.0/LSB-Core-generic/LSB-Core-generic/noteabitag.html
func (f elfFile) hasBuildID(id []byte) bool {
	const ntGNUBuildID = 3
	note := make([]byte, 12, 16+len(id))
	f.order.PutUint32(note[0:], 4)
	f.order.PutUint32(note[4:], uint32(len(id)))
	f.order.PutUint32(note[8:], ntGNUBuildID)
	note = append(append(note, "GNU\x00"...), id...)
	for at := 0; ; at++ {
		i := bytes.Index(f.head[at:], note)
		if i < 0 {
			return false
		}
		if at += i; at%4 == 0 {
			return true
		}
	}
}

// hasCode reports whether the file holds the code of its executable segments. Of a file with debug information
// alone these are empty, or shorter than in memory.
func (f elfFile) hasCode() bool {
	var table uint64
	var size, count int
	if f.wide {
		table = f.order.Uint64(f.head[32:])
		size, count = int(f.order.Uint16(f.head[54:])), int(f.order.Uint16(f.head[56:]))
	} else {
		table = uint64(f.order.Uint32(f.head[28:]))
		size, count = int(f.order.Uint16(f.head[42:])), int(f.order.Uint16(f.head[44:]))
	}
	if table > uint64(len(f.head)) || size < 32 || f.wide && size < 56 {
		return false
	}
	headers := f.head[table:]
	for i := 0; i < count && len(headers) >= size; i++ {
		if f.isCode(headers[:size]) {
			return true
		}
		headers = headers[size:]
	}
	return false
}

// isCode reports whether a program header is that of an executable segment that is in the file.
func (f elfFile) isCode(header []byte) bool {
	var flags uint32
	var inFile, inMemory uint64
	if f.wide {
		flags = f.order.Uint32(header[4:])
		inFile, inMemory = f.order.Uint64(header[32:]), f.order.Uint64(header[40:])
	} else {
		flags = f.order.Uint32(header[24:])
		inFile, inMemory = uint64(f.order.Uint32(header[16:])), uint64(f.order.Uint32(header[20:]))
	}
	isLoaded := elf.ProgType(f.order.Uint32(header)) == elf.PT_LOAD
	return isLoaded && elf.ProgFlag(flags)&elf.PF_X != 0 && inFile > 0 && inFile >= inMemory
}
