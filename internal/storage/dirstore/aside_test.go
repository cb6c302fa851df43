package dirstore

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tecken-upload/internal/storage"
	"tecken-upload/internal/storage/storagetest"
	"tecken-upload/internal/upload"
)

// An object is moved with its metadata, if it has any.
func TestSetAsideWithMetadata(t *testing.T) {
	s := openStore(t, t.TempDir())
	loc := storagetest.Location(t, "a.pdb/1/a.sym")
	aside := filepath.Join(s.dir, "broken", "v1", "a.pdb", "1")
	storagetest.Random(1, 1000).Put(t, s, loc)
	meta, err := os.ReadFile(s.metaPath(loc))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.SetAside(t.Context(), loc, storagetest.Version(t, s, loc)); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(filepath.Join(aside, ".a.sym.meta")); err != nil || string(got) != string(meta) {
		t.Errorf("metadata %s, %v; want %s", got, err, meta)
	}
	if entries, err := os.ReadDir(filepath.Dir(s.path(loc))); err != nil || len(entries) > 0 {
		t.Errorf("left behind: %v, %v", entries, err)
	}

	storagetest.Random(2, 1000).Put(t, s, loc)
	if err := os.Remove(s.metaPath(loc)); err != nil {
		t.Fatal(err)
	}
	if err := s.SetAside(t.Context(), loc, storagetest.Version(t, s, loc)); err != nil {
		t.Errorf("without metadata: %v", err)
	}
}

// A process that dies after it has moved the data leaves no object, and does not block the next one.
func TestKilledSettingAside(t *testing.T) {
	s := openStore(t, t.TempDir())
	loc, fresh := storagetest.Location(t, "a.pdb/1/a.sym"), storagetest.Random(2, 500)
	storagetest.Random(1, 1000).Put(t, s, loc)
	if err := os.Remove(s.path(loc)); err != nil { // only its metadata are left
		t.Fatal(err)
	}
	for entry, err := range s.List(t.Context(), "", "") {
		t.Errorf("listed: %+v, %v", entry, err)
	}
	if err := s.SetAside(t.Context(), loc, "any"); !errors.Is(err, upload.ErrNotFound) {
		t.Errorf("set aside: %v; want ErrNotFound", err)
	}
	fresh.Put(t, s, loc)
	fresh.Check(t, s, loc)
}

// An object stored while the former one is being moved stays.
func TestSetAsideBesidePuts(t *testing.T) {
	s := openStore(t, t.TempDir())
	loc := storagetest.Location(t, "a.pdb/1/a.sym")
	for round := range uint64(50) {
		storagetest.Random(2*round, 1000).Put(t, s, loc)
		former, fresh := storagetest.Version(t, s, loc), storagetest.Random(2*round+1, 1000)
		var mover sync.WaitGroup
		mover.Go(func() {
			err := s.SetAside(t.Context(), loc, former)
			if err != nil && !errors.Is(err, storage.ErrChanged) {
				t.Errorf("set aside: %v", err)
			}
		})
		fresh.Put(t, s, loc)
		mover.Wait()
		fresh.Check(t, s, loc)
	}
}

// A refreshed object has another version, since an upload relies on it.
func TestSetAsideRefreshed(t *testing.T) {
	s := openStore(t, t.TempDir())
	loc, c := storagetest.Location(t, "a.pdb/1/a.sym"), storagetest.Random(1, 1000)
	c.Put(t, s, loc)
	former := storagetest.Version(t, s, loc)
	if err := s.Refresh(t.Context(), loc, c.Object); err != nil {
		t.Fatal(err)
	}
	if err := s.SetAside(t.Context(), loc, former); !errors.Is(err, storage.ErrChanged) {
		t.Errorf("set aside: %v; want ErrChanged", err)
	}
	c.Check(t, s, loc)
}

// Expire leaves files that were moved aside.
func TestExpireLeavesWhatWasSetAside(t *testing.T) {
	s := openStore(t, t.TempDir())
	loc := aged(t, s, "a.pdb/1/a.pdb", true, 3*time.Hour)
	if err := s.SetAside(t.Context(), loc, storagetest.Version(t, s, loc)); err != nil {
		t.Fatal(err)
	}
	if done, err := s.Expire(t.Context(), time.Now()); err != nil || done != (Expired{}) {
		t.Errorf("expired %+v, %v", done, err)
	}
	if _, err := os.Stat(filepath.Join(s.dir, storage.BrokenKey(loc))); err != nil {
		t.Error(err)
	}
}

// A comparison with the data uses metadata that Stat does not trust.
func TestOpenOfDataOfAnotherSize(t *testing.T) {
	s := openStore(t, t.TempDir())
	loc, c := storagetest.Location(t, "a.pdb/1/a.sym"), storagetest.Random(1, 1000)
	c.Object.Gzip = true
	c.Put(t, s, loc)
	if err := os.Truncate(s.path(loc), 999); err != nil {
		t.Fatal(err)
	}
	r, err := s.Open(t.Context(), loc)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	data, err := io.ReadAll(r)
	if err != nil || len(data) != 999 || r.Object.Size != 1000 || r.Object.MD5 != c.Object.MD5 || !r.Object.Gzip {
		t.Errorf("%d bytes of %+v, %v", len(data), r.Object, err)
	}
	if err := os.Remove(s.metaPath(loc)); err != nil {
		t.Fatal(err)
	}
	bare, err := s.Open(t.Context(), loc)
	if err != nil {
		t.Fatal(err)
	}
	defer bare.Close()
	if bare.Object.Size != -1 || bare.Object.Gzip {
		t.Errorf("without metadata: %+v", bare.Object)
	}
}

// Only symbol files are listed, whatever else is in the directory.
func TestListWhatIsNotOurs(t *testing.T) {
	s := openStore(t, t.TempDir())
	loc, elsewhere := storagetest.Location(t, "b/1/b"), t.TempDir()
	storagetest.Random(1, 1000).Put(t, s, loc)
	at := func(path string) string { return filepath.Join(s.dir, "v1", path) }
	for _, err := range []error{
		os.WriteFile(at("README"), nil, 0o600),
		os.WriteFile(at("b/README"), nil, 0o600),
		os.WriteFile(at("b/1/not#ours"), nil, 0o600),
		os.MkdirAll(at("b/1/c/d"), 0o700),
		os.MkdirAll(at("b/empty"), 0o700),
		unix.Mkfifo(at("b/1/fifo"), 0o600),
		unix.Mkfifo(at("fifo"), 0o600),
		os.Symlink("nowhere", at("b/1/dangling")),
		os.Symlink("nowhere", at("dangling")),
		os.WriteFile(filepath.Join(elsewhere, "linked"), nil, 0o600),
		os.Symlink(filepath.Join(elsewhere, "linked"), at("b/1/linked")),
		os.Symlink(at("b"), at("linked")),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	var keys []string
	for entry, err := range s.List(t.Context(), "", "") {
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, storage.ObjectKey(entry.Location))
	}
	if want := []string{"v1/b/1/b", "v1/b/1/linked", "v1/linked/1/b", "v1/linked/1/linked"}; !slices.Equal(keys, want) {
		t.Errorf("listed %q; want %q", keys, want)
	}
}

// Listing after an unmount is an error.
func TestListUnmounted(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "symbols")
	s := openStore(t, dir)
	if err := os.Rename(dir, dir+".away"); err != nil {
		t.Fatal(err)
	}
	var last error
	for entry, err := range s.List(t.Context(), "", "") {
		if last = err; err == nil {
			t.Errorf("listed %+v", entry)
		}
	}
	if !errors.Is(last, upload.ErrUnavailable) {
		t.Errorf("list: %v; want ErrUnavailable", last)
	}
}
