package download_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"tecken-upload/internal/download"
	"tecken-upload/internal/symbol"
	"tecken-upload/internal/upload"
)

// shelf is a storage of contents, and the records of them.
type shelf struct {
	fakeStorage
	open func(ctx context.Context) error // before a content is opened; may be nil

	mu       sync.Mutex
	contents map[string][]byte // by key
	modules  []download.Module

	opened, busy, most, queries atomic.Int64
}

func (s *shelf) OpenContent(ctx context.Context, loc upload.Location) (io.ReadSeekCloser, upload.Object, error) {
	s.opened.Add(1)
	busy := s.busy.Add(1)
	defer s.busy.Add(-1)
	for most := s.most.Load(); busy > most && !s.most.CompareAndSwap(most, busy); most = s.most.Load() {
	}
	if s.open != nil {
		if err := s.open(ctx); err != nil {
			return nil, upload.Object{}, err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	text, ok := s.contents[loc.Key.String()]
	if !ok || loc.Try {
		return nil, upload.Object{}, upload.ErrNotFound
	}
	return nopCloser{bytes.NewReader(text)}, upload.Object{Size: -1}, nil
}

type nopCloser struct{ io.ReadSeeker }

func (nopCloser) Close() error { return nil }

func (s *shelf) Modules(context.Context, download.ModuleQuery) ([]download.Module, error) {
	s.queries.Add(1)
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.modules), nil
}

func (s *shelf) ModuleFiles(_ context.Context, debugFile, debugID string, _ bool) (names []string, err error) {
	s.queries.Add(1)
	s.mu.Lock()
	defer s.mu.Unlock()
	for text := range s.contents {
		key, err := symbol.ParseKey(text)
		if err == nil && key.DebugFile() == debugFile && key.DebugID() == debugID {
			names = append(names, key.File())
		}
	}
	return names, err
}

// put stores a content as another instance does, which the Finder does not hear of.
func (s *shelf) put(key string, content []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.contents == nil {
		s.contents = make(map[string][]byte)
	}
	s.contents[key] = content
}

const buildID = "30313233343536373839616263646566"

// newShelf makes a Finder of a module with that build id, and no file yet.
func newShelf(t *testing.T) (*download.Finder, *shelf) {
	t.Helper()
	key, err := symbol.ParseKey("app/AB/app.sym")
	if err != nil {
		t.Fatal(err)
	}
	s := &shelf{modules: []download.Module{{Key: key}}}
	return download.New(download.Config{Storage: s, Records: s, Extensions: []string{".sym", ".dbg.gz"}}), s
}

func binaryQuery() download.BinaryQuery {
	return download.BinaryQuery{BuildID: buildID, Kind: download.Executable}
}

func TestLooksAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, s := newShelf(t)
		s.put("app/AB/app", []byte("x"))
		s.open = func(ctx context.Context) error {
			<-ctx.Done()
			return ctx.Err()
		}
		var wg sync.WaitGroup
		start := time.Now()
		for i := range 3 * download.Looks {
			wg.Go(func() {
				q := binaryQuery()
				q.BuildID += fmt.Sprintf("%02x", i)
				if _, err := f.FindBinary(t.Context(), q); !errors.Is(err, upload.ErrUnavailable) {
					t.Errorf("find: %v", err)
				}
			})
		}
		wg.Wait()
		if took := time.Since(start); took > 10*time.Second {
			t.Errorf("it took %v", took)
		}
		if most := s.most.Load(); most != download.Looks {
			t.Errorf("%d looks at once, want %d", most, download.Looks)
		}
	})
}

// Opening takes no longer than a lookup, though what is opened may be read for as long as it is.
func TestOpeningIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, s := newShelf(t)
		var opening context.Context
		s.open = func(ctx context.Context) error {
			opening = ctx
			return nil
		}
		s.put("app/A1/app.pdb", []byte("x"))
		found := download.Found{Location: location(t, "A1")}
		file, err := f.Open(t.Context(), found)
		if err != nil {
			t.Fatal(err)
		}
		<-time.After(time.Hour)
		if opening.Err() != nil {
			t.Error("its reading has ended")
		}
		if err := file.Close(); err != nil || opening.Err() == nil {
			t.Errorf("close: %v; reading goes on: %t", err, opening.Err() == nil)
		}
		s.open = func(ctx context.Context) error {
			<-ctx.Done()
			return ctx.Err()
		}
		start := time.Now()
		if _, err := f.Open(t.Context(), found); !errors.Is(err, upload.ErrUnavailable) || time.Since(start) > 10*time.Second {
			t.Errorf("%v after %v", err, time.Since(start))
		}
	})
}
