package archive

import (
	"bytes"
	"errors"
	"maps"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"tecken-upload/internal/archive/tartest"
)

// A hostile archive must be refused, and want is what the refusal must say. They seed the fuzzer too.
type hostile struct {
	data []byte
	want string
}

// hostileZips are zips with one thing wrong.
func hostileZips() map[string]hostile {
	all := hostileMembers()
	maps.Copy(all, hostileDirectories())
	return all
}

// between puts e behind a member that is well.
func between(e *entry) []byte { return makeZip([]*entry{stored("b/B/b.sym", "b"), e}, nil) }

// noDistances is a deflate stream of zeros with a match in a block without distance codes; in staleDistances, the block before has one.
const (
	noDistances    = "\x0d\xe0\x01\x09\x00\x00\x00\x80\x20\xf8\x7f\x75\x61\x01"
	staleDistances = "\x0c\xe0\x01\x09\x00\x00\x00\x80\x20\xf8\x7f\x75\x69\x35\x80\x07\x24\x00\x00\x00\x00\x82\xe0\xff\xd5\x85\x05"
)

func goodSym() *entry   { return deflated("a/A/a.sym", symText) }
func goodPlain() *entry { return stored("a/A/a.sym", symText) }

func hostileMembers() map[string]hostile {
	one, sym, plain := between, goodSym, goodPlain
	changed := func(e *entry, change func(e *entry)) []byte { change(e); return one(e) }
	central := func(e *entry, change func(rec []byte)) []byte { e.central = change; return one(e) }
	local := func(e *entry, change func(rec []byte)) []byte {
		e.local = func(rec []byte) []byte { change(rec); return rec }
		return one(e)
	}
	return map[string]hostile{
		"encrypted":        {changed(sym(), func(e *entry) { e.flags = 1 }), "is encrypted"},
		"strong encrypted": {changed(sym(), func(e *entry) { e.flags = 1 << 6 }), "is encrypted"},
		"masked directory": {changed(sym(), func(e *entry) { e.flags = 1 << 13 }), "is encrypted"},
		"encrypted in the local header only": {
			local(sym(), func(r []byte) { r[6] |= 1 }), "local header of member 'a/A/a.sym' contradicts"},
		"patched data": {changed(sym(), func(e *entry) { e.flags = 1 << 5 }), "only stored and deflated"},
		"method 95":    {changed(sym(), func(e *entry) { e.method = 95 }), "method 95"},
		"deflate64":    {changed(sym(), func(e *entry) { e.method = 9 }), "make the zip with 7-Zip"},
		"symlink":      {changed(plain(), func(e *entry) { e.mode = 0o120777 }), "not a regular file"},
		"device":       {changed(plain(), func(e *entry) { e.mode = 0o060644 }), "not a regular file"},
		"directory by mode": {
			changed(plain(), func(e *entry) { e.mode = 0o040755 }), "not a regular file"},
		"directory with content": {one(stored("a/", "content")), "is a directory, but has content"},

		"inflates to more":  {changed(sym(), func(e *entry) { e.size-- }), "more than the"},
		"inflates to less":  {changed(sym(), func(e *entry) { e.size++ }), "instead of the"},
		"stored sizes":      {changed(plain(), func(e *entry) { e.size++ }), "its two sizes differ"},
		"wrong CRC":         {changed(sym(), func(e *entry) { e.crc ^= 1 }), "its CRC-32 is"},
		"CRC 0":             {changed(sym(), func(e *entry) { e.crc = 0 }), "its CRC-32 is"},
		"stored, CRC 0":     {changed(plain(), func(e *entry) { e.crc = 0 }), "its CRC-32 is"},
		"trailing byte":     {changed(sym(), func(e *entry) { e.data += "\x00" }), "1 bytes after the end"},
		"trailing member":   {changed(sym(), func(e *entry) { e.data += deflate("more") }), "bytes after the end"},
		"trailing megabyte": {changed(sym(), func(e *entry) { e.data += strings.Repeat("x", 1<<20) }), "1048576 bytes after"},
		"cut stream":        {changed(sym(), func(e *entry) { e.data = e.data[:len(e.data)-1] }), "ends too early"},
		"no stream":         {changed(sym(), func(e *entry) { e.data = "" }), "ends too early"},
		"stale distances":   {changed(sym(), func(e *entry) { e.data = staleDistances }), "is damaged"},
		"no distances":      {changed(sym(), func(e *entry) { e.data = noDistances }), "is damaged"},
		"garbage stream":    {changed(sym(), func(e *entry) { e.data = "\xff\xff\xff" }), "is damaged"},

		"other local name": {local(sym(), func(r []byte) { r[localSize] = 'c' }), "contradicts"},
		"other local CRC":  {local(sym(), func(r []byte) { r[14] ^= 1 }), "contradicts"},
		"other local size": {local(sym(), func(r []byte) { r[22] ^= 1 }), "contradicts"},
		"other local data": {local(sym(), func(r []byte) { r[18] ^= 1 }), "contradicts"},
		"other method":     {local(sym(), func(r []byte) { r[8] = 0 }), "contradicts"},
		"no local header":  {local(sym(), func(r []byte) { r[0] = 'p' }), "is not where"},
		"local name runs out of the file": {
			local(sym(), func(r []byte) { r[27] = 0xff }), "is not where"},
		"wrong descriptor": {
			changed(sym(), func(e *entry) { e.flags, e.descriptor = flagDescriptor, make([]byte, 16) }), "data descriptor"},
		"no descriptor": {
			changed(sym(), func(e *entry) { e.flags, e.descriptor = flagDescriptor, []byte{} }), "data descriptor"},
		"descriptor only in the central directory": {
			central(sym(), func(r []byte) { r[8] |= flagDescriptor }), "contradicts"},
	}
}

func hostileDirectories() map[string]hostile {
	one, sym, plain := between, goodSym, goodPlain
	changed := func(e *entry, change func(e *entry)) []byte { change(e); return one(e) }
	end := func(change func(end []byte)) []byte {
		return makeZip([]*entry{sym()}, func(dir, end []byte) ([]byte, []byte) { change(end); return dir, end })
	}
	central := func(e *entry, change func(rec []byte)) []byte { e.central = change; return one(e) }
	return map[string]hostile{
		"data outside": {central(sym(), func(r []byte) { le.PutUint32(r[20:], 1<<30) }), "is not where"},
		"header outside": {
			central(sym(), func(r []byte) { le.PutUint32(r[42:], 1<<30) }), "is not where"},
		"header in the directory": {
			makeZip([]*entry{stored("b/B/b.sym", "b"), {name: "a/A/a.sym", at: ref(47)}}, nil), "is not where"},
		"one member listed twice":  {makeZip([]*entry{sym(), func() *entry { e := sym(); e.at = ref(0); return e }()}, nil), "overlap"},
		"members that overlap":     {overlapping(2, 100), "overlap"},
		"a bomb of overlaps":       {overlapping(90, 1000), "overlap"},
		"member of another volume": {central(sym(), func(r []byte) { r[34] = 1 }), "split archive"},
		"zip64 field cut": {
			changed(sym(), func(e *entry) {
				e.extra = []byte{1, 0, 4, 0, 0, 0, 0, 0}
				e.central = func(r []byte) { le.PutUint32(r[24:], math.MaxUint32) }
			}), "zip64 field"},
		"zip64 size negative": {
			changed(sym(), func(e *entry) {
				e.extra = le.AppendUint64([]byte{1, 0, 8, 0}, 1<<63)
				e.central = func(r []byte) { le.PutUint32(r[24:], math.MaxUint32) }
			}), "zip64 field"},

		"directory before the file":  {end(func(e []byte) { le.PutUint32(e[16:], 1<<31) }), "central directory is not where"},
		"directory shifted":          {end(func(e []byte) { e[16]++ }), "central directory is not where"},
		"directory longer":           {end(func(e []byte) { e[12]++ }), "central directory is not where"},
		"counts more":                {end(func(e []byte) { e[8]++; e[10]++ }), "too small for the 2 entries"},
		"counts less":                {makeZip([]*entry{sym(), plain()}, countLess), "lists more entries"},
		"second disk":                {end(func(e []byte) { e[4] = 1 }), "split archive"},
		"other count on this disk":   {end(func(e []byte) { e[8]++ }), "split archive"},
		"the first volume":           {append([]byte(splitMark), one(sym())[:60]...), "split archive"},
		"a middle volume":            {[]byte("no beginning, and no end"), "not an archive"},
		"the last volume":            {append([]byte("no beginning"), end(func(e []byte) { e[4] = 4 })...), "split archive"},
		"two marks":                  {append([]byte(splitMark+oneDiskMark), one(sym())...), "not an archive"},
		"a mark that is not counted": {append([]byte(splitMark), one(sym())...), "is not where"},
		"comment longer":             {end(func(e []byte) { e[20] = 1 }), "does not end with its end record"},
		"trailing bytes":             {append(one(sym()), "trailing"...), "does not end with its end record"},
		"bytes before it":            {append([]byte("#!/bin/sh\n"), one(sym())...), "not an archive"},
		"members before it":          {append([]byte("PK\x03\x04"), one(sym())...), "central directory is not where"},
		"record cut":                 {central(sym(), func(r []byte) { r[28]++ }), "ends inside an entry's record"},
		"records run out":            {makeZip([]*entry{sym()}, recordRunsOut), "ends inside an entry's record"},
		"nothing in it":              {makeZip(nil, nil), "archive is empty"},
		"only ignored members in it": {makeZip([]*entry{stored("x-symbols.txt", "x"), stored("x/", "")}, nil), "no symbol file"},
	}
}

func countLess(dir, end []byte) ([]byte, []byte) {
	end[8]--
	end[10]--
	return dir, end
}

func recordRunsOut(dir, end []byte) ([]byte, []byte) {
	dir[30] = 0xff
	return dir, end
}

// overlapping is the zip bomb construction: n members, the data of each going on over all that follow it.
func overlapping(n, size int) []byte {
	var entries []*entry
	for i := range n {
		entries = append(entries, stored(string(rune('a'+i%26))+"/"+strings.Repeat("A", 1+i/26)+"/x.pdb", strings.Repeat("\x00", size)))
	}
	return nest(entries)
}

// nest writes entries with overlapping data: every member's data goes on to the end of the last.
func nest(entries []*entry) []byte {
	headers := 0
	for _, e := range entries {
		headers += localSize + len(e.name)
	}
	at := 0
	kernel := len(entries[len(entries)-1].data)
	for _, e := range entries {
		at += localSize + len(e.name)
		length := uint32(headers - at + kernel)
		e.central = func(rec []byte) { le.PutUint32(rec[20:], length); le.PutUint32(rec[24:], length) }
		e.local = func(rec []byte) []byte { le.PutUint32(rec[18:], length); le.PutUint32(rec[22:], length); return rec }
	}
	for _, e := range entries[:len(entries)-1] {
		e.data = ""
	}
	return makeZip(entries, nil)
}

func TestHostileZip(t *testing.T) {
	noLeak(t)
	for name, c := range hostileZips() {
		t.Run(name, func(t *testing.T) {
			if got := rejected(t, c.data, roomy, ErrInvalid); !strings.Contains(got, c.want) {
				t.Errorf("%q does not say %q", got, c.want)
			}
		})
	}
}

// What the headers of a zip claim is compared with the limits before a byte is inflated.
func TestZipDeclaresTooMuch(t *testing.T) {
	huge := deflated("a/A/a.sym", "")
	huge.size = math.MaxUint32 - 1
	if got := rejected(t, makeZip([]*entry{huge}, nil), roomy, ErrTooLarge); !strings.Contains(got, "4294967294 bytes") {
		t.Error(got)
	}
	huge.extra = le.AppendUint64([]byte{1, 0, 8, 0}, math.MaxInt64)
	huge.central = func(r []byte) { le.PutUint32(r[24:], math.MaxUint32) }
	unlimited := Limits{MaxMembers: 10, MaxMemberSize: math.MaxInt64, MaxExtractedSize: math.MaxInt64}
	other := stored("b/B/b.sym", "b")
	if got := rejected(t, makeZip([]*entry{other, huge}, nil), unlimited, ErrTooLarge); !strings.Contains(got, "together") {
		t.Error(got)
	}
}

// More members than allowed are refused by their number in the end record: the directory is not read.
func TestZipEndRecordLimits(t *testing.T) {
	zip := makeZip([]*entry{stored("a/A/a.sym", "a")}, func(dir, end []byte) ([]byte, []byte) {
		le.PutUint16(end[8:], 60000)
		le.PutUint16(end[10:], 60000)
		return dir, end
	})
	if got := rejected(t, zip, roomy, ErrTooLarge); !strings.Contains(got, "more than 1400 entries") {
		t.Error(got)
	}
	var fat []*entry
	for range 10 {
		e := stored("a/A/a.sym", "a")
		e.comment = strings.Repeat("c", math.MaxUint16)
		fat = append(fat, e)
	}
	if got := rejected(t, makeZip(fat, nil), roomy, ErrTooLarge); !strings.Contains(got, "central directory has") {
		t.Error(got)
	}
}

// A member that goes on and on costs no more than what it declared, nor a tar more than the limits.
func TestBombIsBounded(t *testing.T) {
	noise := make([]byte, 2<<20)
	_, _ = rand.NewChaCha8([32]byte{}).Read(noise)
	bomb := deflated("a/A/a.pdb", string(noise))
	bomb.size = 1 << 10
	if got := readBy(t, makeZip([]*entry{bomb}, nil), ErrInvalid); got > 4*bufSize {
		t.Errorf("zip: %d bytes read", got)
	}
	small := tarOf(t, []file{{"a/A/a.pdb", ""}})
	for _, format := range []string{"tar", "tar.gz", "tar.zst"} {
		big := tartest.Compress(t, format, tarOf(t, []file{{"a/A/a.pdb", string(noise)}}))
		if got := readBy(t, big, ErrTooLarge); got > 8*bufSize {
			t.Errorf("%s: %d bytes read of a large member", format, got)
		}
		tail := tartest.Compress(t, format, append(small, noise...))
		if got := readBy(t, tail, ErrInvalid); got > 8*bufSize {
			t.Errorf("%s: %d bytes read of what follows the tar", format, got)
		}
	}
	for _, format := range formats[1:] {
		zeros := tartest.Compress(t, format, append(small, make([]byte, 6<<20)...))
		if got := readBy(t, zeros, ErrTooLarge); got > roomyMembers*(4<<10)+2<<20+8*bufSize {
			t.Errorf("%s: %d bytes read of the zeros that follow the tar", format, got)
		}
	}
}

// readBy returns how many bytes are read of data before it is refused.
func readBy(t *testing.T, data []byte, kind error) int64 {
	t.Helper()
	read := &counted{Reader: bytes.NewReader(data)}
	a, err := Open(t.Context(), read, int64(len(data)), roomy, new(desk))
	must(t, err)
	if _, err = collect(t.Context(), a); !errors.Is(err, kind) {
		t.Errorf("got %v, want %v", err, kind)
	}
	return read.n
}

// counted counts the bytes read of a file.
type counted struct {
	*bytes.Reader
	n int64
}

func (c *counted) ReadAt(p []byte, off int64) (int, error) {
	n, err := c.Reader.ReadAt(p, off)
	c.n += int64(n)
	return n, err
}

// Zips that are unusual, but well-formed.
func TestUnusualZips(t *testing.T) {
	const name = "a/A/a.sym"
	crcSizes := func(wide, sig bool) *entry {
		e := deflated(name, symText)
		e.flags = flagDescriptor
		if sig {
			e.descriptor = le.AppendUint32(nil, descriptorSig)
		}
		e.descriptor = le.AppendUint32(e.descriptor, e.crc)
		for _, n := range []int{len(e.data), len(symText)} {
			if wide {
				e.descriptor = le.AppendUint64(e.descriptor, uint64(n))
			} else {
				e.descriptor = le.AppendUint32(e.descriptor, uint32(n))
			}
		}
		return e
	}
	zip64Later := func(e *entry) *entry {
		e.localExtra = append([]byte{1, 0, 16, 0}, make([]byte, 16)...)
		return e
	}
	zip64 := func(e *entry) *entry {
		e.localExtra = le.AppendUint64(le.AppendUint64([]byte{9, 9, 1, 0, 'x', 1, 0, 16, 0}, e.size), uint64(len(e.data)))
		e.extra = le.AppendUint64(le.AppendUint64(le.AppendUint64([]byte{1, 0, 24, 0}, e.size), uint64(len(e.data))), 0)
		e.local = func(r []byte) []byte { le.PutUint64(r[18:], math.MaxUint64); return r }
		e.central = func(r []byte) { le.PutUint64(r[20:], math.MaxUint64); le.PutUint32(r[42:], math.MaxUint32) }
		return e
	}
	sizeKnown := crcSizes(false, true)
	sizeKnown.local = func(r []byte) []byte { le.PutUint32(r[22:], uint32(len(symText))); return r }
	jar := deflated("a/", "")
	jar.flags, jar.descriptor = flagDescriptor, le.AppendUint64(le.AppendUint64(nil, descriptorSig), uint64(len(jar.data)))
	dos := stored(name, symText)
	dos.central = func(r []byte) { r[5], r[38] = 0, 0x27 } // read only, hidden, a system's, archived
	aligned := stored("b/B/b.sym", "b")
	aligned.descriptor = make([]byte, 4096)
	padded := deflated(name, symText)
	padded.extra, padded.localExtra = make([]byte, 3), make([]byte, 9)
	path := append([]byte{1, 1, 2, 3, 4}, name...)
	twoNames := deflated(name, symText)
	twoNames.extra = append(le.AppendUint16(le.AppendUint16(nil, tagUnicodePath), uint16(len(path))), path...)
	twoNames.localExtra = twoNames.extra
	needs := deflated(name, symText)
	needs.central = func(r []byte) { r[6], r[7] = 63, 9 }
	for what, data := range map[string][]byte{
		"descriptor with signature":      makeZip([]*entry{crcSizes(false, true)}, nil),
		"descriptor without signature":   makeZip([]*entry{crcSizes(false, false)}, nil),
		"descriptor of zip64":            makeZip([]*entry{zip64Later(crcSizes(true, true))}, nil),
		"descriptor of zip64, no sig":    makeZip([]*entry{zip64Later(crcSizes(true, false))}, nil),
		"descriptor, size known before":  makeZip([]*entry{sizeKnown}, nil),
		"a directory that is deflated":   makeZip([]*entry{crcSizes(false, true), jar}, nil),
		"zip64 member":                   makeZip([]*entry{zip64(deflated(name, symText))}, nil),
		"zip64 stored member":            makeZip([]*entry{zip64(stored(name, symText))}, nil),
		"zip64 end record":               makeZip([]*entry{deflated(name, symText)}, withEnd64(nil)),
		"other flags, other creator":     makeZip([]*entry{func() *entry { e := deflated(name, symText); e.flags = 1<<11 | 6; return e }()}, nil),
		"MS-DOS attributes":              makeZip([]*entry{dos}, nil),
		"regular file by mode":           makeZip([]*entry{func() *entry { e := stored(name, symText); e.mode = 0o100644; return e }()}, nil),
		"zeros between members":          makeZip([]*entry{fill(aligned), deflated(name, symText)}, nil),
		"zeros before the directory":     makeZip([]*entry{deflated(name, symText), fill(aligned)}, nil),
		"zeros behind the extra fields":  makeZip([]*entry{padded}, nil),
		"its own name as a Unicode path": makeZip([]*entry{twoNames}, nil),
		"needs version 6.3":              makeZip([]*entry{needs}, nil),
		"deflated with empty blocks":     makeZip([]*entry{emptyBlocks(name)}, nil),
		"zeros after the end":            append(makeZip([]*entry{deflated(name, symText)}, nil), make([]byte, 9000)...),
		"a comment":                      makeZip([]*entry{deflated(name, symText)}, commentedEnd("no record: PK\x05\x05")),
	} {
		a, ms, err := verify(t.Context(), data, roomy)
		if err != nil {
			t.Errorf("%s: %v", what, err)
			continue
		}
		if got := contents(t, a)[name]; got != symText {
			t.Errorf("%s: %d members, content %q", what, len(ms), got)
		}
	}
}

// fill keeps the sizes in the local header although bytes without an owner follow the data.
func fill(e *entry) *entry {
	e.local = func(r []byte) []byte {
		le.PutUint32(r[14:], e.crc)
		le.PutUint32(r[18:], uint32(len(e.data)))
		le.PutUint32(r[22:], uint32(e.size))
		return r
	}
	return e
}

// emptyBlocks is a deflate stream that goes on with empty stored blocks, as Z_SYNC_FLUSH leaves them.
func emptyBlocks(name string) *entry {
	e := stored(name, symText)
	e.method = methodDeflated
	n := uint16(len(symText))
	block := le.AppendUint16(le.AppendUint16([]byte{0}, n), ^n)
	e.data = string(block) + symText + strings.Repeat("\x00\x00\x00\xff\xff", 50) + "\x01\x00\x00\xff\xff"
	return e
}

func commentedEnd(comment string) func(dir, end []byte) ([]byte, []byte) {
	return func(dir, end []byte) ([]byte, []byte) {
		le.PutUint16(end[20:], uint16(len(comment)))
		return dir, append(end, comment...)
	}
}

// withEnd64 puts a zip64 end record and its locator before the end record, and moves all values there.
func withEnd64(change func(rec, loc, end []byte)) func(dir, end []byte) ([]byte, []byte) {
	return func(dir, end []byte) ([]byte, []byte) {
		count, size, offset := uint64(le.Uint16(end[10:])), uint64(le.Uint32(end[12:])), uint64(le.Uint32(end[16:]))
		rec := le.AppendUint64(le.AppendUint32(nil, end64Sig), end64Size-12)
		rec = append(rec, 45, 3, 45, 0, 0, 0, 0, 0, 0, 0, 0, 0)
		for _, v := range []uint64{count, count, size, offset} {
			rec = le.AppendUint64(rec, v)
		}
		loc := le.AppendUint32(le.AppendUint32(nil, locatorSig), 0)
		loc = le.AppendUint32(le.AppendUint64(loc, offset+size), 1)
		le.PutUint32(end[8:], math.MaxUint32)
		le.PutUint64(end[12:], math.MaxUint64)
		if change != nil {
			change(rec, loc, end)
		}
		return append(append(dir, rec...), loc...), end
	}
}

func TestHostileEnd64(t *testing.T) {
	for name, c := range map[string]struct {
		want   string
		change func(rec, loc, end []byte)
	}{
		"no record":             {"not right before its locator", func(rec, _, _ []byte) { rec[0] = 0 }},
		"locator points away":   {"not right before its locator", func(_, loc, _ []byte) { loc[8]++ }},
		"locator points beyond": {"not right before its locator", func(_, loc, _ []byte) { loc[15] = 0xff }},
		"record too long":       {"not right before its locator", func(rec, _, _ []byte) { rec[4]++ }},
		"contradicting count":   {"contradicts its zip64", func(_, _, end []byte) { le.PutUint16(end[10:], 2) }},
		"contradicting size":    {"contradicts its zip64", func(_, _, end []byte) { le.PutUint32(end[12:], 1) }},
		"second disk":           {"split archive", func(rec, _, _ []byte) { rec[16] = 1 }},
		"other count here":      {"contradicts its zip64", func(_, _, end []byte) { le.PutUint16(end[8:], 2) }},
		"number of a disk":      {"contradicts its zip64", func(_, _, end []byte) { le.PutUint16(end[4:], 1) }},
		"locator of two disks":  {"split archive", func(_, loc, _ []byte) { loc[16] = 2 }},
		"locator of no disk":    {"split archive", func(_, loc, _ []byte) { loc[16] = 0 }},
		"locator's second disk": {"split archive", func(_, loc, _ []byte) { loc[4] = 1 }},
		"directory outside":     {"central directory is not where", func(rec, _, _ []byte) { rec[55] = 0xff }},
		"huge directory":        {"central directory is not where", func(rec, _, _ []byte) { rec[47] = 0xff }},
	} {
		data := makeZip([]*entry{deflated("a/A/a.sym", symText)}, withEnd64(c.change))
		if got := rejected(t, data, roomy, ErrInvalid); !strings.Contains(got, c.want) {
			t.Errorf("%s: %q does not say %q", name, got, c.want)
		}
	}
	data := makeZip([]*entry{deflated("a/A/a.sym", symText)}, withEnd64(func(rec, _, _ []byte) {
		le.PutUint64(rec[24:], 1<<40)
		le.PutUint64(rec[32:], 1<<40)
	}))
	rejected(t, data, roomy, ErrTooLarge)
}
