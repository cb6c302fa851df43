package spool_test

import (
	"bytes"
	"errors"
	"flag"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"tecken-upload/internal/spool"
)

const (
	KiB = 1 << 10
	MiB = 1 << 20
)

// owner makes this test binary a server that holds a workspace in the given spool until it is killed.
var owner = flag.String("spool.owner", "", "hold a workspace in this `directory`")

func TestMain(m *testing.M) {
	flag.Parse()
	if *owner != "" {
		own(*owner)
	}
	os.Exit(m.Run())
}

// open opens a spool in dir, and closes it after the test, when it must be empty.
func open(t testing.TB, dir string, opts spool.Options) *spool.Spool {
	t.Helper()
	s, err := spool.Open(dir, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// create makes a workspace that is closed after the test at the latest.
func create(t testing.TB, s *spool.Spool, size int64) *spool.Workspace {
	t.Helper()
	w, err := s.Create(t.Context(), size)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeAll(t, w) })
	return w
}

func closeAll(t testing.TB, workspaces ...*spool.Workspace) {
	t.Helper()
	for _, w := range workspaces {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	}
}

func usage(t testing.TB, s *spool.Spool) spool.Usage {
	t.Helper()
	u, err := s.Usage(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// body returns n bytes of noise, the same each time.
func body(n int) []byte {
	pattern := make([]byte, min(n, 64*KiB+1))
	r := rand.NewChaCha8([32]byte{1})
	if _, err := r.Read(pattern); err != nil {
		panic(err)
	}
	b := make([]byte, 0, n+len(pattern))
	for len(b) < n {
		b = append(b, pattern...)
	}
	return b[:n]
}

// names returns what is in dir, without the mark and what mkfs made.
func names(t testing.TB, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, e := range entries {
		if e.Name() != ".tecken-spool" && e.Name() != "lost+found" {
			found = append(found, e.Name())
		}
	}
	return found
}

// noTrace checks that nothing is left in the spool at dir, and that none of its room is taken.
func noTrace(t testing.TB, s *spool.Spool, dir string) {
	t.Helper()
	if left := names(t, dir); len(left) > 0 {
		t.Errorf("left in the spool: %q", left)
	}
	if u := usage(t, s); u.Held != 0 || u.Reserved != 0 || u.Live != 0 || u.Waiting != 0 {
		t.Errorf("left in the books: %+v", u)
	}
}

// descriptors returns this process's open descriptors.
func descriptors(t testing.TB) []string {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	var open []string
	for _, e := range entries {
		target, err := os.Readlink(filepath.Join("/proc/self/fd", e.Name()))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		open = append(open, target)
	}
	slices.Sort(open)
	return open
}

// orphans collects the spool's orphans.
func orphans(t testing.TB, s *spool.Spool) map[string]spool.Orphan {
	t.Helper()
	found := make(map[string]spool.Orphan)
	for o, err := range s.Orphans(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		found[o.Name] = o
	}
	return found
}

// write makes a file of that age, and the directories above it.
func write(t testing.TB, path string, content []byte, age time.Duration) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, content, 0o644); err != nil {
		t.Fatal(err)
	}
	grow(t, path, age)
}

// grow makes path that old.
func grow(t testing.TB, path string, age time.Duration) {
	t.Helper()
	then := time.Now().Add(-age)
	if err := os.Chtimes(path, then, then); err != nil {
		t.Fatal(err)
	}
}

// broken is a body that yields its bytes, and then an error.
type broken struct {
	bytes.Reader
	err error
}

func (b *broken) Read(p []byte) (int, error) {
	if b.Len() == 0 {
		return 0, b.err
	}
	return b.Reader.Read(p)
}
