package dirstore

import (
	"context"
	"errors"
	"os"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"tecken-upload/internal/storage/storagetest"
	"tecken-upload/internal/upload"
)

// stage stages c at loc, or fails the test.
func stage(t *testing.T, s *Store, loc upload.Location, c storagetest.Content) upload.Staged {
	t.Helper()
	body, done := c.Body(t)
	defer done()
	staged, err := s.Stage(t.Context(), loc, c.Object, body, nil)
	if err != nil {
		t.Fatalf("stage: %v", err)
	}
	return staged
}

// An Abort while a Commit waits does not wait for it, and neither leaves files or an object.
func TestAbortDuringCommit(t *testing.T) {
	s := openStore(t, t.TempDir())
	loc := storagetest.Location(t, "a.pdb/1/a.pdb")
	before := openFiles(t)
	staged := stage(t, s, loc, storagetest.Random(1, 1000))
	unlock, err := s.lock(t.Context(), loc, unix.F_WRLCK)
	if err != nil {
		t.Fatal(err)
	}
	ended := errors.New("the deadline passed")
	parent, cancel := context.WithCancelCause(t.Context())
	ctx := &awaited{Context: parent, waits: make(chan struct{})}
	committed := make(chan error, 1)
	go func() { committed <- staged.Commit(ctx) }()
	<-ctx.waits
	if err := staged.Abort(t.Context()); err != nil {
		t.Errorf("abort: %v", err)
	}
	cancel(ended)
	if err := <-committed; !errors.Is(err, ended) {
		t.Errorf("commit: %v; want the context's cause", err)
	}
	unlock()
	if after := openFiles(t); after != before {
		t.Errorf("%d files are open; want %d", after, before)
	}
	if _, err := s.Stat(t.Context(), loc); !errors.Is(err, upload.ErrNotFound) {
		t.Errorf("stat: %v; want ErrNotFound", err)
	}
}

// awaited closes waits once its end is waited for.
type awaited struct {
	context.Context
	once  sync.Once
	waits chan struct{}
}

// Done implements context.Context.
func (a *awaited) Done() <-chan struct{} {
	a.once.Do(func() { close(a.waits) })
	return a.Context.Done()
}

func openFiles(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}
