package archive

import (
	"bytes"
	"math"
	"strings"
	"testing"
)

// ambiguousZips are zips that one reader takes for something else than another.
func ambiguousZips() map[string]hostile {
	const name = "a/A/a.sym"
	one := func(change func(e *entry)) []byte {
		e := deflated(name, symText)
		change(e)
		return between(e)
	}
	field := func(tag uint16, content string) []byte {
		return append(le.AppendUint16(le.AppendUint16(nil, tag), uint16(len(content))), content...)
	}
	extras := func(fields []byte) func(e *entry) { return func(e *entry) { e.extra = fields } }
	locals := func(fields []byte) func(e *entry) { return func(e *entry) { e.localExtra = fields } }
	path := func(name string) []byte { return field(tagUnicodePath, "\x01\x00\x00\x00\x00"+name) }
	central := func(change func(r []byte)) func(e *entry) { return func(e *entry) { e.central = change } }
	end := func(fix func(dir, end []byte) ([]byte, []byte)) []byte { return makeZip([]*entry{goodSym()}, fix) }
	behind := func(bytes string) []byte {
		e := goodPlain()
		e.descriptor = []byte(bytes)
		return makeZip([]*entry{fill(e), deflated("b/B/b.sym", "b")}, nil)
	}
	hidden := string(stored("h/A/h.sym", "hidden").localHeader()) + "hidden"
	return map[string]hostile{
		"an end record in the comment": {end(commentedEnd("PK\x05\x06" + strings.Repeat("\x00", 18))), "two end records"},
		"its signature alone":          {end(commentedEnd("PK\x05\x06")), "two end records"},
		"a directory in the comment":   {secondDirectory(), "two end records"},
		"more in the zip64 record":     {end(extensible("junk")), "not right before its locator"},
		"zeros in the zip64 record":    {end(extensible("\x00\x00\x00\x00")), "not right before its locator"},
		"another zip64 record in it":   {end(extensible(string(le.AppendUint32(nil, end64Sig)) + strings.Repeat("\x00", 52))), "not right before its locator"},

		"another Unicode path":          {one(extras(path("evil/A/a.sym"))), "another name in its Unicode path field"},
		"another local Unicode path":    {one(locals(path("evil/A/a.sym"))), "another name in its Unicode path field"},
		"Unicode path in another case":  {one(extras(path("a/A/a.SYM"))), "another name"},
		"an empty Unicode path":         {one(extras(path(""))), "another name"},
		"a Unicode path cut short":      {one(extras(field(tagUnicodePath, "\x01\x00"))), "another name"},
		"two Unicode paths":             {one(extras(append(path(name), path(name)...))), "extra fields"},
		"two zip64 fields":              {one(extras(append(field(tagZip64, ""), field(tagZip64, "")...))), "extra fields"},
		"an extra field that overruns":  {one(extras([]byte{9, 9, 2, 0, 'x'})), "extra fields"},
		"a local one that overruns":     {one(locals([]byte{9, 9, 2, 0, 'x'})), "extra fields"},
		"something behind extra fields": {one(extras([]byte{9, 9, 0, 0, 'x'})), "extra fields"},

		"a member that is not listed":  {behind(hidden), "belong to no member"},
		"a few bytes between":          {behind("gap"), "3 bytes at"},
		"zeros, and a byte":            {behind("\x00\x00\x00x"), "belong to no member"},
		"zeros without an end":         {behind(strings.Repeat("\x00", maxPadding+1)), "belong to no member"},
		"a descriptor nobody promised": {behind("PK\x07\x08" + strings.Repeat("x", 12)), "belong to no member"},
		"bytes before the first one":   {gapInFront(), "belong to no member"},
		"bytes before the directory":   {makeZip([]*entry{fill(withDescriptor(goodPlain(), "gap"))}, nil), "belong to no member"},

		"a directory of DOS with data":      {one(central(func(r []byte) { r[5], r[38] = 0, 0x10 })), "directory by its attributes"},
		"an empty directory of DOS":         {between(&entry{name: name, central: func(r []byte) { r[5], r[38] = 0, 0x10 }}), "directory by its attributes"},
		"a volume's label":                  {one(central(func(r []byte) { r[38] = 0x08 })), "not a regular file"},
		"a symbolic link made by DOS":       {one(func(e *entry) { e.mode = 0o120777; e.central = func(r []byte) { r[5] = 0 } }), "not a regular file"},
		"needs version 6.4":                 {one(central(func(r []byte) { r[6] = 64 })), "needs version 6.4"},
		"needs version 6.4, locally":        {one(func(e *entry) { e.local = func(r []byte) []byte { r[4] = 64; return r } }), "contradicts"},
		"a disk that zip64 says nothing of": {one(central(func(r []byte) { r[34], r[35] = 0xff, 0xff })), "zip64 field"},
		"sizes of all ones without zip64":   {descriptorFilled(), "contradicts"},
		"a descriptor too wide":             {descriptorWide(), "data descriptor"},
		"a descriptor not wide enough":      {descriptorNarrow(), "data descriptor"},
		"stored, a bare descriptor":         {descriptorBare(), "data descriptor"},
		"a descriptor inside a member":      {descriptorInside(), "data descriptor at 5"},

		"a name of DOS that is not ASCII":        {one(func(e *entry) { e.name = "gr\x94\xe1e/A/a.sym"; e.central = func(r []byte) { r[5] = 0 } }), "not in UTF-8"},
		"a name of DOS in UTF-8, not marked":     {one(func(e *entry) { e.name = "größe/A/a.sym"; e.central = func(r []byte) { r[5] = 0 } }), "not in UTF-8"},
		"a name of Unix that is not UTF-8":       {one(func(e *entry) { e.name = "gr\xf6\xdfe/A/a.sym" }), "not in UTF-8"},
		"a name that claims UTF-8":               {one(func(e *entry) { e.name = "gr\xf6\xdfe/A/a.sym"; e.flags = flagUTF8 }), "not in UTF-8"},
		"a name that is UTF-8 in one place only": {one(func(e *entry) { e.name = "größe/A/a.sym"; e.central = func(r []byte) { r[9] |= flagUTF8 >> 8 } }), "contradicts"},
	}
}

func withDescriptor(e *entry, bytes string) *entry {
	e.descriptor = []byte(bytes)
	return e
}

// secondDirectory is a zip with a second directory and end record in its comment, without the first member.
func secondDirectory() []byte {
	whole := makeZip([]*entry{goodPlain(), deflated("b/B/b.sym", "b")}, nil)
	at := len(goodPlain().localHeader()) + len(symText)
	record := deflated("b/B/b.sym", "b").record(uint32(at))
	second := append(le.AppendUint32(nil, endSig), 0, 0, 0, 0, 1, 0, 1, 0)
	second = le.AppendUint32(le.AppendUint32(second, uint32(len(record))), uint32(len(whole)))
	comment := append(record, append(second, 0, 0)...)
	le.PutUint16(whole[len(whole)-2:], uint16(len(comment)))
	return append(whole, comment...)
}

// extensible puts data behind the zip64 end record's own.
func extensible(data string) func(dir, end []byte) ([]byte, []byte) {
	return func(dir, end []byte) ([]byte, []byte) {
		size := len(dir)
		dir, end = withEnd64(nil)(dir, end)
		le.PutUint64(dir[size+4:], uint64(end64Size-12+len(data)))
		locator := bytes.Clone(dir[size+end64Size:])
		return append(append(dir[:size+end64Size], data...), locator...), end
	}
}

// gapInFront is a zip with another member in front of the first one it lists.
func gapInFront() []byte {
	e := stored("h/A/h.sym", "hidden")
	inFront := append(e.localHeader(), e.data...)
	return append(inFront, makeZip([]*entry{func() *entry {
		e := goodPlain()
		e.central = func(r []byte) { le.PutUint32(r[42:], uint32(len(inFront))) }
		return e
	}()}, func(dir, end []byte) ([]byte, []byte) {
		le.PutUint32(end[16:], le.Uint32(end[16:])+uint32(len(inFront)))
		return dir, end
	})...)
}

func descriptorOf(crc uint32, sizes ...int) []byte {
	d := le.AppendUint32(le.AppendUint32(nil, descriptorSig), crc)
	for _, n := range sizes {
		d = le.AppendUint32(d, uint32(n))
	}
	return d
}

func descriptorFilled() []byte {
	e := goodSym()
	e.flags, e.descriptor = flagDescriptor, descriptorOf(e.crc, len(e.data), len(symText))
	e.local = func(r []byte) []byte { le.PutUint64(r[18:], math.MaxUint64); return r }
	return between(e)
}

func descriptorWide() []byte {
	e := goodSym()
	e.flags, e.descriptor = flagDescriptor, descriptorOf(e.crc, len(e.data), 0, len(symText), 0)
	return between(e)
}

func descriptorNarrow() []byte {
	e := goodSym()
	e.flags, e.descriptor = flagDescriptor, descriptorOf(e.crc, len(e.data), len(symText))
	e.localExtra = append([]byte{1, 0, 16, 0}, make([]byte, 16)...)
	return between(e)
}

func descriptorBare() []byte {
	e := goodPlain()
	e.flags, e.descriptor = flagDescriptor, descriptorOf(e.crc, len(e.data), len(e.data))[4:]
	return between(e)
}

// descriptorInside is a stored member that a reader of the stream takes for a shorter one, and another behind it.
func descriptorInside() []byte {
	first, other := stored("a/A/a.sym", "12345"), stored("h/A/h.sym", "hidden")
	inner := string(descriptorOf(first.crc, 5, 5)) + string(other.localHeader()) + other.data
	e := stored("a/A/a.sym", "12345"+inner)
	e.flags, e.descriptor = flagDescriptor, descriptorOf(e.crc, len(e.data), len(e.data))
	return between(e)
}

func TestAmbiguousZips(t *testing.T) {
	for name, c := range ambiguousZips() {
		t.Run(name, func(t *testing.T) {
			if got := rejected(t, c.data, roomy, ErrInvalid); !strings.Contains(got, c.want) {
				t.Errorf("%q does not say %q", got, c.want)
			}
		})
	}
}

// Descriptors of other sizes than theirs, or of other bytes, are content like any other.
func TestDescriptorsInContent(t *testing.T) {
	other := strings.Repeat("x", bufSize-2) + string(descriptorOf(1, bufSize-2, bufSize-2)) + "PK\x07\x08" + strings.Repeat("y", bufSize) + "PK\x07"
	e := stored("a/A/a.pdb", other)
	e.flags, e.descriptor = flagDescriptor, descriptorOf(e.crc, len(other), len(other))
	a, _, err := verify(t.Context(), makeZip([]*entry{e}, nil), roomy)
	must(t, err)
	if contents(t, a)["a/A/a.pdb"] != other {
		t.Error("read differently")
	}
}

// What is left of a split, joined to one file, is a zip like any other.
func TestMarksOfSplitZips(t *testing.T) {
	for _, mark := range []string{splitMark, oneDiskMark} {
		e := deflated("a/A/a.sym", symText)
		e.central = func(r []byte) { r[42] += byte(len(mark)) }
		joined := append([]byte(mark), makeZip([]*entry{e}, func(dir, end []byte) ([]byte, []byte) {
			le.PutUint32(end[16:], le.Uint32(end[16:])+uint32(len(mark)))
			return dir, end
		})...)
		a, _, err := verify(t.Context(), joined, roomy)
		if err != nil {
			t.Errorf("%q: %v", mark, err)
		} else if got := contents(t, a); got["a/A/a.sym"] != symText {
			t.Errorf("%q: %q", mark, got)
		}
	}
}
