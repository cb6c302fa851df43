package lookup

import (
	"bytes"
	"encoding/binary"
	"io"
	"slices"
)

// The used parts of Mach-O's headers.
// https://github.com/apple-oss-distributions/xnu/blob/main/EXTERNAL_HEADERS/mach-o/loader.h, …/fat.h
const (
	machMagic32, machMagic64 = 0xfeedface, 0xfeedfacf
	fatMagic32, fatMagic64   = 0xcafebabe, 0xcafebabf
	machSegment32            = 0x1
	machSegment64            = 0x19
	machUUID                 = 0x1b
	machExecutes             = 4 // of a segment's protection
	machObject               = 1 // types of files: this and the next two have no program's code
	machDylibStub            = 9
	machDSYM                 = 10
	// maxFat bounds the architectures in one file; a Java class begins like such a file.
	maxFat = 16
)

// A machOFile is a Mach-O file, or the part of a universal one for one architecture.
type machOFile struct {
	content  io.ReadSeeker // all of the file
	offset   uint64        // offset of the part
	kind     uint32        // of file
	segments []machOSegment
}

// A machOSegment is a segment's load command.
type machOSegment struct {
	name           string
	offset, inFile uint64
	executes       bool
}

// parseMachO reads the head of a file; ok is false if it is not Mach-O's, or none of its architectures has the UUID.
func parseMachO(head []byte, content io.ReadSeeker, uuid []byte) (f machOFile, ok bool, err error) {
	if f, ok = parseThin(head, uuid); ok {
		f.content = content
		return f, true, nil
	}
	for _, offset := range fatOffsets(head) {
		part, err := readUpTo(content, offset, headLen)
		if err != nil {
			return f, false, err
		}
		if f, ok = parseThin(part, uuid); ok {
			f.content, f.offset = content, offset
			return f, true, nil
		}
	}
	return f, false, nil
}

// fatOffsets returns the offsets of a universal file's parts.
func fatOffsets(head []byte) (offsets []uint64) {
	if len(head) < 8 {
		return nil
	}
	magic, count, size := binary.BigEndian.Uint32(head), binary.BigEndian.Uint32(head[4:]), 20
	switch {
	case count > maxFat || magic != fatMagic32 && magic != fatMagic64:
		return nil
	case magic == fatMagic64:
		size = 32
	}
	for parts := head[8:]; count > 0 && len(parts) >= size; parts = parts[size:] {
		if magic == fatMagic64 {
			offsets = append(offsets, binary.BigEndian.Uint64(parts[8:]))
		} else {
			offsets = append(offsets, uint64(binary.BigEndian.Uint32(parts[8:])))
		}
		count--
	}
	return offsets
}

// parseThin reads the load commands of one architecture; ok is false unless they have the UUID.
func parseThin(head, uuid []byte) (f machOFile, ok bool) {
	if len(head) < 32 {
		return f, false
	}
	var order binary.ByteOrder = binary.LittleEndian
	magic := order.Uint32(head)
	if magic != machMagic32 && magic != machMagic64 {
		order = binary.BigEndian
		magic = order.Uint32(head)
	}
	commands := head[28:]
	switch magic {
	case machMagic64:
		commands = head[32:]
	case machMagic32:
	default:
		return f, false
	}
	f.kind = order.Uint32(head[12:])
	for count := order.Uint32(head[16:]); count > 0 && len(commands) >= 8; count-- {
		size := order.Uint32(commands[4:])
		if size < 8 || uint64(size) > uint64(len(commands)) {
			break
		}
		command := commands[:size]
		switch kind := order.Uint32(command); {
		case kind == machUUID && len(command) >= 24:
			ok = ok || bytes.Equal(command[8:24], uuid)
		case kind == machSegment64 && len(command) >= 72:
			f.segments = append(f.segments, machOSegment{
				name: cString(command[8:24]), offset: order.Uint64(command[40:]), inFile: order.Uint64(command[48:]), executes: order.Uint32(command[60:])&machExecutes != 0,
			})
		case kind == machSegment32 && len(command) >= 56:
			f.segments = append(f.segments, machOSegment{
				name: cString(command[8:24]), offset: uint64(order.Uint32(command[32:])), inFile: uint64(order.Uint32(command[36:])), executes: order.Uint32(command[44:])&machExecutes != 0,
			})
		}
		commands = commands[size:]
	}
	return f, ok
}

func cString(text []byte) string {
	text, _, _ = bytes.Cut(text, []byte{0})
	return string(text)
}

// hasCode implements image.
func (f machOFile) hasCode() (bool, error) {
	if f.kind == machObject || f.kind == machDylibStub || f.kind == machDSYM {
		return false, nil
	}
	if !slices.ContainsFunc(f.segments, func(s machOSegment) bool { return s.executes && s.inFile > 0 }) {
		return false, nil
	}
	size, err := f.content.Seek(0, io.SeekEnd)
	if err != nil || uint64(size) < f.offset {
		return false, err
	}
	isCut := func(s machOSegment) bool { return !within(s.offset, s.inFile, uint64(size)-f.offset) }
	return !slices.ContainsFunc(f.segments, isCut), nil
}

// hasSymbols implements image.
func (f machOFile) hasSymbols() (bool, error) {
	isDWARF := func(s machOSegment) bool { return s.name == "__DWARF" && s.inFile > 0 }
	return f.kind == machDSYM || slices.ContainsFunc(f.segments, isDWARF), nil
}
