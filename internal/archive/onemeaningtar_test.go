package archive

import (
	"context"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tecken-upload/internal/archive/tarcheck"
	"tecken-upload/internal/archive/tartest"
)

// How ordinary tools write what is not quite ordinary.
func TestTarsOfTools(t *testing.T) {
	const name = "a/A/a.sym"
	sym := tartest.File(name, symText)
	hole := "12345\x00\x00\x00\x00"
	old := tartest.OldSparse(name)
	copy(old[386:], tartest.Octal(0)+tartest.Octal(5)+tartest.Octal(9)+tartest.Octal(0))
	copy(old[483:], tartest.Octal(9))
	copy(old[124:], tartest.Octal(5))
	// The same with its map in a block of its own.
	more := tartest.Seal([]byte(string(old)))
	clear(more[386:482])
	more[482] = 1
	pairs := make([]byte, tarcheck.BlockSize)
	copy(pairs, tartest.Octal(0)+tartest.Octal(5)+tartest.Octal(9)+tartest.Octal(0))
	for what, c := range map[string]struct {
		data []byte
		want map[string]string
	}{
		"old sparse file":           {tartest.Join(tartest.Seal(old), tartest.Padded("12345")), map[string]string{name: hole}},
		"old sparse file, long map": {tartest.Join(tartest.Seal(more), pairs, tartest.Padded("12345")), map[string]string{name: hole}},
		"sparse 0.0": {tartest.Join(tartest.Extended('x', "GNU.sparse.size=9", "GNU.sparse.numblocks=2", "GNU.sparse.offset=0", "GNU.sparse.numbytes=5", "GNU.sparse.offset=9", "GNU.sparse.numbytes=0"),
			tartest.File(name, "12345")), map[string]string{name: hole}},
		"sparse 0.1": {tartest.Join(tartest.Extended('x', "GNU.sparse.size=9", "GNU.sparse.numblocks=2", "GNU.sparse.map=0,5,9,0", "GNU.sparse.name="+name),
			tartest.File("GNUSparseFile.0/a.sym", "12345")), map[string]string{name: hole}},
		"sparse 1.0":          {tartest.Sparse(), map[string]string{name: hole}},
		"a label":             {tartest.Join(tartest.Header("backup", 'V', tartest.Octal(0)), sym), map[string]string{name: symText}},
		"a label of pax":      {tartest.Join(tartest.Extended('g', "GNU.volume.label=backup"), sym), map[string]string{name: symText}},
		"made by git":         {tartest.Join(tartest.Extended('g', "comment=0df6977"), sym), map[string]string{name: symText}},
		"two names, the same": {tartest.Join(tartest.Extended('x', "path="+name), tartest.ExtendedRaw('L', name+"\x00"), sym), map[string]string{name: symText}},
		"a prefix": {tartest.Join(tartest.Changed(tartest.Header("a.sym", '0', tartest.Octal(len(symText))), 345, "a/A"), tartest.Padded(symText)),
			map[string]string{name: symText}},
		"an empty file without a size": {tartest.Join(sym, tartest.Header("b/B/b.sym", '0', strings.Repeat("\x00", 12))), map[string]string{name: symText, "b/B/b.sym": ""}},
		"in the plain C locale": {tartest.Join(tartest.Extended('x', "hdrcharset=BINARY", "path=größe/A/a.sym"), tartest.File("gr??e/A/a.sym", symText)),
			map[string]string{"größe/A/a.sym": symText}},
	} {
		for _, format := range []string{"tar", "tar.zst"} {
			a, _, err := verify(t.Context(), tartest.Compress(t, format, tartest.Join(c.data, tartest.End)), roomy)
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
	data := tartest.Join(
		tartest.File("a/A/a.sym", symText), tartest.File("./b/B/b.pdb", "b"), tartest.HardLink("a/A/b.sym", "a/A/a.sym"), tartest.Header("c/", '5', tartest.Octal(0)),
		tartest.HardLink("c/C/c.pdb", "./a/A/b.sym"), tartest.HardLink("./c/C/c.sym", "b/B/b.pdb"), tartest.File("d/D/d.pdb", "d"), tartest.HardLink("c/C/d.pdb", "./a/A/a.sym"), tartest.End)
	want := map[string]string{
		"a/A/a.sym": symText, "a/A/b.sym": symText, "c/C/c.pdb": symText, "c/C/d.pdb": symText, "b/B/b.pdb": "b", "c/C/c.sym": "b", "d/D/d.pdb": "d",
	}
	for _, format := range formats[1:] {
		a, ms, err := verify(t.Context(), tartest.Compress(t, format, data), roomy)
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
	sym := tartest.File("a/A/a.sym", symText)
	for what, c := range map[string]struct {
		data []byte
		want string
	}{
		"before its target": {tartest.Join(tartest.HardLink("b/B/b.sym", "a/A/a.sym"), sym), "is no other member before it"},
		"to itself":         {tartest.Join(sym, tartest.HardLink("a/A/a.sym", "a/A/a.sym")), "is no other member before it"},
		"to a directory":    {tartest.Join(sym, tartest.Header("b/", '5', tartest.Octal(0)), tartest.HardLink("b/B/b.sym", "b/")), "is no other member before it"},
		"absolute":          {tartest.Join(sym, tartest.HardLink("b/B/b.sym", "/a/A/a.sym")), "is no other member before it"},
		"climbs":            {tartest.Join(sym, tartest.HardLink("b/B/b.sym", "../a/A/a.sym")), "is no other member before it"},
		"bad name":          {tartest.Join(sym, tartest.HardLink("b", "a/A/a.sym")), "Unrecognized file pattern"},
	} {
		if got := rejected(t, tartest.Join(c.data, tartest.End), roomy, ErrInvalid); !strings.Contains(got, c.want) {
			t.Errorf("%s: %q does not say %q", what, got, c.want)
		}
	}
	// Links count in every limit.
	size := int64(len(symText))
	data := tartest.Join(sym, tartest.HardLink("b/B/b.sym", "a/A/a.sym"), tartest.End)
	for _, l := range []Limits{
		{MaxMembers: 1, MaxMemberSize: size, MaxExtractedSize: 2 * size}, {MaxMembers: 2, MaxMemberSize: size, MaxExtractedSize: 2*size - 1},
	} {
		rejected(t, data, l, ErrTooLarge)
	}
	if _, _, err := verify(t.Context(), data, Limits{MaxMembers: 2, MaxMemberSize: size, MaxExtractedSize: 2 * size}); err != nil {
		t.Error(err)
	}
}
