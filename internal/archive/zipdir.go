package archive

import (
	"bufio"
	"context"
	"encoding/binary"
	"io"
	"math"
	"strings"
	"unicode/utf8"

	"tecken-upload/internal/archive/fault"
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

// Bounds of a directory's size, so that an attack's is not read at all: room for each allowed member with names, extra fields and comments
// of a usual size, and for a few of the largest.
const (
	directoryPerMember = centralSize + 2<<10
	directorySlack     = 256 << 10
)

const (
	flagEncrypted  = 1<<0 | 1<<6 | 1<<13
	flagDescriptor = 1 << 3
	flagPatch      = 1 << 5

	flagUTF8 = 1 << 11

	methodStored    = 0
	methodDeflated  = 8
	methodDeflate64 = 9

	// maxVersion is the highest version of the format that a reader may need, 6.3: the latest one.
	maxVersion = 63
)

// Systems of a record's writer. APPNOTE.TXT, section 4.4.2.
const (
	madeByUnix  = 3
	madeByMacOS = 19
)

// A zipMember is where and how a member is in a zip. All offsets count from the start of the file.
type zipMember struct {
	flags, method uint16
	size          int64  // of the data, in bytes
	header        int64  // offset of the local header
	data, end     int64  // offsets of the data, and of the byte after it and its descriptor
	gzipCRC       uint32 // of the gzip made of the data; known once verified
}

var le = binary.LittleEndian

// read fills p from the archive at offset off.
func (a *Archive) read(ctx context.Context, p []byte, off int64) error {
	_, err := io.ReadFull(newSource(ctx, a.f, off, int64(len(p))), p)
	return err
}

// readDirectory reads the entries' records, and checks each by itself.
func (a *Archive) readDirectory(ctx context.Context, d directory) ([]*Member, error) {
	sum := newTally(a.limits)
	switch {
	case d.count > uint64(sum.maxEntries()):
		return nil, sum.tooManyEntries()
	case d.size > uint64(max(a.limits.MaxMembers, 0))*directoryPerMember+directorySlack:
		return nil, fault.TooLarge("The zip's central directory has %d bytes, too many for %d members", d.size, a.limits.MaxMembers)
	case d.count > d.size/centralSize:
		return nil, fault.Invalid("The zip's central directory is too small for the %d entries it should list", d.count)
	}
	src := newSource(ctx, a.f, int64(d.offset), int64(d.size))
	in := bufio.NewReaderSize(src, bufSize)
	entries := make([]*Member, 0, d.count)
	names := naming{disallowed: a.limits.DisallowedSnippets}
	for range d.count {
		m, err := a.readCentral(in, &names)
		if src.err != nil {
			return nil, src.err
		}
		if err != nil {
			return nil, err
		}
		if err := sum.add(m); err != nil {
			return nil, err
		}
		entries = append(entries, m)
	}
	if _, err := in.ReadByte(); err == nil {
		return nil, fault.Invalid("The zip's central directory lists more entries than its end record says")
	}
	return entries, nil
}

// readCentral reads the next record of the central directory.
func (a *Archive) readCentral(in io.Reader, names *naming) (*Member, error) {
	var rec [centralSize]byte
	if _, err := io.ReadFull(in, rec[:]); err != nil || le.Uint32(rec[:]) != centralSig {
		return nil, fault.Damaged(err, "The zip's central directory is damaged, or lists fewer entries than its end record says")
	}
	nameLen, extraLen := int(le.Uint16(rec[28:])), int(le.Uint16(rec[30:]))
	rest := make([]byte, nameLen+extraLen+int(le.Uint16(rec[32:])))
	if _, err := io.ReadFull(in, rest); err != nil {
		return nil, fault.Damaged(err, "The zip's central directory ends inside an entry's record")
	}
	name := string(rest[:nameLen])
	m := &Member{sent: name, archive: a, crc: le.Uint32(rec[16:])}
	m.zip = zipMember{flags: le.Uint16(rec[8:]), method: le.Uint16(rec[10:])}
	extra, err := readExtra(name, rest[nameLen:nameLen+extraLen])
	if err != nil {
		return nil, err
	}
	size, data, header := uint64(le.Uint32(rec[24:])), uint64(le.Uint32(rec[20:])), uint64(le.Uint32(rec[42:]))
	disk := le.Uint16(rec[34:])
	if !extra.widen(&size, &data, &header) || disk == max16 && !extra.firstDisk() {
		return nil, fault.Invalid("The zip64 field of member %s is damaged", fault.Quote(name))
	}
	if disk != 0 && disk != max16 {
		return nil, splitZip()
	}
	m.Size, m.zip.size, m.zip.header = int64(size), int64(data), int64(header)
	if err := m.checkName(rec[5]); err != nil {
		return nil, err
	}
	p, err := names.locate(name, strings.HasSuffix(name, "/") || strings.HasSuffix(name, `\`))
	if err != nil {
		return nil, err
	}
	m.place(p)
	return m, m.checkKind(rec[6], le.Uint32(rec[38:]))
}

// checkName returns an error if the characters of the member's name depend on the reader. creator is the system of the record's writer.
func (m *Member) checkName(creator byte) error {
	switch {
	case isASCII(m.sent):
		return nil
	case utf8.ValidString(m.sent) && (m.zip.flags&flagUTF8 != 0 || creator == madeByUnix || creator == madeByMacOS):
		return nil
	}
	return fault.Invalid("The name of the member %s is not in UTF-8, or not marked so, and its characters depend on the reader; "+
		"make the zip with 7-Zip and -mcu=on, or a tar", fault.Quote(m.sent))
}

func isASCII(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r >= utf8.RuneSelf })
}

// checkKind returns an error unless the member is a regular file or a directory, in a known method. version is the version of the format
// that a reader needs; attributes are those of DOS, and a mode of Unix in the upper half.
func (m *Member) checkKind(version byte, attributes uint32) error {
	const (
		typeMask, typeDir, typeReg, noType = 0o170000, 0o040000, 0o100000, 0
		dosLabel, dosDirectory             = 1 << 3, 1 << 4
	)
	dir, mode := m.role == roleDirectory, attributes>>16&typeMask
	switch {
	case m.zip.flags&flagEncrypted != 0:
		return fault.Invalid("The member %s is encrypted", fault.Quote(m.sent))
	case m.zip.method == methodDeflate64:
		return fault.Invalid("The member %s is compressed with Deflate64, as Windows Explorer does above 2 GB; make the zip with 7-Zip, or a tar", fault.Quote(m.sent))
	case m.zip.flags&flagPatch != 0, m.zip.method != methodStored && m.zip.method != methodDeflated:
		return fault.Invalid("The member %s is compressed with method %d; only stored and deflated members are supported", fault.Quote(m.sent), m.zip.method)
	case version > maxVersion:
		return fault.Invalid("The member %s needs version %d.%d of the zip format; there is none above %d.%d", fault.Quote(m.sent), version/10, version%10, maxVersion/10, maxVersion%10)
	case m.zip.method == methodStored && m.zip.size != m.Size:
		return fault.Invalid("The member %s is stored, but its two sizes differ: %d and %d bytes", fault.Quote(m.sent), m.zip.size, m.Size)
	case mode != noType && mode != typeReg && (mode != typeDir || !dir), attributes&dosLabel != 0:
		return fault.Invalid("The member %s is not a regular file", fault.Quote(m.sent))
	case dir && m.Size != 0:
		return fault.Invalid("The member %s is a directory, but has content", fault.Quote(m.sent))
	case !dir && attributes&dosDirectory != 0:
		return fault.Invalid("The member %s is a directory by its attributes, but a file by its name", fault.Quote(m.sent))
	}
	return nil
}
