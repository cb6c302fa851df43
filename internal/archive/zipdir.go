package archive

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"math"
	"strings"
)

// Sizes and signatures of a zip's records, without their variable parts. APPNOTE.TXT, section 4.3.
const (
	localSize   = 30
	centralSize = 46
	endSize     = 22
	end64Size   = 56
	locatorSize = 20

	localSig      = 0x04034b50
	centralSig    = 0x02014b50
	endSig        = 0x06054b50
	end64Sig      = 0x06064b50
	locatorSig    = 0x07064b50
	descriptorSig = 0x08074b50

	max16 = math.MaxUint16 // in a record: see its zip64 counterpart
	max32 = math.MaxUint32
)

// Bounds of a directory's size, so that it is not read at all when it can only be an attack: room for
// each member allowed with names, extra fields and comments of a usual size, and for a few of the largest.
const (
	directoryPerMember = centralSize + 2<<10
	directorySlack     = 256 << 10
)

const (
	flagEncrypted  = 1<<0 | 1<<6 | 1<<13
	flagDescriptor = 1 << 3
	flagPatch      = 1 << 5

	methodStored   = 0
	methodDeflated = 8
)

// A zipMember says where and how a zip holds a member. All offsets count from the start of the file.
type zipMember struct {
	flags, method uint16
	size          int64  // of the data, in bytes
	header        int64  // offset of the local header
	data, end     int64  // offsets of the data, and of what follows it and its descriptor
	gzipCRC       uint32 // of the gzip made of the data; known once verified
}

// A directory is where a zip's central directory is.
type directory struct {
	count, offset, size uint64
}

var le = binary.LittleEndian

// read fills p from the archive at offset off.
func (a *Archive) read(ctx context.Context, p []byte, off int64) error {
	_, err := io.ReadFull(newSource(ctx, a.f, off, int64(len(p))), p)
	return err
}

// findDirectory reads the end record at the file's end, with its zip64 counterpart where there is one.
// The directory must end exactly where the first of them starts.
func (a *Archive) findDirectory(ctx context.Context) (directory, error) {
	tail := make([]byte, min(a.size, endSize+max16))
	start := a.size - int64(len(tail))
	if err := a.read(ctx, tail, start); err != nil {
		return directory{}, err
	}
	i := findEnd(tail)
	if i < 0 {
		return directory{}, invalid("The zip does not end with its end record: it was cut short, or something follows it")
	}
	end := start + int64(i)
	rec := tail[i:]
	d := directory{uint64(le.Uint16(rec[10:])), uint64(le.Uint32(rec[16:])), uint64(le.Uint32(rec[12:]))}
	disk, dirDisk, here := le.Uint16(rec[4:]), le.Uint16(rec[6:]), le.Uint16(rec[8:])
	d64, end64, err := a.findDirectory64(ctx, end)
	switch {
	case err != nil:
		return directory{}, err
	case end64 < end:
		if !continues(d.count, d64.count, max16) || !continues(d.offset, d64.offset, max32) || !continues(d.size, d64.size, max32) {
			return directory{}, invalid("The zip's two end records contradict each other")
		}
		d, end = d64, end64
	case disk != 0 || dirDisk != 0 || uint64(here) != d.count:
		return directory{}, invalid("The zip is one part of a split archive")
	}
	if d.offset > uint64(end) || d.size != uint64(end)-d.offset {
		return directory{}, invalid("The zip's central directory is not where its end record says")
	}
	return d, nil
}

// findEnd returns where in tail the end record is, or -1. Its comment must reach to the file's end. Only
// where there is no such record may zeros follow one, as bsdtar writes them to a pipe.
func findEnd(tail []byte) int {
	for _, padded := range []bool{false, true} {
		for i := len(tail) - endSize; i >= 0; i-- {
			if le.Uint32(tail[i:]) != endSig {
				continue
			}
			rest := tail[i+endSize:]
			comment := int(le.Uint16(tail[i+20:]))
			if comment == len(rest) || padded && comment < len(rest) && len(bytes.Trim(rest[comment:], "\x00")) == 0 {
				return i
			}
		}
	}
	return -1
}

// continues reports whether a value of an end record agrees with its zip64 counterpart: it is equal, or
// as large as can be.
func continues(v, v64, most uint64) bool { return v == v64 || v == most }

// findDirectory64 reads the zip64 end record before end, and returns its offset; without one, that is end.
func (a *Archive) findDirectory64(ctx context.Context, end int64) (directory, int64, error) {
	if end < locatorSize {
		return directory{}, end, nil
	}
	var loc [locatorSize]byte
	if err := a.read(ctx, loc[:], end-locatorSize); err != nil {
		return directory{}, 0, err
	}
	if le.Uint32(loc[:]) != locatorSig {
		return directory{}, end, nil
	}
	off := le.Uint64(loc[8:])
	if off > uint64(end-locatorSize) || uint64(end-locatorSize)-off < end64Size {
		return directory{}, 0, invalid("The zip64 end record is not where its locator says")
	}
	var rec [end64Size]byte
	if err := a.read(ctx, rec[:], int64(off)); err != nil {
		return directory{}, 0, err
	}
	if le.Uint32(rec[:]) != end64Sig || le.Uint64(rec[4:]) != uint64(end-locatorSize)-off-12 {
		return directory{}, 0, invalid("The zip64 end record is not where its locator says")
	}
	d := directory{le.Uint64(rec[32:]), le.Uint64(rec[48:]), le.Uint64(rec[40:])}
	if le.Uint32(rec[16:]) != 0 || le.Uint32(rec[20:]) != 0 || le.Uint64(rec[24:]) != d.count || le.Uint32(loc[4:]) != 0 {
		return directory{}, 0, invalid("The zip is one part of a split archive")
	}
	return d, int64(off), nil
}

// readDirectory reads the members' records, checking each on its own.
func (a *Archive) readDirectory(ctx context.Context, d directory) ([]*Member, error) {
	limit := uint64(max(a.limits.MaxMembers, 0))
	switch {
	case d.count > limit:
		return nil, tooManyMembers(a.limits)
	case d.size > limit*directoryPerMember+directorySlack:
		return nil, tooLarge("The zip's central directory has %d bytes, too many for %d members", d.size, a.limits.MaxMembers)
	case d.count > d.size/centralSize:
		return nil, invalid("The zip's central directory is too small for the %d members it should list", d.count)
	}
	src := newSource(ctx, a.f, int64(d.offset), int64(d.size))
	in := bufio.NewReaderSize(src, bufSize)
	members := make([]*Member, 0, d.count)
	sum := tally{limits: a.limits}
	for range d.count {
		m, err := a.readCentral(in)
		if src.err != nil {
			return nil, src.err
		}
		if err != nil {
			return nil, err
		}
		if err := sum.add(m.Name, m.Size); err != nil {
			return nil, err
		}
		members = append(members, m)
	}
	if _, err := in.ReadByte(); err == nil {
		return nil, invalid("The zip's central directory lists more members than its end record says")
	}
	return members, nil
}

// readCentral reads the next record of the central directory.
func (a *Archive) readCentral(in io.Reader) (*Member, error) {
	var rec [centralSize]byte
	if _, err := io.ReadFull(in, rec[:]); err != nil || le.Uint32(rec[:]) != centralSig {
		return nil, damaged(err, "The zip's central directory is damaged, or lists fewer members than its end record says")
	}
	nameLen, extraLen := int(le.Uint16(rec[28:])), int(le.Uint16(rec[30:]))
	rest := make([]byte, nameLen+extraLen+int(le.Uint16(rec[32:])))
	if _, err := io.ReadFull(in, rest); err != nil {
		return nil, damaged(err, "The zip's central directory ends inside a member's record")
	}
	name := string(rest[:nameLen])
	m := &Member{Name: name, archive: a, crc: le.Uint32(rec[16:])}
	m.zip = zipMember{flags: le.Uint16(rec[8:]), method: le.Uint16(rec[10:])}
	size, data, header := uint64(le.Uint32(rec[24:])), uint64(le.Uint32(rec[20:])), uint64(le.Uint32(rec[42:]))
	if !widen(rest[nameLen:nameLen+extraLen], &size, &data, &header) {
		return nil, invalid("The zip64 field of member %s is damaged", quote(name))
	}
	m.Size, m.zip.size, m.zip.header = int64(size), int64(data), int64(header)
	if disk := le.Uint16(rec[34:]); disk != 0 && disk != max16 {
		return nil, invalid("The zip is one part of a split archive")
	}
	p, err := locate(name, strings.HasSuffix(name, "/"), a.limits.DisallowedSnippets)
	if err != nil {
		return nil, err
	}
	m.Key, m.Ignored = p.key, p.ignored
	return m, m.checkKind(le.Uint16(rec[4:])>>8, le.Uint32(rec[38:])>>16)
}

// widen replaces those values that are as large as 32 bits can be by the ones in a zip64 extra field,
// where there is one. It reports whether that holds enough of them, each fit for an int64.
func widen(extra []byte, values ...*uint64) bool {
	const zip64Tag = 1
	for len(extra) >= 4 {
		tag, n := le.Uint16(extra), int(le.Uint16(extra[2:]))
		if extra = extra[4:]; n > len(extra) {
			return true
		}
		if tag != zip64Tag {
			extra = extra[n:]
			continue
		}
		field := extra[:n]
		for _, v := range values {
			if *v != max32 {
				continue
			}
			if len(field) < 8 || le.Uint64(field) > math.MaxInt64 {
				return false
			}
			*v, field = le.Uint64(field), field[8:]
		}
		return true
	}
	return true
}

// checkKind makes sure that the member is a regular file or a directory, in a method we know.
func (m *Member) checkKind(creator uint16, mode uint32) error {
	const (
		unix, macOS                        = 3, 19
		typeMask, typeDir, typeReg, noType = 0o170000, 0o040000, 0o100000, 0
	)
	dir := strings.HasSuffix(m.Name, "/")
	kind := mode & typeMask
	switch {
	case m.zip.flags&flagEncrypted != 0:
		return invalid("The member %s is encrypted", quote(m.Name))
	case m.zip.flags&flagPatch != 0, m.zip.method != methodStored && m.zip.method != methodDeflated:
		return invalid("The member %s is compressed with method %d; only stored and deflated members are supported", quote(m.Name), m.zip.method)
	case m.zip.method == methodStored && m.zip.size != m.Size:
		return invalid("The member %s is stored, but its two sizes differ: %d and %d bytes", quote(m.Name), m.zip.size, m.Size)
	case (creator == unix || creator == macOS) && kind != noType && kind != typeReg && (kind != typeDir || !dir):
		return invalid("The member %s is not a regular file", quote(m.Name))
	case dir && m.Size != 0:
		return invalid("The member %s is a directory, but has content", quote(m.Name))
	}
	return nil
}
