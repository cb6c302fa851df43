package differential

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
)

const block = 512 // bytes

// Fields of a tar header, by where they are.
var (
	nameField  = field{0, 100}
	modeField  = field{100, 8}
	uidField   = field{108, 8}
	gidField   = field{116, 8}
	sizeField  = field{124, 12}
	timeField  = field{136, 12}
	sumField   = field{148, 8}
	kindField  = field{156, 1}
	linkField  = field{157, 100}
	magicField = field{257, 8}
	userField  = field{265, 32}
	majorField = field{329, 8}
	minorField = field{337, 8}
	prefix     = field{345, 155}
	sparseMap  = field{386, 96}
	sparseMore = field{482, 1}
	sparseSize = field{483, 12}
	starMagic  = field{508, 4}
)

const (
	posixMagic = "ustar\x0000"
	gnuMagic   = "ustar  \x00"
)

type field struct{ at, length int }

// A tarEntry is a header of a tar with what follows it.
type tarEntry struct {
	header  [block]byte
	more    []byte // behind the header, but not counted in the size: the rest of a sparse file's map
	body    []byte
	records []string      // of an extended header; seal makes its body of them
	sum     func() string // writes the checksum's field in another way
	pad     byte          // fills the last block of the body
}

// A tarFile is a tar in parts.
type tarFile struct {
	entries []*tarEntry
	end     []byte
}

func (e *tarEntry) set(f field, value string) {
	clear(e.header[f.at : f.at+f.length])
	copy(e.header[f.at:f.at+f.length], value)
}

func (e *tarEntry) get(f field) string {
	value, _, _ := strings.Cut(string(e.header[f.at:f.at+f.length]), "\x00")
	return value
}

func (e *tarEntry) kind() byte { return e.header[kindField.at] }

// octal is n as a number field of that length holds it.
func octal(n, length int) string { return fmt.Sprintf("%0*o\x00", length-1, n) }

func newEntry(name string, kind byte, body []byte) *tarEntry {
	e := &tarEntry{body: body}
	e.set(nameField, name)
	for _, f := range []field{modeField, uidField, gidField} {
		e.set(f, octal(0, f.length))
	}
	e.set(modeField, octal(0o644, 8))
	e.set(timeField, octal(1_600_000_000, 12))
	e.set(kindField, string(kind))
	e.set(magicField, posixMagic)
	return e
}

// extended is a pax header of these keys and values.
func extended(kind byte, keysAndValues ...string) *tarEntry {
	e := newEntry("PaxHeaders/x", kind, nil)
	for i := 0; i < len(keysAndValues); i += 2 {
		e.records = append(e.records, record(keysAndValues[i], keysAndValues[i+1]))
	}
	return e
}

// record is a record of a pax header, with its length in front.
func record(key, value string) string {
	rest := " " + key + "=" + value + "\n"
	n := len(rest)
	for n != len(rest)+len(strconv.Itoa(n)) {
		n = len(rest) + len(strconv.Itoa(n))
	}
	return strconv.Itoa(n) + rest
}

// long is a GNU header that holds a name ('L') or a link's target ('K').
func long(kind byte, name string) *tarEntry {
	e := newEntry("././@LongLink", kind, []byte(name+"\x00"))
	e.set(magicField, gnuMagic)
	return e
}

// seal puts sizes right.
func (t *tarFile) seal() {
	for _, e := range t.entries {
		if e.records != nil {
			e.body = []byte(strings.Join(e.records, ""))
		}
		e.set(sizeField, octal(len(e.body), 12))
	}
}

// bytes writes the tar as it stands, each header with its checksum.
func (t *tarFile) bytes() []byte {
	var b bytes.Buffer
	for _, e := range t.entries {
		e.set(sumField, "        ")
		sum := 0
		for _, c := range e.header {
			sum += int(c)
		}
		e.set(sumField, fmt.Sprintf("%06o\x00 ", sum))
		if e.sum != nil {
			e.set(sumField, e.sum())
		}
		b.Write(e.header[:])
		b.Write(e.more)
		b.Write(e.body)
		b.Write(bytes.Repeat([]byte{e.pad}, -len(e.body)&(block-1)))
	}
	b.Write(t.end)
	return b.Bytes()
}

func (t *tarFile) any(r *rand.Rand) *tarEntry { return t.entries[r.IntN(len(t.entries))] }

// insert puts entries in front of the one at i.
func (t *tarFile) insert(i int, entries ...*tarEntry) {
	t.entries = slices.Insert(t.entries, i, entries...)
}

// files are the places of regular files.
func (t *tarFile) files() []int {
	var at []int
	for i, e := range t.entries {
		if k := e.kind(); k == '0' || k == 0 {
			at = append(at, i)
		}
	}
	return at
}

func (t *tarFile) anyFile(r *rand.Rand) int {
	if at := t.files(); len(at) > 0 {
		return at[r.IntN(len(at))]
	}
	return r.IntN(len(t.entries))
}

func seedTar(r *rand.Rand) *tarFile {
	t := &tarFile{end: make([]byte, pick(r, 2, 2, 2, 3, 18)*block)}
	shape := pick(r, "ustar", "ustar", "v7", "gnu", "pax", "gnu long", "prefix", "dot-slash", "macos", "global")
	if shape == "global" {
		t.entries = append(t.entries, extended('g', "comment", "0123456789"))
	}
	if chance(r, 6) {
		d := newEntry(pick(r, "a.so/", "./", "a.so"), '5', nil)
		t.entries = append(t.entries, d)
	}
	for n := range 1 + r.IntN(4) {
		t.entries = append(t.entries, shapeEntry(r, validName(r, n), content(r), shape)...)
	}
	switch {
	case chance(r, 6):
		t.entries = append(t.entries, linkTo(validName(r, 9), t.entries[t.anyFile(r)].get(nameField)))
	case chance(r, 4):
		t.entries = append(t.entries, sparse(r, validName(r, 9), pick(r, forms...))...)
	case chance(r, 8):
		label := newEntry("a label", 'V', nil)
		label.set(magicField, gnuMagic)
		t.insert(0, label)
	}
	return t
}

// shapeEntry is a file as a tool of some kind writes it.
func shapeEntry(r *rand.Rand, name string, content []byte, shape string) []*tarEntry {
	e := newEntry(name, '0', content)
	switch shape {
	case "v7":
		e.set(magicField, "")
		e.set(kindField, pick(r, "0", "\x00"))
	case "gnu":
		e.set(magicField, gnuMagic)
	case "pax":
		return []*tarEntry{extended('x', "path", name, "mtime", "1.5"), e}
	case "gnu long":
		e.set(nameField, "short")
		return []*tarEntry{long('L', name), e}
	case "prefix":
		dir, file, _ := strings.Cut(name, "/")
		e.set(prefix, dir)
		e.set(nameField, file)
	case "dot-slash":
		e.set(nameField, "./"+name)
	case "macos":
		return []*tarEntry{newEntry("./._"+name, '0', []byte("\x00\x05\x16\x07")), e}
	}
	return []*tarEntry{e}
}

func linkTo(name, target string) *tarEntry {
	e := newEntry(name, '1', nil)
	e.set(linkField, target)
	return e
}

// forms are the ways in which tars hold sparse files.
var forms = []string{"old", "old, more", "0.0", "0.1", "1.0"}

// sparse is a file of 2 KiB with only its third quarter, in one of these forms; in the second, it has holes between five blocks.
func sparse(r *rand.Rand, name, form string) []*tarEntry {
	data := bytes.Repeat([]byte(pick(r, "d", "e")), block)
	e := newEntry(name, '0', data)
	switch form {
	case "old", "old, more":
		e.set(kindField, "S")
		e.set(magicField, gnuMagic)
		e.set(sparseMap, pairs(1024, block, 2048, 0))
		e.set(sparseSize, octal(2048, 12))
		if form == "old, more" {
			e.body = bytes.Repeat(data, 5)
			e.set(sparseMap, pairs(0, block, 1024, block, 2048, block, 3072, block))
			e.set(sparseMore, "\x01")
			e.set(sparseSize, octal(4096+block, 12))
			e.more = make([]byte, block)
			copy(e.more, pairs(4096, block))
		}
		return []*tarEntry{e}
	case "0.0":
		return []*tarEntry{extended('x', "GNU.sparse.size", "2048", "GNU.sparse.numblocks", "2", "GNU.sparse.offset", "1024", "GNU.sparse.numbytes", "512",
			"GNU.sparse.offset", "2048", "GNU.sparse.numbytes", "0"), e}
	case "0.1":
		e.set(nameField, "GNUSparseFile.0/x")
		return []*tarEntry{extended('x', "GNU.sparse.size", "2048", "GNU.sparse.numblocks", "2", "GNU.sparse.name", name, "GNU.sparse.map", "1024,512,2048,0"), e}
	}
	e.set(nameField, "GNUSparseFile.0/x")
	e.body = make([]byte, block)
	copy(e.body, "2\n1024\n512\n2048\n0\n")
	e.body = append(e.body, data...)
	return []*tarEntry{extended('x', "GNU.sparse.major", "1", "GNU.sparse.minor", "0", "GNU.sparse.name", name, "GNU.sparse.realsize", "2048"), e}
}

// pairs are offsets and lengths as GNU's old map of a sparse file holds them.
func pairs(numbers ...int) (s string) {
	for _, n := range numbers {
		s += octal(n, 12)
	}
	return s
}
