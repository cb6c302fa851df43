package archive

import (
	"archive/tar"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// extendedBy is an extended header with these records, "key=value".
func extendedBy(kind byte, records ...string) []byte {
	var text string
	for _, r := range records {
		n := len(r) + 3
		for n != len(r)+2+len(strconv.Itoa(n)) {
			n = len(r) + 2 + len(strconv.Itoa(n))
		}
		text += fmt.Sprintf("%d %s\n", n, r)
	}
	return extendedRaw(kind, text)
}

func extendedRaw(kind byte, text string) []byte {
	return join(block("header", kind, octal(len(text))), padded(text))
}

// regular is a member with content.
func regular(name, content string) []byte {
	return join(block(name, '0', octal(len(content))), padded(content))
}

func hardLink(name, target string) []byte {
	b := block(name, '1', octal(0))
	copy(b[157:], target)
	return seal(b)
}

// changed is the header b after a change, with its checksum.
func changed(b []byte, at int, to string) []byte {
	copy(b[at:], to)
	return seal(b)
}

// ambiguousTars are tars that one reader takes for something else than another.
func ambiguousTars() map[string]hostile {
	const name = "a/A/a.sym"
	sym := regular(name, symText)
	with := func(parts ...[]byte) []byte { return join(join(parts...), sym, tarEnd) }
	pax := func(records ...string) []byte { return extendedBy('x', records...) }
	sparse := func(kind string) string { return "GNU.sparse." + kind }
	v7 := block(name, '0', octal(0))
	clear(v7[257:345])
	star := block(name, '0', octal(0))
	copy(star[345:], strings.Repeat("p", 131)+"1")
	copy(star[508:], "tar\x00")
	dir := block("b/", '5', octal(0))
	return map[string]hostile{
		"global path":        {with(extendedBy('g', "path=evil/A/a.sym")), "global header that sets 'path'"},
		"global size":        {with(extendedBy('g', "size=1")), "global header that sets 'size'"},
		"global link":        {with(extendedBy('g', "linkpath=x")), "global header that sets 'linkpath'"},
		"global sparse name": {with(extendedBy('g', "comment=x", sparse("name=x"))), "global header that sets 'GNU.sparse.name'"},
		"global sparse map":  {with(extendedBy('g', sparse("offset=0"), sparse("numbytes=1"))), "map of a sparse file"},
		"global in between":  {with(pax("path="+name), extendedBy('g', "comment=x")), "global header between"},

		"a path and a long name":        {with(pax("path=a/A/b.sym"), extendedRaw('L', "a/A/c.sym\x00")), "two names for one member"},
		"a long name and a path":        {with(extendedRaw('L', "a/A/c.sym\x00"), pax("path=a/A/b.sym")), "two names for one member"},
		"a sparse name and a long one":  {join(extendedRaw('L', "a/A/c.sym\x00"), sparse10(), tarEnd), "two names for one member"},
		"two long names":                {with(extendedRaw('L', "a/A/c.sym\x00"), extendedRaw('L', "a/A/d.sym\x00")), "two extended headers of one kind"},
		"two extended headers":          {with(pax("path=a/A/b.sym"), pax("mtime=1")), "two extended headers of one kind"},
		"two targets":                   {join(sym, pax("linkpath=a/A/a.sym"), extendedRaw('K', "x\x00"), hardLink("a/A/b.sym", name), tarEnd), "two targets for the link"},
		"an empty long name":            {with(extendedRaw('L', "\x00")), "empty long name"},
		"no long name":                  {with(extendedRaw('L', "")), "without a proper size"},
		"an empty path":                 {with(pax("path=")), "'path' is empty"},
		"an empty size":                 {with(pax("size=")), "'size' is empty"},
		"a zero byte in a path":         {with(pax("path=a/A/b.sym\x00x")), "zero byte"},
		"two paths":                     {with(pax("path=a/A/b.sym", "path=a/A/c.sym")), "two different values of 'path'"},
		"a size with a sign":            {with(pax("size=+1")), "is no number"},
		"a length with a sign":          {with(extendedRaw('x', "+11 path=a\n")), "damaged extended header"},
		"a length that is wrong":        {with(extendedRaw('x', "12 path=a\n")), "damaged extended header"},
		"a key with a space":            {with(extendedRaw('x', "19  path=a/A/b.sym\n")), "damaged extended header"},
		"no line end":                   {with(extendedRaw('x', "18 path=a/A/b.sym ")), "damaged extended header"},
		"a foreign charset":             {with(pax("hdrcharset=ISO-8859-1")), "make the tar with names in UTF-8"},
		"an extended header at the end": {join(sym, extendedRaw('L', "a/A/c.sym\x00"), tarEnd), "belongs to no member"},

		"a size with a leading zero byte": {join(block(name, '0', "\x000000000012\x00"), padded("0123456789"), tarEnd), "is damaged"},
		"a size with one inside":          {join(block(name, '0', "12\x00000000000"), padded("0123456789"), tarEnd), "is damaged"},
		"a size of spaces":                {join(block(name, '0', "            "), tarEnd), "is damaged"},
		"a device number of garbage":      {join(changed(block(name, '0', octal(0)), 329, "garbage"), tarEnd), "damaged number"},
		"a directory with a size":         {with(pax("size=512"), dir), "no content"},
		"a link with a size":              {join(sym, pax("size=512"), hardLink("a/A/b.sym", name), tarEnd), "no content"},
		"a link with a size of its own":   {join(sym, changed(hardLink("a/A/b.sym", name), 124, octal(9)), tarEnd), "no content"},
		"a label with more to it":         {with(pax("mtime=1"), block("label", 'V', octal(0))), "of a kind that has none"},
		"a directory by half":             {with(pax("path=a/A/b.sym"), block("b/", 0, octal(0))), "directory by the name in its own header"},
		"a number in an odd base":         {join(changed(block(name, '0', octal(0)), 108, "\x81\x00\x00\x00"), tarEnd), "damaged number"},
		"a global header at the end":      {join(sym, extendedBy('g', "comment=x"), tarEnd), "belongs to no member"},
		"a label with a size":             {with(join(block("label", 'V', octal(9)), padded("some text"))), "no content"},
		"an old directory with a size":    {with(block("b/", 0, octal(512)), sym[:512]), "no content"},

		"a prefix in a v7 header":        {join(changed(v7, 345, "evil"), tarEnd), "more than its format allows"},
		"a prefix in a GNU header":       {join(changed(changed(block(name, '0', octal(0)), 257, "ustar  \x00"), 345, "00000000000"), tarEnd), "more than its format allows"},
		"holes of a regular file":        {join(pax("path="+name), changed(changed(block(name, '0', octal(0)), 257, "ustar  \x00"), 386, "00000000000"), tarEnd), "lists holes"},
		"a prefix with another magic":    {join(changed(changed(block(name, '0', octal(0)), 257, "ustar00"), 345, "evil"), tarEnd), "more than its format allows"},
		"a prefix that fills star's":     {join(seal(star), tarEnd), "more than its format allows"},
		"a checksum with a leading zero": {join(leadingZero(block(name, '0', octal(0))), tarEnd), "wrong checksum"},

		"a sparse name alone":           {with(pax(sparse("name=a/A/b.sym"))), "not all readers know"},
		"a sparse size alone":           {with(pax(sparse("size=1"))), "not all readers know"},
		"a sparse map alone":            {with(pax(sparse("map=0,1"))), "in front of its size"},
		"a sparse map before its size":  {with(pax(sparse("numblocks=1"), sparse("map=0,1"), sparse("size=1"))), "in front of its size"},
		"sparse, unknown version":       {with(pax(sparse("major=9"), sparse("minor=0"), sparse("realsize=1"))), "not all readers know"},
		"sparse, two versions":          {with(pax(sparse("major=1"), sparse("minor=0"), sparse("realsize=1"), sparse("size=1"), sparse("numblocks=1"), sparse("map=0,1"))), "not all readers know"},
		"sparse, two sizes":             {with(pax(sparse("size=1"), sparse("numblocks=1"), sparse("map=0,1"), sparse("realsize=2"))), "not all readers know"},
		"sparse, two maps":              {with(pax(sparse("size=1"), sparse("numblocks=1"), sparse("map=0,1"), sparse("offset=0"), sparse("numbytes=1"))), "not all readers know"},
		"sparse, map out of order":      {with(pax(sparse("size=6"), sparse("numblocks=2"), sparse("map=5,1,0,1"))), "map of the sparse member"},
		"sparse, map too short":         {with(pax(sparse("size=6"), sparse("numblocks=1"), sparse("map=0,1"))), "map of the sparse member"},
		"sparse, no end of the content": {join(paxSparse(9), regular(name, "1\n0\n5\n12345"+strings.Repeat("6", blockSize)), tarEnd), "map of the sparse member"},
		"sparse, old, map too short":    {join(changed(oldSparse(name), 483, octal(9999)), tarEnd), "map of the sparse member"},
		"sparse, data out of its block": {with(pax(sparse("size=9"), sparse("numblocks=2"), sparse("map=0,5,5,4"))), "map of the sparse member"},
		"sparse, in a GNU header":       {join(paxSparse(9), changed(block(name, '0', octal(0)), 257, "ustar  \x00"), tarEnd), "not all readers know"},
		"sparse, old, with pax":         {join(pax("mtime=1"), oldSparse(name), tarEnd), "of a kind that has none"},
		"sparse, of Solaris":            {with(pax("SUN.holesdata= 0 9")), "in the format of star"},
		"sparse, of star":               {with(pax("SCHILY.realsize=9")), "in the format of star"},
	}
}

func leadingZero(b []byte) []byte {
	sum := string(b[148:154])
	copy(b[148:], "\x00"+sum+" ")
	return b
}

// paxSparse is the extended header of a sparse file in version 1.0, of size bytes.
func paxSparse(size int) []byte {
	return extendedBy('x', "GNU.sparse.major=1", "GNU.sparse.minor=0", "GNU.sparse.name=a/A/a.sym", "GNU.sparse.realsize="+strconv.Itoa(size))
}

// sparse10 is a sparse file in version 1.0: 5 bytes, a hole of 4.
func sparse10() []byte {
	return join(paxSparse(9), regular("GNUSparseFile.0/a.sym", string(padded("2\n0\n5\n9\n0\n"))+"12345"))
}

func TestAmbiguousTars(t *testing.T) {
	for name, c := range ambiguousTars() {
		t.Run(name, func(t *testing.T) {
			for _, format := range []string{"tar", "tar.gz"} {
				if got := rejected(t, compress(t, format, c.data), roomy, ErrInvalid); !strings.Contains(got, c.want) {
					t.Errorf("%s: %q does not say %q", format, got, c.want)
				}
			}
		})
	}
}

// How ordinary tools write what is not quite ordinary.
func TestTarsOfTools(t *testing.T) {
	const name = "a/A/a.sym"
	sym := regular(name, symText)
	hole := "12345\x00\x00\x00\x00"
	old := oldSparse(name)
	copy(old[386:], octal(0)+octal(5)+octal(9)+octal(0))
	copy(old[483:], octal(9))
	copy(old[124:], octal(5))
	// The same with its map in a block of its own.
	more := seal([]byte(string(old)))
	clear(more[386:482])
	more[482] = 1
	pairs := make([]byte, blockSize)
	copy(pairs, octal(0)+octal(5)+octal(9)+octal(0))
	for what, c := range map[string]struct {
		data []byte
		want map[string]string
	}{
		"old sparse file":           {join(seal(old), padded("12345")), map[string]string{name: hole}},
		"old sparse file, long map": {join(seal(more), pairs, padded("12345")), map[string]string{name: hole}},
		"sparse 0.0": {join(extendedBy('x', "GNU.sparse.size=9", "GNU.sparse.numblocks=2", "GNU.sparse.offset=0", "GNU.sparse.numbytes=5", "GNU.sparse.offset=9", "GNU.sparse.numbytes=0"),
			regular(name, "12345")), map[string]string{name: hole}},
		"sparse 0.1": {join(extendedBy('x', "GNU.sparse.size=9", "GNU.sparse.numblocks=2", "GNU.sparse.map=0,5,9,0", "GNU.sparse.name="+name),
			regular("GNUSparseFile.0/a.sym", "12345")), map[string]string{name: hole}},
		"sparse 1.0":          {sparse10(), map[string]string{name: hole}},
		"a label":             {join(block("backup", 'V', octal(0)), sym), map[string]string{name: symText}},
		"a label of pax":      {join(extendedBy('g', "GNU.volume.label=backup"), sym), map[string]string{name: symText}},
		"made by git":         {join(extendedBy('g', "comment=0df6977"), sym), map[string]string{name: symText}},
		"two names, the same": {join(extendedBy('x', "path="+name), extendedRaw('L', name+"\x00"), sym), map[string]string{name: symText}},
		"a prefix": {join(changed(block("a.sym", '0', octal(len(symText))), 345, "a/A"), padded(symText)),
			map[string]string{name: symText}},
		"an empty file without a size": {join(sym, block("b/B/b.sym", '0', strings.Repeat("\x00", 12))), map[string]string{name: symText, "b/B/b.sym": ""}},
		"in the plain C locale": {join(extendedBy('x', "hdrcharset=BINARY", "path=größe/A/a.sym"), regular("gr??e/A/a.sym", symText)),
			map[string]string{"größe/A/a.sym": symText}},
	} {
		for _, format := range []string{"tar", "tar.zst"} {
			a, _, err := verify(t.Context(), compress(t, format, join(c.data, tarEnd)), roomy)
			if err != nil {
				t.Errorf("%s: %s: %v", format, what, err)
				continue
			}
			if diff := cmp.Diff(c.want, contents(t, a)); diff != "" {
				t.Errorf("%s: %s: %s", format, what, diff)
			}
		}
	}
}

// A hard link is its target's content under another name, whatever becomes of both.
func TestHardLinks(t *testing.T) {
	noLeak(t)
	data := join(
		regular("a/A/a.sym", symText), regular("./b/B/b.pdb", "b"), hardLink("a/A/b.sym", "a/A/a.sym"), block("c/", '5', octal(0)),
		hardLink("c/C/c.pdb", "./a/A/b.sym"), hardLink("./c/C/c.sym", "b/B/b.pdb"), regular("d/D/d.pdb", "d"), hardLink("c/C/d.pdb", "./a/A/a.sym"), tarEnd)
	want := map[string]string{
		"a/A/a.sym": symText, "a/A/b.sym": symText, "c/C/c.pdb": symText, "c/C/d.pdb": symText, "b/B/b.pdb": "b", "c/C/c.sym": "b", "d/D/d.pdb": "d",
	}
	for _, format := range formats[1:] {
		a, ms, err := verify(t.Context(), compress(t, format, data), roomy)
		must(t, err)
		var order []string
		for _, m := range ms {
			order = append(order, m.Name)
			if m.Key.IsSym() && want[m.Name] == symText && m.Header.DebugFile != "firefox" {
				t.Errorf("%s: header %+v", m.Name, m.Header)
			}
		}
		if diff := cmp.Diff([]string{"a/A/a.sym", "b/B/b.pdb", "a/A/b.sym", "c/C/c.pdb", "c/C/c.sym", "d/D/d.pdb", "c/C/d.pdb"}, order); diff != "" {
			t.Errorf("%s: %s", format, diff)
		}
		if diff := cmp.Diff(want, contents(t, a)); diff != "" {
			t.Errorf("%s: %s", format, diff)
		}
		// Whichever of them is read, the content passes by once, for the first or the last that needs it.
		for only := range ms {
			readOnly(t, a, only, want)
		}
	}
}

// readOnly reads one member of a, and passes over the others.
func readOnly(t *testing.T, a *Archive, only int, want map[string]string) {
	t.Helper()
	must(t, a.Each(t.Context(), 1, func(ctx context.Context, m *Member) error {
		if m.Index == only {
			if got := content(ctx, t, m); got != want[m.Name] {
				t.Errorf("%s: %s alone holds %q", a.Format, m.Name, got)
			}
		}
		return nil
	}))
	if n := a.work.(*desk).open.Load(); n != 0 {
		t.Errorf("%d scratch files left open", n)
	}
}

func TestBadHardLinks(t *testing.T) {
	sym := regular("a/A/a.sym", symText)
	for what, c := range map[string]struct {
		data []byte
		want string
	}{
		"before its target": {join(hardLink("b/B/b.sym", "a/A/a.sym"), sym), "is no other member before it"},
		"to itself":         {join(sym, hardLink("a/A/a.sym", "a/A/a.sym")), "is no other member before it"},
		"to a directory":    {join(sym, block("b/", '5', octal(0)), hardLink("b/B/b.sym", "b/")), "is no other member before it"},
		"absolute":          {join(sym, hardLink("b/B/b.sym", "/a/A/a.sym")), "is no other member before it"},
		"climbs":            {join(sym, hardLink("b/B/b.sym", "../a/A/a.sym")), "is no other member before it"},
		"bad name":          {join(sym, hardLink("b", "a/A/a.sym")), "Unrecognized file pattern"},
	} {
		if got := rejected(t, join(c.data, tarEnd), roomy, ErrInvalid); !strings.Contains(got, c.want) {
			t.Errorf("%s: %q does not say %q", what, got, c.want)
		}
	}
	// Links count in every limit.
	size := int64(len(symText))
	data := join(sym, hardLink("b/B/b.sym", "a/A/a.sym"), tarEnd)
	for _, l := range []Limits{
		{MaxMembers: 1, MaxMemberSize: size, MaxExtractedSize: 2 * size}, {MaxMembers: 2, MaxMemberSize: size, MaxExtractedSize: 2*size - 1},
	} {
		rejected(t, data, l, ErrTooLarge)
	}
	if _, _, err := verify(t.Context(), data, Limits{MaxMembers: 2, MaxMemberSize: size, MaxExtractedSize: 2 * size}); err != nil {
		t.Error(err)
	}
}

// However a tar arrives, it is the same to the checker.
func TestCheckerInPieces(t *testing.T) {
	var hs []*tar.Header
	for _, format := range []tar.Format{tar.FormatUSTAR, tar.FormatPAX, tar.FormatGNU} {
		for _, n := range []int{1, 60, 140} {
			hs = append(hs, &tar.Header{Name: strings.Repeat("n", n) + "/A/" + strings.Repeat("f", n) + ".pdb", Typeflag: tar.TypeReg, Size: int64(n), Format: format})
		}
	}
	hs = slices.DeleteFunc(hs, func(h *tar.Header) bool { return h.Format == tar.FormatUSTAR && len(h.Name) > 250 })
	data := tarWith(t, hs, func(i int) string { return strings.Repeat("c", int(hs[i].Size)) })
	for cut := 1; cut < 2000; cut += 37 {
		c := new(tarChecker)
		for rest := data; len(rest) > 0; {
			n := min(cut, len(rest))
			must(t, c.check(rest[:n]))
			rest = rest[n:]
		}
		if !c.ended() || c.last != hs[len(hs)-1].Name {
			t.Errorf("in pieces of %d: last %q, ended %v", cut, c.last, c.ended())
		}
	}
}
