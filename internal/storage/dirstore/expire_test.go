package dirstore

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"tecken-upload/internal/storage/storagetest"
	"tecken-upload/internal/upload"
)

// aged puts an object of that age.
func aged(t *testing.T, s *Store, key string, try bool, age time.Duration) upload.Location {
	t.Helper()
	loc := storagetest.Location(t, key)
	loc.Try = try
	storagetest.Random(1, 1000).Put(t, s, loc)
	at := time.Now().Add(-age)
	if err := os.Chtimes(s.path(loc), at, at); err != nil {
		t.Fatal(err)
	}
	return loc
}

func TestExpire(t *testing.T) {
	s := openStore(t, t.TempDir())
	old := aged(t, s, "a.pdb/1/a.pdb", true, 3*time.Hour)
	young := aged(t, s, "a.pdb/2/a.pdb", true, time.Hour)
	regular := aged(t, s, "a.pdb/1/a.pdb", false, 3*time.Hour)
	refreshed := aged(t, s, "b.pdb/1/b.pdb", true, 3*time.Hour)
	if err := s.Refresh(t.Context(), refreshed, upload.Object{}); err != nil {
		t.Fatal(err)
	}
	alone := aged(t, s, "c.pdb/1/c.pdb", true, 3*time.Hour)
	foreign := filepath.Join(s.dir, "try", "v1", "README")
	if err := os.WriteFile(foreign, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	long := time.Now().Add(-3 * time.Hour)
	if err := os.Chtimes(foreign, long, long); err != nil {
		t.Fatal(err)
	}

	done, err := s.Expire(t.Context(), time.Now().Add(-2*time.Hour))
	if err != nil || done != (Expired{Objects: 2, Bytes: 2000}) {
		t.Errorf("expired %+v: %v", done, err)
	}
	for _, loc := range []upload.Location{old, alone} {
		if _, err := s.Stat(t.Context(), loc); !errors.Is(err, upload.ErrNotFound) {
			t.Errorf("%+v: %v, want it gone", loc, err)
		}
		if _, err := os.Stat(s.metaPath(loc)); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the metadata of %+v: %v, want them gone", loc, err)
		}
	}
	for _, loc := range []upload.Location{young, regular, refreshed} {
		if obj, err := s.Stat(t.Context(), loc); err != nil || obj.Size != 1000 {
			t.Errorf("%+v: %+v, %v, want it as it was", loc, obj, err)
		}
	}
	for path, there := range map[string]bool{"a.pdb/1": false, "a.pdb/2": true, "c.pdb": false, "README": true} {
		if _, err := os.Stat(filepath.Join(s.dir, "try", "v1", path)); (err == nil) != there {
			t.Errorf("%s: %v", path, err)
		}
	}
}

func TestExpireOfNothing(t *testing.T) {
	s := openStore(t, t.TempDir())
	if done, err := s.Expire(t.Context(), time.Now()); err != nil || done != (Expired{}) {
		t.Errorf("expired %+v: %v", done, err)
	}
	aged(t, s, "a.pdb/1/a.pdb", true, time.Hour)
	gone := errors.New("gone")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(gone)
	if done, err := s.Expire(ctx, time.Now()); !errors.Is(err, gone) || done != (Expired{}) {
		t.Errorf("expired %+v after its end: %v", done, err)
	}
}

// A clock ahead of the file system's expires nothing.
func TestExpireByAWrongClock(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		s := openStore(t, dir)
		loc := aged(t, s, "a.pdb/1/a.pdb", true, 0)
		<-time.After(100 * 365 * 24 * time.Hour) // by this bubble's clock
		if done, err := s.Expire(t.Context(), time.Now().Add(-30*24*time.Hour)); err == nil || done != (Expired{}) {
			t.Errorf("expired %+v: %v", done, err)
		}
		if _, err := s.Stat(t.Context(), loc); err != nil {
			t.Error(err)
		}
	})
}

// A pass that removes something is reported, and the next one follows an interval later.
func TestRunExpiry(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		s := openStore(t, dir)
		aged(t, s, "a.pdb/1/a.pdb", true, 3*time.Hour)
		aged(t, s, "b.pdb/1/b.pdb", true, 0)
		ctx, stop := context.WithCancel(t.Context())
		var reported []int
		err := s.RunExpiry(ctx, time.Hour, time.Hour, func(gone Expired, err error) {
			if err != nil {
				t.Error(err)
			}
			if reported = append(reported, gone.Objects); len(reported) == 2 {
				stop()
			}
		})
		if err != nil || len(reported) != 2 || reported[0] != 1 || reported[1] != 1 {
			t.Errorf("reported %d, %v", reported, err)
		}
	})
}

// Uploads into directories that are being removed lose nothing.
func TestExpireBesidePuts(t *testing.T) {
	s := openStore(t, t.TempDir())
	ctx, cancel := context.WithCancel(t.Context())
	var sweeps, puts sync.WaitGroup
	for range 2 {
		sweeps.Go(func() {
			for ctx.Err() == nil {
				// Everything is old, except what is being put.
				if _, err := s.Expire(ctx, time.Now().Add(time.Hour)); err != nil && ctx.Err() == nil {
					t.Error(err)
				}
			}
		})
	}
	for i := range 4 {
		puts.Go(func() {
			for n := range 50 {
				loc := storagetest.Location(t, fmt.Sprintf("a.pdb/%X/f%d.pdb", n%2, i))
				loc.Try = true
				storagetest.Random(uint64(n), 100).Put(t, s, loc)
				if _, err := s.Stat(t.Context(), loc); err != nil && !errors.Is(err, upload.ErrNotFound) {
					t.Error(err)
				}
			}
		})
	}
	puts.Wait()
	cancel()
	sweeps.Wait()
	if _, err := s.Expire(t.Context(), time.Now().Add(time.Hour)); err != nil {
		t.Error(err)
	}
	if entries, err := os.ReadDir(filepath.Join(s.dir, "try", "v1")); err != nil || len(entries) != 0 {
		t.Errorf("left: %v, %v", entries, err)
	}
}
