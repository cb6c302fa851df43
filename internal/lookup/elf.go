package lookup

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"io"
	"slices"
)

// An elfFile is an ELF file with its head read.
type elfFile struct {
	head    []byte
	content io.ReadSeeker // all of it
	order   binary.ByteOrder
	wide    bool // 64 bits
}

// parseELF reads the head of a file; ok is false if it is not ELF's.
func parseELF(head []byte, content io.ReadSeeker) (f elfFile, ok bool) {
	if len(head) < 64 || !bytes.HasPrefix(head, []byte(elf.ELFMAG)) {
		return f, false
	}
	f = elfFile{head: head, content: content, order: binary.LittleEndian, wide: head[elf.EI_CLASS] == byte(elf.ELFCLASS64)}
	if head[elf.EI_DATA] == byte(elf.ELFDATA2MSB) {
		f.order = binary.BigEndian
	}
	return f, true
}

// hasBuildID reports whether the head holds a GNU build id note of exactly that id: sizes of name and description, type, name, description.
// The note may be anywhere, in a segment or, in a file without any, in a section.
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

// word reads an address or offset of the class's width.
func (f elfFile) word(b []byte) uint64 {
	if f.wide {
		return f.order.Uint64(b)
	}
	return uint64(f.order.Uint32(b))
}

// A segment is a program header.
type segment struct {
	kind                              elf.ProgType
	flags                             elf.ProgFlag
	offset, address, inFile, inMemory uint64
}

// segments reads the program headers in the head.
func (f elfFile) segments() (segments []segment) {
	var table uint64
	var size, count, least int
	if f.wide {
		table, least = f.order.Uint64(f.head[32:]), 56
		size, count = int(f.order.Uint16(f.head[54:])), int(f.order.Uint16(f.head[56:]))
	} else {
		table, least = uint64(f.order.Uint32(f.head[28:])), 32
		size, count = int(f.order.Uint16(f.head[42:])), int(f.order.Uint16(f.head[44:]))
	}
	if table > uint64(len(f.head)) || size < least {
		return nil
	}
	for headers := f.head[table:]; count > 0 && len(headers) >= size; headers = headers[size:] {
		segments = append(segments, f.segment(headers))
		count--
	}
	return segments
}

func (f elfFile) segment(header []byte) segment {
	s := segment{kind: elf.ProgType(f.order.Uint32(header))}
	if f.wide {
		s.flags, s.offset, s.address = elf.ProgFlag(f.order.Uint32(header[4:])), f.order.Uint64(header[8:]), f.order.Uint64(header[16:])
		s.inFile, s.inMemory = f.order.Uint64(header[32:]), f.order.Uint64(header[40:])
	} else {
		s.flags, s.offset, s.address = elf.ProgFlag(f.order.Uint32(header[24:])), uint64(f.order.Uint32(header[4:])), uint64(f.order.Uint32(header[8:]))
		s.inFile, s.inMemory = uint64(f.order.Uint32(header[16:])), uint64(f.order.Uint32(header[20:]))
	}
	return s
}

// hasCode implements image. Files of debug information have the program headers of their program: some tools empty them, others (eu-strip)
// keep them, and the sections show that the bytes are elsewhere. Without sections, the program headers alone count.
func (f elfFile) hasCode() (bool, error) {
	loaded := slices.DeleteFunc(f.segments(), func(s segment) bool { return s.kind != elf.PT_LOAD })
	isCode := func(s segment) bool { return s.flags&elf.PF_X != 0 && s.inFile > 0 && s.inFile >= s.inMemory }
	if !slices.ContainsFunc(loaded, isCode) {
		return false, nil
	}
	size, err := f.content.Seek(0, io.SeekEnd)
	if err != nil {
		return false, err
	}
	isCut := func(s segment) bool { return !within(s.offset, s.inFile, uint64(size)) }
	if slices.ContainsFunc(loaded, isCut) {
		return false, nil
	}
	sections, ok, err := f.sections()
	if err != nil || !ok {
		return false, err
	}
	isElsewhere := func(s section) bool { return s.isElsewhere(loaded, uint64(size)) }
	return (len(sections) == 0 || slices.ContainsFunc(sections, section.isCode)) && !slices.ContainsFunc(sections, isElsewhere), nil
}

// within reports whether length bytes at an offset lie within a size.
func within(offset, length, size uint64) bool { return offset <= size && length <= size-offset }
