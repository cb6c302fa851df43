package differential

import (
	"bytes"
	"compress/flate"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"math"
	"slices"
	"sync"
)

var le = binary.LittleEndian

const (
	stored     = 0
	deflated   = 8
	descriptor = 1 << 3  // flag: sizes and CRC follow the data
	utf8Flag   = 1 << 11 // flag: the name is UTF-8
)

// A zipHeader holds the fields that a member's local header and its record in the central directory share.
type zipHeader struct {
	need, flags, method uint16
	crc, packed, size   uint32
	name                string
	extra               []byte
}

// A zipMember is a member of a zip with every field open to change.
type zipMember struct {
	content []byte
	data    []byte // as the zip holds it; seal makes it of content where it is nil
	local   zipHeader
	central zipHeader

	maker, disk, internal uint16
	attributes, offset    uint32
	comment               []byte

	wide       bool   // sizes in zip64 fields
	descriptor string // "", "signed", "bare", "signed wide" or "bare wide"
	trailer    []byte // the descriptor itself, once sealed
	after      []byte // bytes behind the member that belong to none
}

// A zipEnd is an end record with its zip64 counterparts.
type zipEnd struct {
	disk, dirDisk, here, count uint16
	size, offset               uint32
	comment                    []byte
	commentLen                 uint16

	wide         bool // there are zip64 records
	need         uint16
	recordSize   uint64
	disk64       uint32
	count64      uint64
	size64       uint64
	offset64     uint64
	extensible   []byte
	between      []byte // the zip64 record and its locator
	locatorDisk  uint32
	locatorAt    uint64
	locatorDisks uint32
	unlocated    bool // no locator
}

// A zipFile is a zip in parts.
type zipFile struct {
	prefix    []byte
	members   []*zipMember
	listed    []*zipMember // in the directory: all of them, unless set before seal
	beforeDir []byte
	afterDir  []byte // counted into the directory's size
	behindDir []byte // not counted
	end       zipEnd
	noEnd     bool
	tail      []byte
}

// deflaters are kept: making one costs more than an archive of the test's own.
var deflaters = sync.Pool{New: func() any {
	w, err := flate.NewWriter(nil, flate.BestCompression)
	if err != nil {
		panic(err) // there is that level
	}
	return w
}}

func deflate(content []byte) []byte {
	var b bytes.Buffer
	w := deflaters.Get().(*flate.Writer)
	defer deflaters.Put(w)
	w.Reset(&b)
	_, err := w.Write(content)
	if err = errors.Join(err, w.Close()); err != nil {
		panic(err) // a buffer can't fail
	}
	return b.Bytes()
}

func newMember(name string, content []byte, method uint16) *zipMember {
	m := &zipMember{content: content, maker: 3<<8 | 30, attributes: 0o100644 << 16}
	m.local = zipHeader{need: 20, method: method, name: name}
	m.central = m.local
	return m
}

// both changes what the local header and the directory say in the same way.
func (m *zipMember) both(change func(h *zipHeader)) {
	change(&m.local)
	change(&m.central)
}

func (m *zipMember) addExtra(field []byte) {
	m.both(func(h *zipHeader) { h.extra = append(slices.Clone(h.extra), field...) })
}

func extraField(tag uint16, value []byte) []byte {
	return append(le.AppendUint16(le.AppendUint16(nil, tag), uint16(len(value))), value...)
}

// seal puts right what follows from the members: data, sizes, checksums, offsets and the end records.
func (z *zipFile) seal() {
	at := len(z.prefix)
	for _, m := range z.members {
		m.seal()
		m.offset = uint32(at)
		at += len(m.bytes())
	}
	if z.listed == nil {
		z.listed = slices.Clone(z.members)
	}
	z.sealEnd(at + len(z.beforeDir))
}

// sealEnd makes the end records say where the directory is, and how much it lists.
func (z *zipFile) sealEnd(start int) {
	e, count, size := &z.end, len(z.listed), len(z.directory())
	e.here, e.count = uint16(count), uint16(count)
	e.size, e.offset = uint32(size), uint32(start)
	e.commentLen = uint16(len(e.comment))
	if e.wide {
		e.need, e.recordSize = 45, uint64(44+len(e.extensible))
		e.count64, e.size64, e.offset64 = uint64(count), uint64(size), uint64(start)
		e.locatorAt, e.locatorDisks = uint64(start+size+len(z.behindDir)), 1
		e.here, e.count, e.size, e.offset = math.MaxUint16, math.MaxUint16, math.MaxUint32, math.MaxUint32
	}
}

// relist seals the end records again after a change of what is listed.
func (z *zipFile) relist() {
	start := len(z.prefix) + len(z.beforeDir)
	for _, m := range z.members {
		start += len(m.bytes())
	}
	z.sealEnd(start)
}

func (m *zipMember) seal() {
	if m.data == nil {
		m.data = m.content
		if m.central.method == deflated {
			m.data = deflate(m.content)
		}
	}
	packed, size := uint64(len(m.data)), uint64(len(m.content))
	crc := crc32.ChecksumIEEE(m.content)
	m.both(func(h *zipHeader) {
		h.crc, h.packed, h.size = crc, uint32(packed), uint32(size)
		if m.wide {
			h.need = 45
			h.packed, h.size = math.MaxUint32, math.MaxUint32
			h.extra = append(extraField(1, le.AppendUint64(le.AppendUint64(nil, size), packed)), h.extra...)
		}
	})
	if m.descriptor == "" {
		return
	}
	m.both(func(h *zipHeader) { h.flags |= descriptor })
	m.local.crc, m.local.packed, m.local.size = 0, 0, 0
	if m.wide {
		m.local.packed, m.local.size = math.MaxUint32, math.MaxUint32
		clear(m.local.extra[4:20])
	}
	m.trailer = m.describe(m.descriptor, crc, packed, size)
}

// describe makes a data descriptor of one of the four forms.
func (m *zipMember) describe(form string, crc uint32, packed, size uint64) []byte {
	var d []byte
	if form == "signed" || form == "signed wide" {
		d = append(d, "PK\x07\x08"...)
	}
	d = le.AppendUint32(d, crc)
	if m.wide || form == "signed wide" || form == "bare wide" {
		return le.AppendUint64(le.AppendUint64(d, packed), size)
	}
	return le.AppendUint32(le.AppendUint32(d, uint32(packed)), uint32(size))
}

func (h *zipHeader) append(rec []byte) []byte {
	for _, v := range []uint16{h.need, h.flags, h.method, 0, 0x5821} {
		rec = le.AppendUint16(rec, v)
	}
	for _, v := range []uint32{h.crc, h.packed, h.size} {
		rec = le.AppendUint32(rec, v)
	}
	return le.AppendUint16(le.AppendUint16(rec, uint16(len(h.name))), uint16(len(h.extra)))
}

// bytes is the member from its local header to what follows it.
func (m *zipMember) bytes() []byte {
	b := m.local.append([]byte("PK\x03\x04"))
	b = append(append(b, m.local.name...), m.local.extra...)
	return slices.Concat(b, m.data, m.trailer, m.after)
}

// record is the member's record in the directory.
func (m *zipMember) record() []byte {
	b := m.central.append(le.AppendUint16([]byte("PK\x01\x02"), m.maker))
	b = le.AppendUint16(b, uint16(len(m.comment)))
	b = le.AppendUint16(le.AppendUint16(b, m.disk), m.internal)
	b = le.AppendUint32(le.AppendUint32(b, m.attributes), m.offset)
	return slices.Concat(b, []byte(m.central.name), m.central.extra, m.comment)
}

func (z *zipFile) directory() []byte {
	var dir []byte
	for _, m := range z.listed {
		dir = append(dir, m.record()...)
	}
	return append(dir, z.afterDir...)
}

func (e *zipEnd) bytes() []byte {
	b := []byte("PK\x05\x06")
	for _, v := range []uint16{e.disk, e.dirDisk, e.here, e.count} {
		b = le.AppendUint16(b, v)
	}
	b = le.AppendUint32(le.AppendUint32(b, e.size), e.offset)
	return append(le.AppendUint16(b, e.commentLen), e.comment...)
}

// record64 is the zip64 end record.
func (e *zipEnd) record64() []byte {
	b := le.AppendUint64([]byte("PK\x06\x06"), e.recordSize)
	b = le.AppendUint16(le.AppendUint16(b, 3<<8|45), e.need)
	b = le.AppendUint32(le.AppendUint32(b, e.disk64), e.disk64)
	for _, v := range []uint64{e.count64, e.count64, e.size64, e.offset64} {
		b = le.AppendUint64(b, v)
	}
	return append(b, e.extensible...)
}

func (e *zipEnd) locator() []byte {
	b := le.AppendUint32([]byte("PK\x06\x07"), e.locatorDisk)
	return le.AppendUint32(le.AppendUint64(b, e.locatorAt), e.locatorDisks)
}

// bytes writes the zip as it stands.
func (z *zipFile) bytes() []byte {
	parts := [][]byte{z.prefix}
	for _, m := range z.members {
		parts = append(parts, m.bytes())
	}
	parts = append(parts, z.beforeDir, z.directory(), z.behindDir)
	if z.end.wide {
		parts = append(parts, z.end.record64(), z.end.between)
		if !z.end.unlocated {
			parts = append(parts, z.end.locator())
		}
	}
	if !z.noEnd {
		parts = append(parts, z.end.bytes())
	}
	return slices.Concat(append(parts, z.tail)...)
}
