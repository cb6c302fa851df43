package differential

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
)

// oddNumbers are ways to write n into a number's field of that length, some of them wrong.
func oddNumbers(n, length int) []string {
	o := strconv.FormatInt(int64(n), 8)
	base256 := func(first byte, n int) string {
		b := make([]byte, length)
		for i := length - 1; i > 0; i-- {
			b[i] = byte(n)
			n >>= 8
		}
		b[0] |= first
		return string(b)
	}
	return []string{
		"", "\x00" + o, strings.Repeat(" ", length), fmt.Sprintf("%*s", length, o), fmt.Sprintf("%*s\x00", length-1, o), fmt.Sprintf("%-*s", length, o),
		fmt.Sprintf("%0*o", length, n), fmt.Sprintf("%0*o ", length-1, n), fmt.Sprintf("%0*o \x00", length-2, n), o, o + " ", o + "\x00\x00junk", o + " 17",
		o + "\x0017", "0\x00" + o, "-" + o, "+" + o, "0o" + o, "0x" + o, o + "9", o + "a", "a", "\t" + o, o + "\n", "\n" + o, " \x00" + o,
		base256(0x80, n), base256(0xc0, n), base256(0x81, n), base256(0xff, ^n), base256(0xff, -1), base256(0x80, -1), strings.Repeat("7", length),
	}
}

// oddRecords are records of a pax header as they may be written for a key and value, some of them wrong.
func oddRecords(key, value string) []string {
	good := record(key, value)
	length, rest, _ := strings.Cut(good, " ")
	n, _ := strconv.Atoi(length)
	shifted := func(by int) string { return strconv.Itoa(n+by) + " " + rest }
	return []string{
		good, good + good, good + record(key, ""), record(key, "") + good, shifted(1), shifted(-1), shifted(100), "0" + shifted(1), "+" + shifted(1), "-" + shifted(1),
		" " + shifted(1), strconv.Itoa(n+1) + "  " + rest, length + "\t" + rest, "\n" + good, good + "\n", good + "\x00", good + "\x00\x00\x00" + good, good + "junk",
		strings.TrimSuffix(good, "\n"), strings.TrimSuffix(good, "\n") + "x", record(key, value+"\x00"), record(key, value+"\x00x"), record(key, "\x00"+value),
		record(key, value+"\n"), record(key, "\n"+value), record(" "+key, value), record(key+" ", value), record(strings.ToUpper(key), value), record("", value),
		record(key, value+"\n"+record(key, "x")), record(key, value+" "), record(key, " "+value), "5 a\n", "4 =\n", record("comment", good), record(key, "0"+value),
		record(key, "+"+value), record(key, "-"+value), record(key, value+".0"), record(key, "0x"+value), record("hdrcharset", "BINARY") + good,
		record("hdrcharset", "ISO-IR 10646 2000 UTF-8") + good, good + record("hdrcharset", "BINARY"), record("charset", "BINARY") + good, "0 " + rest, " ", "\n", "",
	}
}

// paxPair is a key that readers act upon, with a value that changes what they find.
func paxPair(r *rand.Rand, t *tarFile, e *tarEntry) (string, string) {
	name := validName(r, 8)
	size := strconv.Itoa(len(e.body))
	keys := map[string][]string{
		"path":                {name, e.get(nameField), "", "./" + name, name + "/", pick(r, oddNames(name)...)},
		"linkpath":            {name, t.any(r).get(nameField), ""},
		"size":                {size, "0", "5", strconv.Itoa(len(e.body) + block), strconv.Itoa(len(e.body) + 2*block), "", "18446744073709551616"},
		"GNU.sparse.name":     {name, ""},
		"GNU.sparse.realsize": {size, "5", "4096"},
		"GNU.sparse.size":     {size, "5", "4096"},
		"GNU.sparse.major":    {"1", "0", "9"},
		"GNU.sparse.minor":    {"0", "1"},
		"GNU.sparse.map":      {"0," + size, "0,5", "1024,512,2048,0", "", "0"},
		"SCHILY.realsize":     {size, "5"}, "SCHILY.filetype": {"sparse", "directory"}, "SUN.holesdata": {" 0 5"},
		"mtime": {"1.5", "-1", "x", "1e3", "0.0000000001", "99999999999999999999"}, "uid": {"5", "-1", "x", "99999999999"}, "gid": {"5", "x"}, "uname": {"a", "\xff"},
		"comment": {"a", "\xff", "\x00"}, "hdrcharset": {"BINARY", "x"}, "VENDOR.x": {"y"}, "LIBARCHIVE.symlinktype": {"dir"}, "SCHILY.xattr.user.a": {"b"},
	}
	key := pick(r, slices.Sorted(maps.Keys(keys))...)
	return key, pick(r, keys[key]...)
}

// oddHeader is a header of the kinds that say something of the file e behind them.
func oddHeader(r *rand.Rand, t *tarFile, e *tarEntry) *tarEntry {
	switch kind := pick(r, 'x', 'x', 'x', 'g', 'g', 'L', 'L', 'K', 'X', 'V', 'A', 'N', 'M', 'D'); kind {
	case 'x', 'g', 'X':
		h := extended(byte(kind))
		for range 1 + r.IntN(3) {
			key, value := paxPair(r, t, e)
			h.records = append(h.records, pick(r, record(key, value), record(key, value), pick(r, oddRecords(key, value)...)))
		}
		return h
	case 'L', 'K':
		name := validName(r, 8)
		h := long(byte(kind), pick(r, name, e.get(nameField), t.any(r).get(nameField), "./"+name, name+"/", "", name+"\x00x", pick(r, oddNames(name)...)))
		if chance(r, 4) {
			h.body = bytes.TrimRight(h.body, "\x00")
		}
		return h
	default:
		h := newEntry(pick(r, "a label", validName(r, 7)), byte(kind), pick(r, nil, content(r)))
		h.set(magicField, pick(r, posixMagic, gnuMagic))
		return h
	}
}

var tarStructure = []mutation[*tarFile]{
	{name: "extended header in front of a file", early: func(r *rand.Rand, t *tarFile) {
		i := t.anyFile(r)
		t.insert(i, oddHeader(r, t, t.entries[i]))
	}},
	{name: "two extended headers in front of a file", early: func(r *rand.Rand, t *tarFile) {
		i := t.anyFile(r)
		t.insert(i, oddHeader(r, t, t.entries[i]), oddHeader(r, t, t.entries[i]))
	}},
	{name: "extended header anywhere", early: func(r *rand.Rand, t *tarFile) { t.insert(r.IntN(len(t.entries)+1), oddHeader(r, t, t.any(r))) }},
	{name: "extended header at the end", early: func(r *rand.Rand, t *tarFile) { t.entries = append(t.entries, oddHeader(r, t, t.any(r))) }},
	{name: "pax path and GNU name", early: func(r *rand.Rand, t *tarFile) {
		i := t.anyFile(r)
		name := validName(r, 8)
		pair := []*tarEntry{extended('x', "path", name), long('L', pick(r, name, validName(r, 7)))}
		if chance(r, 2) {
			slices.Reverse(pair)
		}
		t.insert(i, pair...)
	}},
	{name: "global pax header", early: func(r *rand.Rand, t *tarFile) {
		i := t.anyFile(r)
		key, value := paxPair(r, t, t.entries[i])
		t.insert(r.IntN(i+1), extended('g', key, value))
	}},
	{name: "pax size", early: func(r *rand.Rand, t *tarFile) {
		e := t.any(r)
		size := pick(r, len(e.body), len(e.body)-1, len(e.body)+1, len(e.body)+block, 0)
		t.insert(slices.Index(t.entries, e), extended('x', "size", strconv.Itoa(size)))
	}},
	{name: "pax record written oddly", early: func(r *rand.Rand, t *tarFile) {
		i := t.anyFile(r)
		h := extended('x')
		key, value := pick(r, "path", "size", "comment", "mtime"), ""
		switch key {
		case "path":
			value = validName(r, 8)
		default:
			value = strconv.Itoa(len(t.entries[i].body))
		}
		h.records = []string{pick(r, oddRecords(key, value)...)}
		t.insert(i, h)
	}},
	{name: "hard link", early: func(r *rand.Rand, t *tarFile) {
		target := t.any(r).get(nameField)
		e := linkTo(pick(r, validName(r, 8), validName(r, 8), target), pick(r, target, target, target, "./"+target, "/"+target, "", strings.TrimPrefix(target, "./"), validName(r, 6), pick(r, oddNames(target)...)))
		e.body = pick(r, nil, nil, nil, content(r))
		t.insert(r.IntN(len(t.entries)+1), e)
	}},
	{name: "hard link with a long target", early: func(r *rand.Rand, t *tarFile) {
		target := t.any(r).get(nameField)
		e := linkTo(validName(r, 8), "short")
		headers := []*tarEntry{long('K', target), extended('x', "linkpath", pick(r, target, target, validName(r, 6)))}
		r.Shuffle(len(headers), func(i, j int) { headers[i], headers[j] = headers[j], headers[i] })
		t.entries = append(append(t.entries, headers[:1+r.IntN(2)]...), e)
	}},
	{name: "hard link that says a size", early: func(r *rand.Rand, t *tarFile) {
		t.entries = append(t.entries, linkTo(validName(r, 8), t.any(r).get(nameField)), newEntry(validName(r, 7), '0', content(r)))
	}, late: func(r *rand.Rand, t *tarFile) {
		if e := t.entries[len(t.entries)-2]; e.kind() == '1' {
			e.set(sizeField, octal(pick(r, 1, block, 2*block, 1<<20), 12))
		}
	}},
	{name: "sparse file", early: func(r *rand.Rand, t *tarFile) {
		t.entries = append(t.entries, sparse(r, validName(r, 8), pick(r, forms...))...)
	}},
	{name: "sparse file with another map", early: oddSparse},
	{name: "name twice", early: func(r *rand.Rand, t *tarFile) {
		e := t.entries[t.anyFile(r)]
		t.entries = append(t.entries, newEntry(e.get(nameField), '0', pick(r, e.body, content(r))))
	}},
	{name: "file and directory of one name", early: func(r *rand.Rand, t *tarFile) {
		t.entries = append(t.entries, newEntry(t.entries[t.anyFile(r)].get(nameField)+pick(r, "", "/"), pick[byte](r, '5', '0', 0), nil))
	}},
	{name: "header twice", early: func(r *rand.Rand, t *tarFile) {
		i := r.IntN(len(t.entries))
		again := *t.entries[i]
		t.insert(i, &again)
	}},
	{name: "header left out", early: func(r *rand.Rand, t *tarFile) {
		if i := r.IntN(len(t.entries)); len(t.entries) > 1 {
			t.entries = slices.Delete(t.entries, i, i+1)
		}
	}},
	{name: "two headers change places", early: func(r *rand.Rand, t *tarFile) {
		i, j := r.IntN(len(t.entries)), r.IntN(len(t.entries))
		t.entries[i], t.entries[j] = t.entries[j], t.entries[i]
	}},
	{name: "members of another tar", early: func(r *rand.Rand, t *tarFile) { t.insert(r.IntN(len(t.entries)+1), seedTar(r).entries...) }},
	{name: "end", early: func(r *rand.Rand, t *tarFile) {
		t.end = slices.Concat(make([]byte, pick(r, 0, 1, 2, 3)*block), pick(r, nil, written(seedTar(r)), []byte("junk"), bytes.Repeat([]byte("junk"), block/4), make([]byte, 100)))
	}},
	{name: "zeros between members", early: func(r *rand.Rand, t *tarFile) {
		e := t.any(r)
		e.body = append(slices.Clone(e.body), make([]byte, -len(e.body)&(block-1)+pick(r, 1, 2)*block)...)
	}, late: func(r *rand.Rand, t *tarFile) {
		e := t.any(r)
		e.set(sizeField, octal(max(len(e.body)-pick(r, 1, 2)*block, 0), 12))
	}},
	{name: "padding that is not zero", early: func(r *rand.Rand, t *tarFile) { t.any(r).pad = pick[byte](r, 1, ' ', 0xff) }},
}

// oddSparse adds a sparse file with a map, sizes or a name that disagree, or are written in another way.
func oddSparse(r *rand.Rand, t *tarFile) {
	entries := sparse(r, validName(r, 8), pick(r, forms...))
	number := func() int { return pick(r, 0, 128, 256, 512, 1024, 1536, 2048, 4096) }
	text := func() string { return strconv.Itoa(number()) }
	switch e := entries[0]; {
	case e.kind() == 'S':
		e.set(sparseMap, pick(r, pairs(0, 128, 1024, 384, 2048, 0), pairs(number(), number()), pairs(number(), number(), number(), number())))
		e.set(sparseMore, pick(r, "", "", "\x01", "1"))
		e.set(magicField, pick(r, gnuMagic, gnuMagic, posixMagic))
		e.set(sparseSize, octal(pick(r, 2048, number()), 12))
	case chance(r, 2) && len(entries[1].body) > block:
		clear(entries[1].body[:block])
		copy(entries[1].body, pick(r, "3\n0\n128\n1024\n384\n2048\n0\n", "1\n"+text()+"\n"+text()+"\n", "0\n", "2\n0\n512\n1024\n0\n", "x\n", "+1\n0\n512\n",
			"1\n0\n", " 1\n0\n512\n", "9999999\n", "-1\n"))
	default:
		i := r.IntN(len(e.records))
		_, rest, _ := strings.Cut(e.records[i], " ")
		key, _, _ := strings.Cut(rest, "=")
		e.records[i] = pick(r, "", record(key, text()), e.records[i]+e.records[i], record(key, text()+","+text()), record(key, "0,128,1024,384,2048,0"))
		if chance(r, 3) {
			r.Shuffle(len(e.records), func(i, j int) { e.records[i], e.records[j] = e.records[j], e.records[i] })
		}
	}
	t.entries = append(t.entries, entries...)
}

var tarFields = []mutation[*tarFile]{
	{name: "size written oddly", late: func(r *rand.Rand, t *tarFile) {
		e := t.any(r)
		e.set(sizeField, pick(r, oddNumbers(len(e.body), 12)...))
	}},
	{name: "another size", late: func(r *rand.Rand, t *tarFile) {
		e := t.any(r)
		n := pick(r, 0, 1, len(e.body)+1, max(len(e.body)-1, 0), len(e.body)+block, len(e.body)+2*block, 1<<30)
		e.set(sizeField, octal(n, 12))
	}},
	{name: "number written oddly", late: func(r *rand.Rand, t *tarFile) {
		f := pick(r, modeField, uidField, gidField, timeField, majorField, minorField)
		t.any(r).set(f, pick(r, oddNumbers(r.IntN(0o1000), f.length)...))
	}},
	{name: "checksum written oddly", late: func(r *rand.Rand, t *tarFile) {
		e := t.any(r)
		e.sum = func() string {
			n, _ := strconv.ParseInt(e.get(sumField), 8, 64)
			return pick(r, oddNumbers(int(n), 8)...)
		}
	}},
	{name: "checksum of signed bytes", late: func(r *rand.Rand, t *tarFile) {
		e := t.any(r)
		e.set(userField, "\xe9\xe9")
		e.sum = func() string {
			n, _ := strconv.ParseInt(e.get(sumField), 8, 64)
			return octal(int(n)-2*256, 7) + " "
		}
	}},
	{name: "wrong checksum", late: func(r *rand.Rand, t *tarFile) { t.any(r).sum = func() string { return octal(1234, 8) } }},
	{name: "kind", late: func(r *rand.Rand, t *tarFile) {
		t.any(r).set(kindField, string([]byte{pick(r, 0, '0', '1', '2', '3', '4', '5', '6', '7', '8', 'A', 'D', 'E', 'I', 'K', 'L', 'M', 'N', 'S', 'V', 'X', 'g', 'x', ' ', byte(r.IntN(256)))}))
	}},
	{name: "directory with data", late: func(r *rand.Rand, t *tarFile) { t.any(r).set(kindField, "5") }},
	{name: "magic", late: func(r *rand.Rand, t *tarFile) {
		e := t.any(r)
		e.set(magicField, pick(r, posixMagic, gnuMagic, "", "ustar\x00\x00\x00", "ustar 00", "ustar \x00\x00", "ustar\x0099", "ustar\x00  ", "ustarxyz", "USTAR\x0000", "ustar  0", "GNUtar "))
	}},
	{name: "prefix", late: func(r *rand.Rand, t *tarFile) {
		e := t.any(r)
		e.set(prefix, pick(r, "p.so", "p.so/", "/", ".", strings.Repeat("p", 155), strings.Repeat("p", 131), "00000000000\x0000000000000\x00", "\x00junk", "p.so\x00junk", " "))
		e.set(magicField, pick(r, posixMagic, gnuMagic, "", "ustar 00", "ustar\x00xy"))
	}},
	{name: "mark of star", late: func(r *rand.Rand, t *tarFile) {
		e := t.any(r)
		e.set(field{476, 24}, pick(r, "00000000000 00000000000 ", "", "junk"))
		e.set(starMagic, "tar\x00")
		e.set(prefix, pick(r, "", "p.so", strings.Repeat("p", 131)))
	}},
	{name: "odd name", late: func(r *rand.Rand, t *tarFile) {
		e := t.any(r)
		e.set(nameField, pick(r, oddNames(e.get(nameField))...))
	}},
	{name: "odd names everywhere", late: func(r *rand.Rand, t *tarFile) {
		i := r.IntN(len(oddNames("a/b")))
		for _, at := range t.files() {
			t.entries[at].set(nameField, oddNames(t.entries[at].get(nameField) + "/b")[i])
		}
	}},
	{name: "name with slash at its end", late: func(r *rand.Rand, t *tarFile) {
		e := t.any(r)
		e.set(nameField, e.get(nameField)+"/")
		e.set(kindField, pick(r, "0", "\x00", "7", "5", "1", "S"))
	}},
	{name: "bytes behind the name", late: func(r *rand.Rand, t *tarFile) { copy(t.any(r).header[95:], "\x00junk") }},
	{name: "link name on a file", late: func(r *rand.Rand, t *tarFile) { t.any(r).set(linkField, validName(r, 5)) }},
	{name: "any byte of a header", late: func(r *rand.Rand, t *tarFile) { t.any(r).header[r.IntN(block)] = byte(r.IntN(256)) }},
}

var tarMutations = slices.Concat(tarStructure, tarFields)
