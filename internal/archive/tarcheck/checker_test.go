package tarcheck_test

import (
	"archive/tar"
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"

	"tecken-upload/internal/archive/fault"
	"tecken-upload/internal/archive/tarcheck"
	"tecken-upload/internal/archive/tartest"
)

// An ambiguous tar is refused with a sentence that says what is wrong.
type ambiguous struct {
	data []byte
	want string
}

// ambiguousTars are tars that one reader takes for something else than another.
func ambiguousTars() map[string]ambiguous {
	const name = "a/A/a.sym"
	sym := tartest.File(name, "MODULE Linux x86_64 A a\n")
	with := func(parts ...[]byte) []byte { return tartest.Join(tartest.Join(parts...), sym, tartest.End) }
	pax := func(records ...string) []byte { return tartest.Extended('x', records...) }
	sparse := func(kind string) string { return "GNU.sparse." + kind }
	v7 := tartest.Header(name, '0', tartest.Octal(0))
	clear(v7[257:345])
	star := tartest.Header(name, '0', tartest.Octal(0))
	copy(star[345:], strings.Repeat("p", 131)+"1")
	copy(star[508:], "tar\x00")
	dir := tartest.Header("b/", '5', tartest.Octal(0))
	return map[string]ambiguous{
		"global path":        {with(tartest.Extended('g', "path=evil/A/a.sym")), "global header that sets 'path'"},
		"global size":        {with(tartest.Extended('g', "size=1")), "global header that sets 'size'"},
		"global link":        {with(tartest.Extended('g', "linkpath=x")), "global header that sets 'linkpath'"},
		"global sparse name": {with(tartest.Extended('g', "comment=x", sparse("name=x"))), "global header that sets 'GNU.sparse.name'"},
		"global sparse map":  {with(tartest.Extended('g', sparse("offset=0"), sparse("numbytes=1"))), "map of a sparse file"},
		"global in between":  {with(pax("path="+name), tartest.Extended('g', "comment=x")), "global header between"},

		"a path and a long name":        {with(pax("path=a/A/b.sym"), tartest.ExtendedRaw('L', "a/A/c.sym\x00")), "two names for one member"},
		"a long name and a path":        {with(tartest.ExtendedRaw('L', "a/A/c.sym\x00"), pax("path=a/A/b.sym")), "two names for one member"},
		"a sparse name and a long one":  {tartest.Join(tartest.ExtendedRaw('L', "a/A/c.sym\x00"), tartest.Sparse(), tartest.End), "two names for one member"},
		"two long names":                {with(tartest.ExtendedRaw('L', "a/A/c.sym\x00"), tartest.ExtendedRaw('L', "a/A/d.sym\x00")), "two extended headers of one kind"},
		"two extended headers":          {with(pax("path=a/A/b.sym"), pax("mtime=1")), "two extended headers of one kind"},
		"two targets":                   {tartest.Join(sym, pax("linkpath=a/A/a.sym"), tartest.ExtendedRaw('K', "x\x00"), tartest.HardLink("a/A/b.sym", name), tartest.End), "two targets for the link"},
		"an empty long name":            {with(tartest.ExtendedRaw('L', "\x00")), "empty long name"},
		"no long name":                  {with(tartest.ExtendedRaw('L', "")), "without a proper size"},
		"an empty path":                 {with(pax("path=")), "'path' is empty"},
		"an empty size":                 {with(pax("size=")), "'size' is empty"},
		"a zero byte in a path":         {with(pax("path=a/A/b.sym\x00x")), "zero byte"},
		"two paths":                     {with(pax("path=a/A/b.sym", "path=a/A/c.sym")), "two different values of 'path'"},
		"a size with a sign":            {with(pax("size=+1")), "is no number"},
		"a length with a sign":          {with(tartest.ExtendedRaw('x', "+11 path=a\n")), "damaged extended header"},
		"a length that is wrong":        {with(tartest.ExtendedRaw('x', "12 path=a\n")), "damaged extended header"},
		"a key with a space":            {with(tartest.ExtendedRaw('x', "19  path=a/A/b.sym\n")), "damaged extended header"},
		"no line end":                   {with(tartest.ExtendedRaw('x', "18 path=a/A/b.sym ")), "damaged extended header"},
		"a foreign charset":             {with(pax("hdrcharset=ISO-8859-1")), "make the tar with names in UTF-8"},
		"an extended header at the end": {tartest.Join(sym, tartest.ExtendedRaw('L', "a/A/c.sym\x00"), tartest.End), "belongs to no member"},

		"a size with a leading zero byte": {tartest.Join(tartest.Header(name, '0', "\x000000000012\x00"), tartest.Padded("0123456789"), tartest.End), "is damaged"},
		"a size with one inside":          {tartest.Join(tartest.Header(name, '0', "12\x00000000000"), tartest.Padded("0123456789"), tartest.End), "is damaged"},
		"a size of spaces":                {tartest.Join(tartest.Header(name, '0', "            "), tartest.End), "is damaged"},
		"a device number of garbage":      {tartest.Join(tartest.Changed(tartest.Header(name, '0', tartest.Octal(0)), 329, "garbage"), tartest.End), "damaged number"},
		"a directory with a size":         {with(pax("size=512"), dir), "no content"},
		"a link with a size":              {tartest.Join(sym, pax("size=512"), tartest.HardLink("a/A/b.sym", name), tartest.End), "no content"},
		"a link with a size of its own":   {tartest.Join(sym, tartest.Changed(tartest.HardLink("a/A/b.sym", name), 124, tartest.Octal(9)), tartest.End), "no content"},
		"a label with more to it":         {with(pax("mtime=1"), tartest.Header("label", 'V', tartest.Octal(0))), "of a kind that has none"},
		"a directory by half":             {with(pax("path=a/A/b.sym"), tartest.Header("b/", 0, tartest.Octal(0))), "directory by the name in its own header"},
		"a number in an odd base":         {tartest.Join(tartest.Changed(tartest.Header(name, '0', tartest.Octal(0)), 108, "\x81\x00\x00\x00"), tartest.End), "damaged number"},
		"a global header at the end":      {tartest.Join(sym, tartest.Extended('g', "comment=x"), tartest.End), "belongs to no member"},
		"a label with a size":             {with(tartest.Join(tartest.Header("label", 'V', tartest.Octal(9)), tartest.Padded("some text"))), "no content"},
		"an old directory with a size":    {with(tartest.Header("b/", 0, tartest.Octal(512)), sym[:512]), "no content"},

		"a prefix in a v7 header":        {tartest.Join(tartest.Changed(v7, 345, "evil"), tartest.End), "more than its format allows"},
		"a prefix in a GNU header":       {tartest.Join(tartest.Changed(tartest.Changed(tartest.Header(name, '0', tartest.Octal(0)), 257, "ustar  \x00"), 345, "00000000000"), tartest.End), "more than its format allows"},
		"holes of a regular file":        {tartest.Join(pax("path="+name), tartest.Changed(tartest.Changed(tartest.Header(name, '0', tartest.Octal(0)), 257, "ustar  \x00"), 386, "00000000000"), tartest.End), "lists holes"},
		"a prefix with another magic":    {tartest.Join(tartest.Changed(tartest.Changed(tartest.Header(name, '0', tartest.Octal(0)), 257, "ustar00"), 345, "evil"), tartest.End), "more than its format allows"},
		"a prefix that fills star's":     {tartest.Join(tartest.Seal(star), tartest.End), "more than its format allows"},
		"a checksum with a leading zero": {tartest.Join(leadingZero(tartest.Header(name, '0', tartest.Octal(0))), tartest.End), "wrong checksum"},

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
		"sparse, no end of the content": {tartest.Join(tartest.PaxSparse(9), tartest.File(name, "1\n0\n5\n12345"+strings.Repeat("6", tarcheck.BlockSize)), tartest.End), "map of the sparse member"},
		"sparse, old, map too short":    {tartest.Join(tartest.Changed(tartest.OldSparse(name), 483, tartest.Octal(9999)), tartest.End), "map of the sparse member"},
		"sparse, data out of its block": {with(pax(sparse("size=9"), sparse("numblocks=2"), sparse("map=0,5,5,4"))), "map of the sparse member"},
		"sparse, in a GNU header":       {tartest.Join(tartest.PaxSparse(9), tartest.Changed(tartest.Header(name, '0', tartest.Octal(0)), 257, "ustar  \x00"), tartest.End), "not all readers know"},
		"sparse, old, with pax":         {tartest.Join(pax("mtime=1"), tartest.OldSparse(name), tartest.End), "of a kind that has none"},
		"sparse, of Solaris":            {with(pax("SUN.holesdata= 0 9")), "in the format of star"},
		"sparse, of star":               {with(pax("SCHILY.realsize=9")), "in the format of star"},
	}
}

func leadingZero(b []byte) []byte {
	sum := string(b[148:154])
	copy(b[148:], "\x00"+sum+" ")
	return b
}

func TestAmbiguousTars(t *testing.T) {
	for name, c := range ambiguousTars() {
		t.Run(name, func(t *testing.T) {
			err := new(tarcheck.Checker).Check(c.data)
			if !errors.Is(err, fault.ErrInvalid) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v does not say %q", err, c.want)
			}
		})
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
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range hs {
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		_, _ = w.Write(bytes.Repeat([]byte("c"), int(h.Size)))
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	data := b.Bytes()
	for cut := 1; cut < 2000; cut += 37 {
		c := new(tarcheck.Checker)
		for rest := data; len(rest) > 0; {
			n := min(cut, len(rest))
			if err := c.Check(rest[:n]); err != nil {
				t.Fatalf("in pieces of %d: %v", cut, err)
			}
			rest = rest[n:]
		}
		if !c.Ended() {
			t.Errorf("in pieces of %d it does not end", cut)
		}
	}
}
