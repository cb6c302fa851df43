package download

import (
	"bytes"
	"debug/elf"
	"io"
	"slices"
)

// Bounds of what is read of a file's sections, in bytes: of the table of their headers and of their names. Real ones take a
// few KiB.
const (
	maxSectionTable = 256 << 10
	maxSectionNames = 64 << 10
)

// A section is what the header of one tells.
type section struct {
	name         uint32 // where it begins among the names
	kind         elf.SectionType
	offset, size uint64
}

// hasSymbols reports whether the file has a table of symbols or debug information in its sections, whose headers lie behind
// everything else. It fails where content can't be read; one that makes no sense has none.
func (f elfFile) hasSymbols(content io.ReadSeeker) (bool, error) {
	sections, names, err := f.sections(content)
	if err != nil {
		return false, err
	}
	if slices.ContainsFunc(sections, func(s section) bool { return s.kind == elf.SHT_SYMTAB && s.size > 0 }) {
		return true, nil
	}
	if names >= len(sections) || sections[names].size > maxSectionNames {
		return false, nil
	}
	text, err := readAt(content, sections[names].offset, int(sections[names].size))
	if err != nil {
		return false, err
	}
	return slices.ContainsFunc(sections, func(s section) bool {
		if s.kind != elf.SHT_PROGBITS || s.size == 0 || uint64(s.name) >= uint64(len(text)) {
			return false
		}
		name, _, _ := bytes.Cut(text[s.name:], []byte{0})
		return string(name) == ".debug_info" || string(name) == ".zdebug_info"
	}), nil
}

// sections reads the headers of the sections, and which of these holds their names.
func (f elfFile) sections(content io.ReadSeeker) (sections []section, names int, err error) {
	var table uint64
	var size, count, least int
	if f.wide {
		table, least = f.order.Uint64(f.head[40:]), 64
		size, count, names = int(f.order.Uint16(f.head[58:])), int(f.order.Uint16(f.head[60:])), int(f.order.Uint16(f.head[62:]))
	} else {
		table, least = uint64(f.order.Uint32(f.head[32:])), 40
		size, count, names = int(f.order.Uint16(f.head[46:])), int(f.order.Uint16(f.head[48:])), int(f.order.Uint16(f.head[50:]))
	}
	if size < least || size*count > maxSectionTable {
		return nil, 0, nil
	}
	headers, err := readAt(content, table, size*count)
	if err != nil {
		return nil, 0, err
	}
	for ; len(headers) >= size; headers = headers[size:] {
		sections = append(sections, f.section(headers))
	}
	return sections, names, nil
}

func (f elfFile) section(header []byte) section {
	s := section{name: f.order.Uint32(header), kind: elf.SectionType(f.order.Uint32(header[4:]))}
	if f.wide {
		s.offset, s.size = f.order.Uint64(header[24:]), f.order.Uint64(header[32:])
	} else {
		s.offset, s.size = uint64(f.order.Uint32(header[16:])), uint64(f.order.Uint32(header[20:]))
	}
	return s
}

// readAt reads n bytes at an offset that the file itself names; none where it has not that many.
func readAt(content io.ReadSeeker, offset uint64, n int) ([]byte, error) {
	if offset > 1<<62 {
		return nil, nil
	}
	if _, err := content.Seek(int64(offset), io.SeekStart); err != nil {
		return nil, err
	}
	from, part := &source{Reader: content}, make([]byte, n)
	if n, _ := io.ReadFull(from, part); n < len(part) {
		return nil, from.failed
	}
	return part, nil
}
