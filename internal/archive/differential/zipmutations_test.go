package differential

import (
	"bytes"
	"hash/crc32"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
)

func (z *zipFile) any(r *rand.Rand) *zipMember { return z.members[r.IntN(len(z.members))] }

// hidden is a member that no directory lists.
func hidden(r *rand.Rand) []byte {
	m := newMember(validName(r, 9), content(r), stored)
	m.seal()
	return m.bytes()
}

// debris is what may lie where no bytes belong.
func debris(r *rand.Rand) []byte {
	ghost := newMember(validName(r, 8), []byte("ghost"), stored)
	ghost.seal()
	return pick(r,
		make([]byte, 1+r.IntN(40)), []byte("junk"), hidden(r), ghost.record(), ghost.describe("signed", 1, 2, 3), (&zipEnd{}).bytes(),
		[]byte("PK\x06\x08\x04\x00\x00\x00abcd"), []byte("PK\x05\x05\x04\x00sign"), written(seedZip(r)), []byte("PK\x05\x06"), []byte("PK\x01\x02"), []byte("\n"))
}

// near returns a value at a boundary, or beside v.
func near[T uint16 | uint32 | uint64](r *rand.Rand, v T) T {
	return pick(r, 0, 1, v-1, v+1, v*2, 1<<15-1, 1<<15, 1<<16-1, ^T(0)>>1, ^T(0)-1, ^T(0), T(pick[uint64](r, 1<<16, 1<<31, 1<<32-1, 1<<32)))
}

var zipStructure = []mutation[*zipFile]{
	{name: "member not listed", late: func(r *rand.Rand, z *zipFile) {
		if i := r.IntN(len(z.members)); i < len(z.listed) {
			z.listed = slices.Delete(z.listed, i, i+1)
		}
		z.relist()
	}},
	{name: "member listed twice", late: func(r *rand.Rand, z *zipFile) {
		z.listed = append(z.listed, z.any(r))
		z.relist()
	}},
	{name: "member listed under two names", late: func(r *rand.Rand, z *zipFile) {
		m := *z.any(r)
		m.central.name = validName(r, 7)
		z.listed = append(z.listed, &m)
		z.relist()
	}},
	{name: "directory in another order", late: func(r *rand.Rand, z *zipFile) {
		r.Shuffle(len(z.listed), func(i, j int) { z.listed[i], z.listed[j] = z.listed[j], z.listed[i] })
	}},
	{name: "name twice", early: func(r *rand.Rand, z *zipFile) {
		old := z.any(r)
		z.members = append(z.members, newMember(old.central.name, pick(r, old.content, content(r)), stored))
	}},
	{name: "name twice in another case", early: func(r *rand.Rand, z *zipFile) {
		old := z.any(r)
		z.members = append(z.members, newMember(strings.ToUpper(old.central.name), pick(r, old.content, content(r)), stored))
	}},
	{name: "file and directory of one name", early: func(r *rand.Rand, z *zipFile) {
		z.members = append(z.members, newMember(z.any(r).central.name+pick(r, "/", "/AB12/x.pdb", `\`), nil, stored))
	}},
	{name: "members of another zip", early: func(r *rand.Rand, z *zipFile) { z.members = append(z.members, seedZip(r).members...) }},
	{name: "zip in a stored member", early: func(r *rand.Rand, z *zipFile) {
		m := newMember(validName(r, 6), written(seedZip(r)), stored)
		m.descriptor = pick(r, "", "signed", "bare")
		z.members = append(z.members, m)
	}},
	{name: "content holds its own descriptor", early: func(r *rand.Rand, z *zipFile) {
		head := content(r)
		m := newMember(validName(r, 6), nil, stored)
		m.content = slices.Concat(head, m.describe("signed", crc32.ChecksumIEEE(head), uint64(len(head)), uint64(len(head))), hidden(r))
		m.descriptor = pick(r, "", "signed", "bare")
		z.members = append(z.members, m)
	}},
	{name: "bytes before the first member", early: func(r *rand.Rand, z *zipFile) { z.prefix = debris(r) }},
	{name: "bytes before the first member, not counted", late: func(r *rand.Rand, z *zipFile) { z.prefix = debris(r) }},
	{name: "mark of a split zip in front", early: func(r *rand.Rand, z *zipFile) { z.prefix = []byte(pick(r, "PK00", "PK\x07\x08")) }},
	{name: "bytes behind a member", early: func(r *rand.Rand, z *zipFile) { z.any(r).after = debris(r) }},
	{name: "bytes behind a member, not counted", late: func(r *rand.Rand, z *zipFile) { z.any(r).after = debris(r) }},
	{name: "bytes before the directory", early: func(r *rand.Rand, z *zipFile) { z.beforeDir = debris(r) }},
	{name: "bytes at the directory's end", early: func(r *rand.Rand, z *zipFile) { z.afterDir = debris(r) }},
	{name: "bytes behind the directory", early: func(r *rand.Rand, z *zipFile) { z.behindDir = debris(r) }},
	{name: "comment", early: func(r *rand.Rand, z *zipFile) { z.end.comment = append(pick(r, nil, []byte("text ")), debris(r)...) }},
	{name: "comment with another directory", late: otherDirectory},
	{name: "comment's length", late: func(r *rand.Rand, z *zipFile) { z.end.commentLen = near(r, z.end.commentLen) }},
	{name: "comment of a member", early: func(r *rand.Rand, z *zipFile) { z.any(r).comment = debris(r) }},
	{name: "bytes behind the end", early: func(r *rand.Rand, z *zipFile) { z.tail = debris(r) }},
	{name: "many zeros behind the end", early: func(r *rand.Rand, z *zipFile) { z.tail = make([]byte, pick(r, 512, 10240, 65536, 70000)) }},
	{name: "end record twice", late: func(_ *rand.Rand, z *zipFile) { z.tail = z.end.bytes() }},
	{name: "no end record", early: func(_ *rand.Rand, z *zipFile) { z.noEnd = true }},
	{name: "another end record in front", late: func(_ *rand.Rand, z *zipFile) {
		fewer := z.end
		fewer.comment, fewer.commentLen, fewer.count, fewer.here = nil, 0, 1, 1
		z.behindDir = fewer.bytes()
	}},
}

// otherDirectory puts a directory of fewer members, with an end record, into the comment.
func otherDirectory(_ *rand.Rand, z *zipFile) {
	other := zipFile{listed: z.listed[:len(z.listed)/2]}
	at := len(z.bytes())
	other.sealEnd(at)
	z.end.comment = append(other.directory(), other.end.bytes()...)
	z.end.commentLen = uint16(len(z.end.comment))
}

var zipMembers = []mutation[*zipFile]{
	{name: "odd name", early: func(r *rand.Rand, z *zipFile) {
		m := z.any(r)
		name, flag := pick(r, oddNames(m.central.name)...), pick[uint16](r, 0, utf8Flag)
		m.both(func(h *zipHeader) { h.name, h.flags = name, h.flags&^utf8Flag|flag })
		m.maker = pick[uint16](r, m.maker, 20, 3<<8|30, 19<<8|21, 10<<8|20, 11<<8|20)
	}},
	{name: "odd names everywhere", early: func(r *rand.Rand, z *zipFile) {
		i := r.IntN(len(oddNames("a/b")))
		for _, m := range z.members {
			m.both(func(h *zipHeader) { h.name = oddNames(m.central.name + "/b")[i] })
		}
	}},
	{name: "backslashes in some names", early: func(r *rand.Rand, z *zipFile) {
		m := z.any(r)
		m.both(func(h *zipHeader) { h.name = strings.ReplaceAll(h.name, "/", `\`) })
		m.maker = pick[uint16](r, 20, 3<<8|30, 10<<8|20)
	}},
	{name: "another name in the local header", late: func(r *rand.Rand, z *zipFile) {
		m := z.any(r)
		m.local.name = pick(r, append(oddNames(m.local.name), validName(r, 5))...)
		z.relist()
	}},
	{name: "other flags on a name", early: func(r *rand.Rand, z *zipFile) {
		m := z.any(r)
		h := pick(r, &m.local, &m.central)
		h.flags ^= utf8Flag
	}},
	{name: "extra field in both", early: func(r *rand.Rand, z *zipFile) {
		m := z.any(r)
		m.addExtra(oddExtra(r, m))
	}},
	{name: "extra field in the local header", early: func(r *rand.Rand, z *zipFile) {
		m := z.any(r)
		m.local.extra = append(m.local.extra, oddExtra(r, m)...)
	}},
	{name: "extra field in the directory", early: func(r *rand.Rand, z *zipFile) {
		m := z.any(r)
		m.central.extra = append(m.central.extra, oddExtra(r, m)...)
	}},
	{name: "zip64 fields", early: func(r *rand.Rand, z *zipFile) { z.any(r).wide = true }},
	{name: "zip64 field changed", early: func(r *rand.Rand, z *zipFile) { z.any(r).wide = true }, late: func(r *rand.Rand, z *zipFile) {
		for _, m := range z.members {
			if h := pick(r, &m.local, &m.central); m.wide {
				h.extra[r.IntN(20)] = pick[byte](r, 0, 1, 0xff)
			}
		}
	}},
	{name: "zip64 marks without a field", late: func(r *rand.Rand, z *zipFile) {
		m := z.any(r)
		h := pick(r, &m.local, &m.central)
		pick(r, func() { h.size = math.MaxUint32 }, func() { h.packed = math.MaxUint32 }, func() { h.size, h.packed = math.MaxUint32, math.MaxUint32 })()
	}},
	{name: "descriptor of another form", early: func(r *rand.Rand, z *zipFile) {
		z.any(r).descriptor = pick(r, "signed", "bare", "signed wide", "bare wide")
	}},
	{name: "descriptor wrong", early: func(r *rand.Rand, z *zipFile) { z.any(r).descriptor = pick(r, "signed", "bare") }, late: func(r *rand.Rand, z *zipFile) {
		m := z.any(r)
		m.trailer = pick(r, nil, slices.Concat(m.trailer, m.trailer), m.describe("signed", 1, 2, 3), m.describe("signed", m.central.crc, 0, 0))
		z.relist()
	}},
	{name: "descriptor with its values in the local header", early: func(r *rand.Rand, z *zipFile) { z.any(r).descriptor = "signed" }, late: func(r *rand.Rand, z *zipFile) {
		m := z.any(r)
		m.local.crc, m.local.packed, m.local.size = pick(r, 0, 1, m.central.crc), pick(r, 0, 5, math.MaxUint32, m.central.packed), pick(r, 0, 5, math.MaxUint32, m.central.size)
	}},
	{name: "bytes behind the deflate stream", early: func(r *rand.Rand, z *zipFile) {
		m := z.any(r)
		m.both(func(h *zipHeader) { h.method = deflated })
		m.data = append(deflate(m.content), pick(r, "\x00", "xx", string(deflate([]byte("more"))))...)
	}},
	{name: "deflate stream in odd blocks", early: func(r *rand.Rand, z *zipFile) {
		m := z.any(r)
		m.both(func(h *zipHeader) { h.method = deflated })
		n := uint16(len(m.content))
		block := append(le.AppendUint16(le.AppendUint16([]byte{pick[byte](r, 0, 1)}, n), ^n), m.content...)
		m.data = slices.Concat(block, bytes.Repeat([]byte("\x00\x00\x00\xff\xff"), r.IntN(3)), pick(r, nil, []byte("\x01\x00\x00\xff\xff"), []byte("\x03\x00")))
	}},
	{name: "empty stream", early: func(r *rand.Rand, z *zipFile) {
		m := z.any(r)
		m.both(func(h *zipHeader) { h.method = deflated })
		m.content, m.data = nil, pick(r, []byte{}, []byte("\x03\x00"), []byte("\x01\x00\x00\xff\xff"))
	}},
	{name: "member covers the next", late: func(r *rand.Rand, z *zipFile) {
		i := r.IntN(len(z.members))
		m := z.members[i]
		if i+1 == len(z.members) || m.central.method != stored || m.descriptor != "" || m.wide {
			return
		}
		all := slices.Concat(m.data, m.after, z.members[i+1].bytes())
		m.both(func(h *zipHeader) {
			h.crc, h.packed, h.size = crc32.ChecksumIEEE(all), uint32(len(all)), uint32(len(all))
		})
	}},
	{name: "content of a directory", early: func(r *rand.Rand, z *zipFile) {
		d := newMember("d"+pick(r, "/", "/AB12/d.pdb/", `\`), pick(r, nil, content(r)), pick[uint16](r, stored, deflated))
		d.attributes = pick[uint32](r, 0, 0x10, 0o40755<<16|0x10, 0o100644<<16, 0o120777<<16)
		d.maker = pick[uint16](r, 20, 3<<8|30, 10<<8|20)
		z.members = append(z.members, d)
	}},
}

// oddExtra is an extra field that may change what a reader makes of m.
func oddExtra(r *rand.Rand, m *zipMember) []byte {
	name := m.central.name
	path := func(crc uint32, to string) []byte {
		return extraField(0x7075, append(le.AppendUint32([]byte{pick[byte](r, 1, 1, 1, 0, 2)}, crc), to...))
	}
	size := uint64(len(m.content))
	sizes := le.AppendUint64(le.AppendUint64(nil, pick(r, size, size+1)), pick(r, size, 0))
	mode := le.AppendUint16(nil, pick[uint16](r, 0o120777, 0o100644, 0o40755))
	asi := append(mode, make([]byte, 12)...)
	return pick(r,
		path(crc32.ChecksumIEEE([]byte(name)), name), path(crc32.ChecksumIEEE([]byte(name)), validName(r, 4)),
		path(crc32.ChecksumIEEE([]byte(name)), pick(r, oddNames(name)...)), path(1, validName(r, 4)), extraField(0x7075, []byte("\x01ab")),
		slices.Concat(path(crc32.ChecksumIEEE([]byte(name)), name), path(crc32.ChecksumIEEE([]byte(name)), validName(r, 4))),
		extraField(0x6375, []byte("\x01\x00\x00\x00\x00c")), extraField(1, sizes), extraField(1, sizes[:8]), extraField(1, nil),
		extraField(1, append(sizes, make([]byte, 12)...)), slices.Concat(extraField(1, sizes), extraField(1, sizes)),
		extraField(0x756e, append(le.AppendUint32(nil, crc32.ChecksumIEEE(asi)), asi...)), extraField(0x9901, []byte("\x02\x00AE\x03\x00\x00")),
		extraField(0x0017, make([]byte, 8)), extraField(0x6c78, []byte("\x07\x04\x00\x00\x00\x00\x00\xff\xa1")),
		make([]byte, 1+r.IntN(60)), []byte("x"), []byte("xyz"), []byte("\x99\x99\xff\x00ab"), []byte("\x01\x00\xff\xff"), []byte("\x75\x70\x20\x00\x01"),
		pick(r, harmlessExtras...))
}

var zipFields = []mutation[*zipFile]{
	{name: "field of a local header", late: func(r *rand.Rand, z *zipFile) { oddField(r, &z.any(r).local) }},
	{name: "field of a directory's record", late: func(r *rand.Rand, z *zipFile) { oddField(r, &z.any(r).central) }},
	{name: "field of both", late: func(r *rand.Rand, z *zipFile) {
		m := z.any(r)
		oddField(r, &m.central)
		same := m.central
		same.name, same.extra = m.local.name, m.local.extra
		m.local = same
	}},
	{name: "flag in a local header", late: func(r *rand.Rand, z *zipFile) { z.any(r).local.flags ^= 1 << r.IntN(16) }},
	{name: "flag in the directory", late: func(r *rand.Rand, z *zipFile) { z.any(r).central.flags ^= 1 << r.IntN(16) }},
	{name: "flag in both", late: func(r *rand.Rand, z *zipFile) {
		bit := uint16(1) << r.IntN(16)
		z.any(r).both(func(h *zipHeader) { h.flags ^= bit })
	}},
	{name: "version needed", late: func(r *rand.Rand, z *zipFile) {
		need := pick[uint16](r, 0, 10, 45, 46, 51, 62, 63, 64, 90, 255, 10<<8|20, 63<<8|20, math.MaxUint16)
		m := z.any(r)
		pick(r, func() { m.local.need = need }, func() { m.central.need = need }, func() { m.both(func(h *zipHeader) { h.need = need }) })()
	}},
	{name: "DOS attributes", late: func(r *rand.Rand, z *zipFile) {
		m := z.any(r)
		m.maker, m.attributes = pick(r, m.maker, uint16(r.IntN(21))<<8|20), m.attributes|1<<r.IntN(8)
	}},
	{name: "file type", late: func(r *rand.Rand, z *zipFile) {
		m := z.any(r)
		m.maker = pick(r, m.maker, uint16(r.IntN(21))<<8|20, 30<<8|20)
		m.attributes = m.attributes&0xffff | uint32(r.IntN(16))<<28 | 0o644<<16
	}},
	{name: "disk", late: func(r *rand.Rand, z *zipFile) { z.any(r).disk = pick[uint16](r, 1, math.MaxUint16) }},
	{name: "internal attributes", late: func(r *rand.Rand, z *zipFile) { z.any(r).internal = uint16(r.IntN(1 << 16)) }},
	{name: "offset", late: func(r *rand.Rand, z *zipFile) {
		m := z.any(r)
		m.offset = pick(r, near(r, m.offset), z.any(r).offset)
	}},
	{name: "sizes of another member", late: func(r *rand.Rand, z *zipFile) {
		from, to := z.any(r), z.any(r)
		h := pick(r, &to.local, &to.central)
		h.crc, h.packed, h.size = from.central.crc, from.central.packed, from.central.size
	}},
	{name: "other method", late: func(r *rand.Rand, z *zipFile) {
		m := z.any(r)
		pick(r, &m.local, &m.central).method = pick[uint16](r, stored, deflated, 1, 9, 12, 14, 93, 95, 99)
	}},
	{name: "field of the end record", late: func(r *rand.Rand, z *zipFile) { oddEnd(r, &z.end) }},
	{name: "field of the zip64 end record", early: func(_ *rand.Rand, z *zipFile) { z.end.wide = true }, late: func(r *rand.Rand, z *zipFile) { oddEnd64(r, &z.end) }},
	{name: "values in both end records", early: func(_ *rand.Rand, z *zipFile) { z.end.wide = true }, late: func(r *rand.Rand, z *zipFile) {
		e := &z.end
		e.here, e.count = uint16(e.count64), uint16(e.count64)
		e.size, e.offset = pick(r, uint32(e.size64), e.size), pick(r, uint32(e.offset64), e.offset)
		if chance(r, 2) {
			oddEnd(r, e)
		}
	}},
	{name: "extensible data", early: func(r *rand.Rand, z *zipFile) {
		z.end.wide = true
		inner := z.end
		inner.count64 = 1
		z.end.extensible = pick(r, inner.record64(), inner.locator(), (&zipEnd{}).bytes(), extraField(0x1234, []byte("abcd")), make([]byte, 16), debris(r))
	}},
	{name: "two zip64 end records", early: func(_ *rand.Rand, z *zipFile) { z.end.wide = true }, late: func(r *rand.Rand, z *zipFile) {
		other := z.end
		other.count64, other.size64 = other.count64-1, other.size64/2
		if z.end.between = other.record64(); chance(r, 2) {
			z.behindDir, z.end.between = z.end.between, nil
			z.end.locatorAt += uint64(len(z.behindDir))
		}
	}},
	{name: "bytes before the locator", early: func(r *rand.Rand, z *zipFile) { z.end.wide, z.end.between = true, debris(r) }},
	{name: "no locator", early: func(_ *rand.Rand, z *zipFile) { z.end.wide, z.end.unlocated = true, true }},
}

func oddField(r *rand.Rand, h *zipHeader) {
	pick(r,
		func() { h.need = near(r, h.need) }, func() { h.flags = near(r, h.flags) }, func() { h.method = near(r, h.method) }, func() { h.crc = near(r, h.crc) },
		func() { h.packed = near(r, h.packed) }, func() { h.size = near(r, h.size) }, func() { h.size, h.packed = near(r, h.size), near(r, h.packed) })()
}

func oddEnd(r *rand.Rand, e *zipEnd) {
	pick(r,
		func() { e.disk = near(r, e.disk) }, func() { e.dirDisk = near(r, e.dirDisk) }, func() { e.here = near(r, e.here) }, func() { e.count = near(r, e.count) },
		func() { e.here, e.count = e.here-1, e.count-1 }, func() { e.size = near(r, e.size) }, func() { e.offset = near(r, e.offset) },
		func() { e.disk, e.dirDisk = math.MaxUint16, math.MaxUint16 })()
}

func oddEnd64(r *rand.Rand, e *zipEnd) {
	pick(r,
		func() { e.need = near(r, e.need) }, func() { e.recordSize = near(r, e.recordSize) }, func() { e.disk64 = near(r, e.disk64) },
		func() { e.count64 = near(r, e.count64) }, func() { e.size64 = near(r, e.size64) }, func() { e.offset64 = near(r, e.offset64) },
		func() { e.locatorDisk = near(r, e.locatorDisk) }, func() { e.locatorAt = near(r, e.locatorAt) }, func() { e.locatorDisks = near(r, e.locatorDisks) })()
}

var zipMutations = slices.Concat(zipStructure, zipMembers, zipFields)
