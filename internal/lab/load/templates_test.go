package main

import (
	"archive/zip"
	"bytes"
	"io"
	"os"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"

	"tecken-upload/internal/testarchive"
)

func testTemplate(t *testing.T, spec testarchive.Spec) *template {
	t.Helper()
	made, err := makeTemplate(t.Context(), t.TempDir(), 0, spec)
	if err != nil {
		t.Fatal(err)
	}
	return made
}

func TestVariant(t *testing.T) {
	tpl := testTemplate(t, testarchive.Spec{Bytes: 20_000, Members: 5, Listing: true})
	if len(tpl.members) != 5 || tpl.ignored != 1 || len(tpl.patches) != 10 {
		t.Fatalf("%d members, %d listings, %d patches", len(tpl.members), tpl.ignored, len(tpl.patches))
	}
	f, err := os.Open(tpl.file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	whole, err := io.ReadAll(tpl.variant(f, 0xabc123))
	if err != nil {
		t.Fatal(err)
	}
	for name, read := range map[string]func(io.Reader) io.Reader{"one byte": iotest.OneByteReader, "half": iotest.HalfReader, "late errors": iotest.DataErrReader} {
		got, err := io.ReadAll(read(tpl.variant(f, 0xabc123)))
		if err != nil || !bytes.Equal(got, whole) {
			t.Errorf("%s: other bytes, or %v", name, err)
		}
	}
	r, err := zip.NewReader(bytes.NewReader(whole), int64(len(whole)))
	if err != nil {
		t.Fatal(err)
	}
	for i, m := range r.File[:5] {
		masked, digits := mask(m.Name)
		if want, _ := mask(tpl.members[i].Name); masked != want || digits != "00ABC123" {
			t.Errorf("member %d is named %s, of %s", i, m.Name, tpl.members[i].Name)
		}
		content, err := m.Open() // compares the local header's name with nothing
		if err != nil {
			t.Fatal(err)
		}
		want, err := os.Open(tpl.content(i))
		if err != nil {
			t.Fatal(err)
		}
		if err := equal(content, want); err != nil {
			t.Errorf("%s: %v", m.Name, err)
		}
		want.Close()
		if n := bytes.Count(whole, []byte(m.Name)); n < 2 {
			t.Errorf("%s stands %d times in the archive: not in its local header", m.Name, n)
		}
	}
}

func TestTarTemplate(t *testing.T) {
	tpl := testTemplate(t, testarchive.Spec{Bytes: 20_000, Members: 4, Format: testarchive.TarGzip})
	if tpl.varied() || tpl.extension() != ".tar.gz" {
		t.Error("a tar.gz has variants")
	}
	for i, m := range tpl.members {
		if info, err := os.Stat(tpl.content(i)); err != nil || info.Size() != m.Size {
			t.Errorf("%s was not extracted: %v, %v", m.Name, info, err)
		}
	}
}

func TestEqual(t *testing.T) {
	long := strings.Repeat("0123456789", 20_000)
	for _, c := range []struct {
		name, got, want string
		equal           bool
	}{
		{"empty", "", "", true},
		{"a buffer exactly", long[:64<<10], long[:64<<10], true},
		{"long", long, long, true},
		{"shorter", long[:len(long)-1], long, false},
		{"longer", long, long[:len(long)-1], false},
		{"longer by a buffer", long[:128<<10], long[:64<<10], false},
		{"another last byte", long[:len(long)-1] + "x", long, false},
		{"nothing", "", "x", false},
	} {
		if err := equal(strings.NewReader(c.got), strings.NewReader(c.want)); (err == nil) != c.equal {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	if err := equal(io.MultiReader(strings.NewReader("ab"), iotest.ErrReader(io.ErrUnexpectedEOF)), strings.NewReader("ab")); err == nil {
		t.Error("a stream that breaks off is equal")
	}
}

// TestJobs: what is sent follows from the seed alone.
func TestJobs(t *testing.T) {
	plans := func(seed uint64) (all []job) {
		o := options{clients: 20, seed: seed, time: longTime, hangUps: 10}
		specs, giants := specs(o)
		templates := make([]*template, len(specs))
		for i, spec := range specs {
			templates[i] = &template{number: i, size: spec.Bytes, small: spec.Bytes < smallest, patches: []int64{1}}
		}
		for _, p := range newPlanners(o, templates, giants) {
			for range 50 {
				j := p.plan()
				j.template = &template{number: j.template.number}
				all = append(all, *j)
			}
		}
		return all
	}
	compare := cmp.AllowUnexported(job{}, template{}, cut{})
	if diff := cmp.Diff(plans(1), plans(1), compare); diff != "" {
		t.Errorf("one seed, two plans:\n%s", diff)
	}
	if cmp.Equal(plans(1), plans(2), compare) {
		t.Error("two seeds, one plan")
	}
	count := make(map[string]int)
	for _, j := range plans(1) {
		for what, is := range map[string]bool{
			"slow": j.send > 0, "cut": j.cut != nil, "chunked": j.chunked, "expect": j.expect, "giant": j.template.number >= 16,
			"common": j.variant>>16 == common,
		} {
			if is {
				count[what]++
			}
		}
	}
	for _, what := range []string{"slow", "cut", "chunked", "expect", "common"} {
		if n := count[what]; n < 30 || n > 400 {
			t.Errorf("%d of 1000 jobs are %s", n, what)
		}
	}
	if count["giant"] != 2 {
		t.Errorf("%d giants instead of 2", count["giant"])
	}
}
