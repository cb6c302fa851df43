package audit_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/flate"

	"tecken-upload/internal/audit"
	"tecken-upload/internal/storage"
	"tecken-upload/internal/storage/storagetest"
	"tecken-upload/internal/upload"
)

// staleDistances is a deflate stream with a match in a block without distance codes, after a block with one.
const staleDistances = "\x0c\xe0\x01\x09\x00\x00\x00\x80\x20\xf8\x7f\x75\x69\x35\x80\x07\x24\x00\x00\x00\x00\x82\xe0\xff\xd5\x85\x05"

// stale is what earlier versions stored of such a zip member: a gzip file that only their decoder reads.
func stale(t *testing.T) kept {
	t.Helper()
	content, err := io.ReadAll(flate.NewReader(strings.NewReader(staleDistances)))
	if err != nil {
		t.Fatalf("the lenient decoder: %v", err)
	}
	packed := append([]byte{0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255}, staleDistances...)
	packed = binary.LittleEndian.AppendUint32(packed, crc32.ChecksumIEEE(content))
	packed = binary.LittleEndian.AppendUint32(packed, uint32(len(content)))
	return kept{packed, describe(content, true), audit.Broken, "can't be inflated: after "}
}

// kept is a stored file, and the expected finding.
type kept struct {
	data   []byte
	obj    upload.Object
	kind   audit.Kind // empty: good
	reason string     // part of it
}

// allKinds are files of every kind, by the names of their modules.
func allKinds(t *testing.T) map[string]kept {
	t.Helper()
	packed, wrong := zipped(text), describe(text, true)
	wrong.MD5[3]++
	long, short := describe(text, true), describe(text, true)
	long.Size--
	short.Size++
	plain := describe(text, false)
	changed := slices.Clone(packed)
	changed[len(changed)/2] ^= 0xff
	return map[string]kept{
		"good":       {data: packed, obj: describe(text, true)},
		"good.plain": {data: text, obj: plain},
		"good.empty": {obj: describe(nil, false)},
		"good.gz":    {data: packed, obj: describe(packed, false)}, // uploaded as it is
		"good.none":  {data: zipped(nil), obj: describe(nil, true)},
		"changed":    {changed, describe(text, true), audit.Broken, "can't be inflated"},
		"torn":       {packed[:len(packed)-1], describe(text, true), audit.Broken, "unexpected EOF"},
		"nothing":    {nil, describe(text, true), audit.Broken, "can't be inflated: EOF"},
		"trailing":   {slices.Concat(packed, []byte("x")), describe(text, true), audit.Broken, "can't be inflated: after 1934 bytes"},
		"twice":      {slices.Concat(packed, packed), describe(text, true), audit.Broken, "more than the 1934 bytes"},
		"stale":      stale(t),
		"no.gzip":    {text, describe(text, true), audit.Broken, "can't be inflated: gzip: invalid header"},
		"gzip":       {packed, plain, audit.Broken, "1934 are recorded"},
		"md5":        {packed, wrong, audit.Broken, fmt.Sprintf("its MD5 is %x, %x is recorded", plain.MD5, wrong.MD5)},
		"long":       {packed, long, audit.Broken, "more than the 1933 bytes"},
		"short":      {packed, short, audit.Broken, "it has 1934 bytes, 1935 are recorded"},
	}
}

// Files of every kind are recognised; only the broken ones are moved, once.
func TestEveryKind(t *testing.T) {
	h := newHouse(t)
	var broken, moved []line
	files := allKinds(t)
	for name, f := range files {
		h.put(name+"/AB/"+name+".sym", f.data, f.obj)
		if f.kind != "" {
			broken = append(broken, line{"v1/" + name + "/AB/" + name + ".sym", audit.Broken})
			moved = append(moved, line{"v1/" + name + "/AB/" + name + ".sym", audit.Moved})
		}
	}
	foreign := h.putGood("foreign/AB/foreign.sym")
	if err := os.Remove(filepath.Join(h.dir, "v1", "foreign", "AB", ".foreign.sym.meta")); err != nil {
		t.Fatal(err)
	}
	none := line{storage.ObjectKey(foreign), audit.Unverifiable}
	for pass, c := range []struct {
		repair bool
		want   []line
		files  int
	}{
		{false, append(broken, none), len(files)}, {true, append(moved, none), len(files)}, {true, []line{none}, len(files) - len(broken)},
	} {
		slices.SortFunc(c.want, func(a, b line) int { return strings.Compare(a.key, b.key) })
		found, totals, err := h.run(t.Context(), audit.Config{Repair: c.repair})
		if diff := cmp.Diff(c.want, lines(found), cmpLines); diff != "" || err != nil {
			t.Errorf("pass %d: %v (-want +got):\n%s", pass, err, diff)
		}
		for _, f := range found {
			if want := files[f.Location.Key.DebugFile()].reason; !strings.Contains(f.Reason, want) {
				t.Errorf("%s: %q; want %q", f.Location.Key, f.Reason, want)
			}
		}
		want := audit.Totals{Files: c.files, Broken: len(c.want) - 1, Unverifiable: 1, Bytes: totals.Bytes, Position: "v1/twice/AB/twice.sym"}
		if c.repair {
			want.Moved = want.Broken
		}
		if pass == 2 {
			want.Position = "v1/good/AB/good.sym"
		}
		if diff := cmp.Diff(want, totals); diff != "" {
			t.Errorf("pass %d: totals differ (-want +got):\n%s", pass, diff)
		}
	}
	for name, f := range files {
		data, err := os.ReadFile(filepath.Join(h.dir, "broken", "v1", name, "AB", name+".sym"))
		if f.kind == "" && err == nil || f.kind != "" && !bytes.Equal(data, f.data) {
			t.Errorf("moved of %s are %d bytes: %v", name, len(data), err)
		}
	}
}

// No failure to read a file is a reason to move it.
func TestUnreadable(t *testing.T) {
	fault := fmt.Errorf("%w: input/output error", upload.ErrUnavailable)
	for name, fail := range map[string]func(h *house){
		"open": func(h *house) { h.opening = func(context.Context, string) error { return fault } },
		"read": func(h *house) { h.reading = func(string, int) error { return fault } },
	} {
		t.Run(name, func(t *testing.T) {
			h := newHouse(t)
			broken, whole := h.putBroken("a/AB/a.sym"), h.putGood("b/AB/b.sym")
			fail(h)
			found, totals, err := h.run(t.Context(), audit.Config{Repair: true})
			want := []line{{storage.ObjectKey(broken), audit.Unreadable}, {storage.ObjectKey(whole), audit.Unreadable}}
			if diff := cmp.Diff(want, lines(found), cmpLines); diff != "" || err != nil {
				t.Errorf("%v (-want +got):\n%s", err, diff)
			}
			if totals.Files != 0 || totals.Unreadable != 2 || totals.Position != "" || !strings.Contains(found[0].Reason, "input/output error") {
				t.Errorf("totals %+v, %q", totals, found[0].Reason)
			}
			for _, loc := range []upload.Location{broken, whole} {
				if _, err := h.Stat(t.Context(), loc); err != nil {
					t.Errorf("stat: %v", err)
				}
			}
		})
	}
}

// One failed or wrong reading counts for nothing.
func TestSecondReading(t *testing.T) {
	h := newHouse(t)
	h.putGood("a/AB/a.sym")
	broken := h.putBroken("b/AB/b.sym")
	h.reading = func(_ string, n int) error {
		if n == 1 {
			return errors.New("connection reset")
		}
		return nil
	}
	found, totals, err := h.run(t.Context(), audit.Config{})
	want := []line{{storage.ObjectKey(broken), audit.Broken}}
	if diff := cmp.Diff(want, lines(found), cmpLines); diff != "" || err != nil || totals.Files != 2 {
		t.Errorf("%+v, %v (-want +got):\n%s", totals, err, diff)
	}
}

// Storage that goes down ends the audit before the first unreadable file.
func TestStorageGoesDown(t *testing.T) {
	h := newHouse(t)
	keys := h.fill(40)
	down := 0
	h.opening = func(_ context.Context, key string) error {
		if "v1/"+key >= keys[5] {
			down++
			return upload.ErrUnavailable
		}
		return nil
	}
	found, totals, err := h.run(t.Context(), audit.Config{Prefix: "v1/"})
	if err == nil || !strings.Contains(err.Error(), "10 files in a row can't be read") || !strings.Contains(err.Error(), upload.ErrUnavailable.Error()) {
		t.Errorf("run: %v", err)
	}
	if totals.Files != 5 || totals.Position != keys[4] || len(found) < 10 || len(found) == 35 {
		t.Errorf("%d findings, totals %+v", len(found), totals)
	}
}

// A file that is replaced while it is read is judged by its replacement, and that is not moved.
func TestReplacedWhileItIsRead(t *testing.T) {
	h := newHouse(t)
	loc := h.putBroken("a/AB/a.sym")
	fresh := storagetest.Content{Data: zipped(text), Object: describe(text, true)}
	pass := audit.New(audit.Config{Storage: &replacing{house: h, fresh: fresh}, Parallel: 1, Repair: true, Report: func(f audit.Finding) error {
		t.Errorf("reported: %+v", f)
		return nil
	}})
	if err := pass.Run(t.Context()); err != nil || pass.Totals().Files != 1 || pass.Totals().Broken != 0 {
		t.Errorf("%+v, %v", pass.Totals(), err)
	}
	fresh.Check(t, h.Store, loc)
}

// replacing stores another file just before a file is moved.
type replacing struct {
	*house
	fresh storagetest.Content
}

// SetAside implements audit.Storage.
func (r *replacing) SetAside(ctx context.Context, loc upload.Location, version string) error {
	r.fresh.Put(r.t, r.Store, loc)
	return r.Store.SetAside(ctx, loc, version)
}

// A file that is gone before it is read, or before it is moved, is no fault.
func TestGone(t *testing.T) {
	h := newHouse(t)
	h.putGood("a/AB/a.sym")
	h.putBroken("b/AB/b.sym")
	h.opening = func(context.Context, string) error { return os.RemoveAll(filepath.Join(h.dir, "v1", "a")) }
	pass := audit.New(audit.Config{Storage: &losing{h}, Parallel: 1, Repair: true, Report: func(f audit.Finding) error {
		t.Errorf("reported: %+v", f)
		return nil
	}})
	if err := pass.Run(t.Context()); err != nil || pass.Totals().Gone != 2 || pass.Totals().Files != 0 {
		t.Errorf("%+v, %v", pass.Totals(), err)
	}
}

// losing loses a file before it is moved.
type losing struct{ *house }

// SetAside implements audit.Storage.
func (l *losing) SetAside(context.Context, upload.Location, string) error {
	return upload.ErrNotFound
}

// A file that can't be moved is still broken, and has the reason.
func TestCanNotBeMoved(t *testing.T) {
	h := newHouse(t)
	h.putBroken("a/AB/a.sym")
	if err := os.WriteFile(filepath.Join(h.dir, "broken"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	found, totals, err := h.run(t.Context(), audit.Config{Repair: true})
	if err != nil || len(found) != 1 || found[0].Kind != audit.Broken || totals.Broken != 1 || totals.Moved != 0 ||
		!strings.Contains(found[0].Reason, "it can't be moved: ") || !strings.Contains(found[0].Reason, "can't be inflated") {
		t.Errorf("%+v, %+v, %v", found, totals, err)
	}
}
