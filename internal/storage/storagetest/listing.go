package storagetest

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tecken-upload/internal/storage"
	"tecken-upload/internal/upload"
)

// list returns the object keys of a listing.
func (b Backend) list(t *testing.T, prefix, after string) (keys []string) {
	t.Helper()
	for entry, err := range b.Store.List(t.Context(), prefix, after) {
		if err != nil {
			t.Fatalf("list %q after %q: %v", prefix, after, err)
		}
		keys = append(keys, storage.ObjectKey(entry.Location))
	}
	return keys
}

// testList lists keys in another order than that of their apparent directories, and an id in lower case, as other servers
// store it.
func testList(t *testing.T, b Backend) {
	var want []string
	for i, name := range []string{"a", "a b", "a+b", "a.b", "a-b", "aa", "A", "libstdc++.so", "x&y;z=$", "~", "Tést", "微信"} {
		loc := Location(t, name+"/0F/"+name+".sym")
		for _, loc.Try = range []bool{false, true} {
			Random(uint64(i), small+i).Put(t, b.Store, loc)
			want = append(want, storage.ObjectKey(loc))
		}
	}
	for _, key := range []string{"a/00/a.sym", "a/0F/a.pdb", "a/0F/a.sym.x", "a/0F0/a.sym"} {
		loc := Location(t, key)
		Random(1, small).Put(t, b.Store, loc)
		want = append(want, storage.ObjectKey(loc))
	}
	legacy := Location(t, "a/abc/a.sym")
	legacy.Key = legacy.Key.AsSent("abc")
	Random(1, small).Put(t, b.Store, legacy)
	want = append(want, "v1/a/abc/a.sym")
	slices.Sort(want)

	if diff := cmp.Diff(want, b.list(t, "", "")); diff != "" {
		t.Errorf("all of it (-want +got):\n%s", diff)
	}
	prefixes := []string{"v1/", "try/v1/", "v1/a", "v1/a/", "v1/a/0F/a.", "v1/a/0F/a.sym", "v1/a b/", "v1/libstdc++", "v", "try", "v1/none", "broken/"}
	for _, prefix := range prefixes {
		others := func(key string) bool { return !strings.HasPrefix(key, prefix) }
		for _, after := range append([]string{"", "try/v1/~", "v1/a/0", "w"}, slices.DeleteFunc(slices.Clone(want), others)...) {
			expected := slices.DeleteFunc(slices.Clone(want), func(key string) bool { return !strings.HasPrefix(key, prefix) || key <= after })
			if diff := cmp.Diff(expected, b.list(t, prefix, after), cmpEmpty); diff != "" {
				t.Errorf("%q after %q (-want +got):\n%s", prefix, after, diff)
			}
		}
	}
	for entry, err := range b.Store.List(t.Context(), "v1/a b/", "") {
		if age := time.Since(entry.Modified).Abs(); err != nil || age > time.Minute {
			t.Errorf("entry %+v, %v", entry, err)
		}
	}
	b.checkListEnds(t)
}

// cmpEmpty compares a list that is nil as one that is empty.
var cmpEmpty = cmp.Transformer("empty", func(list []string) []string { return append([]string{}, list...) })

// checkListEnds ends a listing early: by taking no more of it, and by its context.
func (b Backend) checkListEnds(t *testing.T) {
	t.Helper()
	for _, err := range b.Store.List(t.Context(), "", "") {
		if err != nil {
			t.Errorf("list: %v", err)
		}
		break
	}
	cause := errors.New("the reason")
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	var errs []error
	for _, err := range b.Store.List(ctx, "", "") {
		cancel(cause)
		if err != nil {
			errs = append(errs, err)
		}
	}
	if len(errs) != 1 || !errors.Is(errs[0], cause) || errors.Is(errs[0], upload.ErrUnavailable) {
		t.Errorf("list: %v; want the context's cause once, and not ErrUnavailable", errs)
	}
}

// testListWhileItChanges takes away what is about to be listed, and brings something new.
func testListWhileItChanges(t *testing.T, b Backend) {
	for _, key := range []string{"a/1/a", "b/1/b", "c/1/c", "d/1/d", "e/1/e", "f/1/f"} {
		Random(1, small).Put(t, b.Store, Location(t, key))
	}
	seen := map[string]int{}
	for entry, err := range b.Store.List(t.Context(), "v1/", "") {
		if err != nil {
			t.Fatal(err)
		}
		if len(seen) == 0 {
			if err := b.Remove("v1/c/1/c"); err != nil {
				t.Fatal(err)
			}
			Random(1, small).Put(t, b.Store, Location(t, "e/2/e"))
		}
		seen[storage.ObjectKey(entry.Location)]++
	}
	for _, key := range []string{"a/1/a", "b/1/b", "d/1/d", "e/1/e", "f/1/f"} {
		if n := seen["v1/"+key]; n != 1 {
			t.Errorf("%s was listed %d times", key, n)
		}
	}
}

// Version returns the version of the object at loc.
func Version(t *testing.T, store Store, loc upload.Location) string {
	t.Helper()
	r, err := store.Open(t.Context(), loc)
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	r.Close()
	return r.Version
}

// checkAside fails the test unless exactly c was moved away from loc.
func (b Backend) checkAside(t *testing.T, loc upload.Location, c Content) {
	t.Helper()
	data, err := b.Read(storage.BrokenKey(loc))
	if err != nil || !bytes.Equal(data, c.Data) {
		t.Errorf("set aside are %d bytes, %v; want %d", len(data), err, len(c.Data))
	}
}

func testSetAside(t *testing.T, b Backend) {
	for i, key := range []string{"a.pdb/1/a.sym", "a b+c/1/a&(b).pdb", "libstdc++.so/0F/libstdc++.so.dbg.gz"} {
		loc := Location(t, key)
		for _, loc.Try = range []bool{false, true} {
			for round := range uint64(2) { // the second replaces what the first has moved away
				c := Random(uint64(i)+10*round, small)
				c.Object.Gzip = loc.Key.IsSym()
				c.Put(t, b.Store, loc)
				version := Version(t, b.Store, loc)
				if err := b.Store.SetAside(t.Context(), loc, version); err != nil {
					t.Fatalf("set aside: %v", err)
				}
				b.checkAside(t, loc, c)
				checkAbsent(t, b.Store, loc)
				if err := b.Store.SetAside(t.Context(), loc, version); !errors.Is(err, upload.ErrNotFound) || errors.Is(err, upload.ErrUnavailable) {
					t.Errorf("set aside what is gone: %v; want ErrNotFound", err)
				}
			}
			if keys := b.list(t, "", ""); len(keys) > 0 {
				t.Errorf("listed are %q", keys)
			}
		}
		Random(7, small).Put(t, b.Store, loc)
		Random(7, small).Check(t, b.Store, loc)
		if err := b.Store.SetAside(t.Context(), loc, Version(t, b.Store, loc)); err != nil {
			t.Fatal(err)
		}
	}
}

func testSetAsideChanged(t *testing.T, b Backend) {
	loc := Location(t, "a.pdb/1/a.pdb")
	Random(1, small).Put(t, b.Store, loc)
	former := Version(t, b.Store, loc)
	fresh := Random(2, small)
	fresh.Put(t, b.Store, loc)
	if err := b.Store.SetAside(t.Context(), loc, former); !errors.Is(err, storage.ErrChanged) || errors.Is(err, upload.ErrUnavailable) {
		t.Errorf("set aside: %v; want ErrChanged", err)
	}
	fresh.Check(t, b.Store, loc)
	if _, err := b.Read(storage.BrokenKey(loc)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("set aside is something: %v", err)
	}
	cause := errors.New("the reason")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(cause)
	if err := b.Store.SetAside(ctx, loc, Version(t, b.Store, loc)); !errors.Is(err, cause) || errors.Is(err, upload.ErrUnavailable) {
		t.Errorf("set aside: %v; want the context's cause", err)
	}
	fresh.Check(t, b.Store, loc)
}
