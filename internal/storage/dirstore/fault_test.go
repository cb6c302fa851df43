package dirstore

import (
	"context"
	"crypto/md5"
	"errors"
	"io"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tecken-upload/internal/storage/storagetest"
	"tecken-upload/internal/testenv"
	"tecken-upload/internal/upload"
)

func openStore(t *testing.T, dir string) *Store {
	t.Helper()
	s, err := Open(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// An object with damaged metadata has unknown content, can be read, and can be replaced.
func TestUntrustedMetadata(t *testing.T) {
	s := openStore(t, t.TempDir())
	for name, damage := range map[string]func(data, meta string) error{
		"missing":      func(_, meta string) error { return os.Remove(meta) },
		"empty":        func(_, meta string) error { return os.Truncate(meta, 0) },
		"torn":         func(_, meta string) error { return os.Truncate(meta, 20) },
		"no JSON":      func(_, meta string) error { return os.WriteFile(meta, []byte("original_size=1000"), 0o644) },
		"endless":      func(_, meta string) error { return os.Truncate(meta, 1<<40) },
		"of no size":   func(_, meta string) error { return os.WriteFile(meta, []byte(`{"stored_size":"1000"}`), 0o644) },
		"data torn":    func(data, _ string) error { return os.Truncate(data, 999) },
		"data grown":   func(data, _ string) error { return os.Truncate(data, 1001) },
		"data missing": nil,
	} {
		t.Run(name, func(t *testing.T) {
			loc, c := storagetest.Location(t, "a.pdb/1/a.pdb"), storagetest.Random(1, 1000)
			c.Put(t, s, loc)
			if damage == nil {
				if err := os.Remove(s.path(loc)); err != nil {
					t.Fatal(err)
				}
				if _, err := s.Stat(t.Context(), loc); !errors.Is(err, upload.ErrNotFound) {
					t.Errorf("stat: %v; want ErrNotFound", err)
				}
			} else {
				if err := damage(s.path(loc), s.metaPath(loc)); err != nil {
					t.Fatal(err)
				}
				obj, err := s.Stat(t.Context(), loc)
				if err != nil || obj.Size != -1 || obj.MD5 != (upload.MD5{}) || obj.Modified.IsZero() {
					t.Errorf("stat: %+v, %v; want an unknown content", obj, err)
				}
				if err := s.Refresh(t.Context(), loc, c.Object); err != nil {
					t.Errorf("refresh: %v", err)
				}
			}
			c.Put(t, s, loc)
			c.Check(t, s, loc)
		})
	}
}

func TestGzipOfUnknownContent(t *testing.T) {
	s := openStore(t, t.TempDir())
	gzip := storagetest.Content{Data: []byte{0x1f, 0x8b, 8, 0}}
	for key, c := range map[string]struct {
		content storagetest.Content
		want    bool
	}{
		"a.pdb/1/a.sym":       {gzip, true},
		"a.so/1/a.so.dbg.gz":  {gzip, false},
		"b.pdb/1/b.sym":       {storagetest.Content{Data: []byte("MODULE")}, false},
		"empty.pdb/1/one.sym": {storagetest.Content{Data: []byte{0x1f}}, false},
	} {
		loc := storagetest.Location(t, key)
		c.content.Put(t, s, loc)
		if err := os.Remove(s.metaPath(loc)); err != nil {
			t.Fatal(err)
		}
		if obj, err := s.Stat(t.Context(), loc); err != nil || obj.Gzip != c.want {
			t.Errorf("stat %s: gzip %v, %v; want %v", key, obj.Gzip, err, c.want)
		}
	}
}

// After an unmount no object is reported as missing.
func TestUnmounted(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "symbols")
	s := openStore(t, dir)
	loc := storagetest.Location(t, "a.pdb/1/a.pdb")
	if _, err := s.Stat(t.Context(), loc); !errors.Is(err, upload.ErrNotFound) {
		t.Fatalf("stat: %v; want ErrNotFound", err)
	}
	if err := os.Rename(dir, dir+".away"); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := s.Stat(t.Context(), loc); !errors.Is(err, upload.ErrUnavailable) || errors.Is(err, upload.ErrNotFound) {
			t.Errorf("stat without the directory: %v; want ErrUnavailable", err)
		}
	}
}

// Two Stores of one directory exclude each other like two processes: the locks are of open files.
func TestTwoStoresOfOneDirectory(t *testing.T) {
	dir := t.TempDir()
	stores := []*Store{openStore(t, dir), openStore(t, dir)}
	loc := storagetest.Location(t, "a.pdb/1/a.pdb")
	storagetest.Random(0, 1000).Put(t, stores[0], loc)
	var writers sync.WaitGroup
	for i := range 8 {
		writers.Go(func() {
			c := storagetest.Random(uint64(i), 1000)
			for range 10 {
				body, done := c.Body(t)
				if err := stores[i%2].Put(t.Context(), loc, c.Object, body); err != nil {
					t.Errorf("put: %v", err)
				}
				done()
			}
		})
	}
	for i := range 100 {
		r, err := stores[i%2].Open(t.Context(), loc)
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(r)
		r.Close()
		if err != nil || r.Object.MD5 != md5.Sum(data) {
			t.Errorf("read were %d bytes of MD5 %x, %v; described as %+v", len(data), md5.Sum(data), err, r.Object)
		}
	}
	writers.Wait()
}

func TestContextEndsWaitingForALock(t *testing.T) {
	s := openStore(t, t.TempDir())
	loc, c := storagetest.Location(t, "a.pdb/1/a.pdb"), storagetest.Random(1, 1000)
	c.Put(t, s, loc)
	unlock, err := s.lock(t.Context(), loc, unix.F_WRLCK)
	if err != nil {
		t.Fatal(err)
	}
	cause := errors.New("the deadline passed")
	ctx, cancel := context.WithTimeoutCause(t.Context(), 50*time.Millisecond, cause)
	defer cancel()
	body, done := storagetest.Random(2, 1000).Body(t)
	defer done()
	putErr := s.Put(ctx, loc, c.Object, body)
	_, statErr := s.Stat(ctx, loc)
	for doing, err := range map[string]error{"put": putErr, "stat": statErr, "refresh": s.Refresh(ctx, loc, c.Object)} {
		if !errors.Is(err, cause) || errors.Is(err, upload.ErrUnavailable) {
			t.Errorf("%s: %v; want the context's cause", doing, err)
		}
	}
	unlock()
	c.Check(t, s, loc)
}

func TestFullAndReadOnlyDisk(t *testing.T) {
	dir := t.TempDir()
	mount(t, dir, 0)
	s := openStore(t, dir)
	loc, former, fresh := storagetest.Location(t, "a.pdb/1/a.pdb"), storagetest.Random(1, 1000), storagetest.Random(2, 2<<20)
	former.Put(t, s, loc)

	body, done := fresh.Body(t)
	err := s.Put(t.Context(), loc, fresh.Object, body)
	done()
	wantDiskFault(t, "put", err, upload.FaultFull)
	wantNew(t, dir, 0)
	former.Check(t, s, loc)
	if err := s.Prove(t.Context()); err != nil {
		t.Errorf("prove: %v", err)
	}

	mount(t, dir, unix.MS_REMOUNT|unix.MS_RDONLY)
	body, done = former.Body(t)
	err = s.Put(t.Context(), loc, former.Object, body)
	done()
	for doing, err := range map[string]error{"put": err, "prove": s.Prove(t.Context())} {
		wantDiskFault(t, doing, err, upload.FaultReadOnly)
	}
	former.Check(t, s, loc)
}

func wantDiskFault(t *testing.T, doing string, err error, fault upload.DiskFault) {
	t.Helper()
	disk, ok := errors.AsType[*upload.DiskError](err)
	if !ok || disk.Disk != upload.DiskStorage || disk.Fault != fault || !errors.Is(err, upload.ErrUnavailable) {
		t.Errorf("%s: %v; want the storage's disk to be %s", doing, err, fault)
	}
}

// mount mounts a file system of 1 MiB at dir until the end of the test, or changes it by its flags.
func mount(t *testing.T, dir string, flags uintptr) {
	t.Helper()
	err := unix.Mount("tmpfs", dir, "tmpfs", flags, "size=1m")
	if errors.Is(err, unix.EPERM) {
		testenv.Missing(t, "the right to mount", "run the tests as root")
	}
	if err != nil {
		t.Fatal(err)
	}
	if flags&unix.MS_REMOUNT == 0 {
		t.Cleanup(func() {
			if err := unix.Unmount(dir, 0); err != nil {
				t.Errorf("unmount %s, where a file is still open: %v", dir, err)
			}
		})
	}
}

func TestVanishedDirectory(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "symbols")
	s := openStore(t, dir)
	if err := os.Rename(dir, dir+".away"); err != nil {
		t.Fatal(err)
	}
	loc, c := storagetest.Location(t, "a.pdb/1/a.pdb"), storagetest.Random(1, 1000)
	body, done := c.Body(t)
	defer done()
	_, statErr := s.Stat(t.Context(), loc)
	for doing, err := range map[string]error{
		"put":   s.Put(t.Context(), loc, c.Object, body),
		"stat":  statErr,
		"prove": s.Prove(t.Context()),
	} {
		if !errors.Is(err, upload.ErrUnavailable) || errors.Is(err, upload.ErrNotFound) {
			t.Errorf("%s: %v; want ErrUnavailable", doing, err)
		}
	}
}

func TestOpenWhereNoDirectoryCanBe(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), filepath.Join(file, "symbols")); !errors.Is(err, unix.ENOTDIR) {
		t.Errorf("open: %v; want ENOTDIR", err)
	}
}
