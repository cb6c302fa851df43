package lookup

import (
	"bytes"
	"debug/elf"
	"slices"
)

// Bounds for reading a file's sections, in bytes: the table of their headers and their names. Real ones take a few KiB.
const (
	maxSectionTable = 256 << 10
	maxSectionNames = 64 << 10
)

// A section is a section's header.
type section struct {
	name                  uint32 // offset of its name among the names
	kind                  elf.SectionType
	flags                 elf.SectionFlag
	address, offset, size uint64
}

// isCode reports whether it has code in the file.
func (s section) isCode() bool {
	return s.kind != elf.SHT_NOBITS && s.flags&elf.SHF_ALLOC != 0 && s.flags&elf.SHF_EXECINSTR != 0 && s.size > 0
}

// isElsewhere reports whether it is loaded with the program but its bytes are not in the file, which has that size. Writable sections may
// have no bytes anywhere: zeros, after a segment's bytes in the file or for each thread.
func (s section) isElsewhere(loaded []segment, size uint64) bool {
	switch {
	case s.flags&elf.SHF_ALLOC == 0 || s.size == 0:
		return false
	case s.kind != elf.SHT_NOBITS:
		return !within(s.offset, s.size, size)
	case s.flags&elf.SHF_WRITE != 0:
		return false
	}
	inSegment := func(g segment) bool { return s.address >= g.address && s.address-g.address < g.inFile }
	return s.flags&elf.SHF_EXECINSTR != 0 || slices.ContainsFunc(loaded, inSegment)
}

// hasSymbols implements image. The sections and their headers come after everything else. A nonsensical one has no symbols.
func (f elfFile) hasSymbols() (bool, error) {
	sections, ok, err := f.sections()
	if err != nil || !ok {
		return false, err
	}
	if slices.ContainsFunc(sections, func(s section) bool { return s.kind == elf.SHT_SYMTAB && s.size > 0 }) {
		return true, nil
	}
	names, err := f.sectionNames(sections)
	if err != nil {
		return false, err
	}
	return slices.ContainsFunc(sections, func(s section) bool {
		if s.kind != elf.SHT_PROGBITS || s.size == 0 || uint64(s.name) >= uint64(len(names)) {
			return false
		}
		name, _, _ := bytes.Cut(names[s.name:], []byte{0})
		return string(name) == ".debug_info" || string(name) == ".zdebug_info"
	}), nil
}

// sectionNames reads the names of sections; nil without any.
func (f elfFile) sectionNames(sections []section) ([]byte, error) {
	at := 50
	if f.wide {
		at = 62
	}
	index := int(f.order.Uint16(f.head[at:]))
	if index >= len(sections) || sections[index].size > maxSectionNames {
		return nil, nil
	}
	return readAt(f.content, sections[index].offset, int(sections[index].size))
}

// sections reads the headers of the sections, if any; ok is false if the file declares some without having them.
func (f elfFile) sections() (sections []section, ok bool, err error) {
	var table uint64
	var size, count, least int
	if f.wide {
		table, least = f.order.Uint64(f.head[40:]), 64
		size, count = int(f.order.Uint16(f.head[58:])), int(f.order.Uint16(f.head[60:]))
	} else {
		table, least = uint64(f.order.Uint32(f.head[32:])), 40
		size, count = int(f.order.Uint16(f.head[46:])), int(f.order.Uint16(f.head[48:]))
	}
	switch {
	case table == 0 || count == 0:
		return nil, table == 0, nil // a number that does not fit the header is above the bound
	case size < least || size*count > maxSectionTable:
		return nil, false, nil
	}
	headers, err := readAt(f.content, table, size*count)
	if err != nil || len(headers) == 0 {
		return nil, false, err
	}
	for ; len(headers) >= size; headers = headers[size:] {
		sections = append(sections, f.section(headers))
	}
	return sections, true, nil
}

func (f elfFile) section(header []byte) section {
	s := section{name: f.order.Uint32(header), kind: elf.SectionType(f.order.Uint32(header[4:])), flags: elf.SectionFlag(f.word(header[8:]))}
	if f.wide {
		s.address, s.offset, s.size = f.order.Uint64(header[16:]), f.order.Uint64(header[24:]), f.order.Uint64(header[32:])
	} else {
		s.address, s.offset, s.size = uint64(f.order.Uint32(header[12:])), uint64(f.order.Uint32(header[16:])), uint64(f.order.Uint32(header[20:]))
	}
	return s
}
