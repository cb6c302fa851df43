package lookup_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"tecken-upload/internal/catalogue"
	"tecken-upload/internal/lookup"
	"tecken-upload/internal/symbol"
	"tecken-upload/internal/upload"
)

// shelf is a storage of contents, and the records of them.
type shelf struct {
	fakeStorage
	open func(ctx context.Context) error // before a content is opened; may be nil
	// broken, where it is not nil, ends the reading of each content after so many bytes.
	broken error
	after  int

	mu       sync.Mutex
	contents map[string][]byte // by key; those of try uploads behind "try/"
	builds   []symbol.Key
	spelled  []symbol.Key

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
	name := loc.Key.String()
	if loc.Try {
		name = "try/" + name
	}
	text, ok := s.contents[name]
	if !ok {
		return nil, upload.Object{}, upload.ErrNotFound
	}
	content := nopCloser{bytes.NewReader(text)}
	if s.broken != nil {
		content.ReadSeeker = &breaking{content.ReadSeeker, s.after, s.broken}
	}
	return content, upload.Object{Size: -1}, nil
}

// breaking is a content that can't be read to its end.
type breaking struct {
	io.ReadSeeker
	left int
	err  error
}

func (b *breaking) Read(p []byte) (int, error) {
	if b.left == 0 {
		return 0, b.err
	}
	n, err := b.ReadSeeker.Read(p[:min(len(p), b.left)])
	b.left -= n
	return n, err
}

type nopCloser struct{ io.ReadSeeker }

func (nopCloser) Close() error { return nil }

func (s *shelf) Spellings(context.Context, catalogue.SpellingQuery) ([]symbol.Key, error) {
	s.queries.Add(1)
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.spelled), nil
}

func (s *shelf) Module(context.Context, string, string) (catalogue.Module, error) {
	return catalogue.Module{}, upload.ErrNotFound
}

func (s *shelf) Builds(context.Context, string, string, bool) ([]symbol.Key, error) {
	s.queries.Add(1)
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.builds), nil
}

func (s *shelf) ModuleFiles(_ context.Context, debugFile, debugID string, try bool) (keys []symbol.Key, err error) {
	s.queries.Add(1)
	s.mu.Lock()
	defer s.mu.Unlock()
	for name := range s.contents {
		text, ofTry := strings.CutPrefix(name, "try/")
		key, err := symbol.ParseKey(text)
		if err == nil && ofTry == try && (debugFile == "" || key.DebugFile() == debugFile) && key.DebugID() == debugID {
			keys = append(keys, key)
		}
	}
	return keys, err
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
func newShelf(t *testing.T) (*lookup.Finder, *shelf) {
	t.Helper()
	key, err := symbol.ParseKey("app/AB/app.sym")
	if err != nil {
		t.Fatal(err)
	}
	s := &shelf{builds: []symbol.Key{key}}
	return lookup.New(lookup.Config{Storage: s, Records: s, Extensions: []string{".sym", ".dbg.gz"}}), s
}

func binaryQuery() lookup.BinaryQuery {
	return lookup.BinaryQuery{ID: buildID, Kind: lookup.Executable}
}

// program makes the head of a program with that build id: 64 bits, little-endian, all code.
func program(t *testing.T) []byte {
	t.Helper()
	id, err := hex.DecodeString(buildID)
	if err != nil {
		t.Fatal(err)
	}
	return lookup.Program(id)
}

func wantBinary(t *testing.T, f *lookup.Finder, q lookup.BinaryQuery, want error) {
	t.Helper()
	if _, err := f.FindBinary(t.Context(), q); !errors.Is(err, want) || (err == nil) != (want == nil) {
		t.Errorf("find the %s of %s: %v, want %v", q.Kind, q.ID, err, want)
	}
}

// What another instance has stored is found after a minute, though the module was known before, or at once by a refreshed lookup.
func TestBinariesOfOtherInstances(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, s := newShelf(t)
		s.put("app/AB/notes.txt", []byte("x"))
		wantBinary(t, f, binaryQuery(), upload.ErrNotFound)
		s.put("app/AB/app", program(t))
		<-time.After(59 * time.Second)
		wantBinary(t, f, binaryQuery(), upload.ErrNotFound)
		<-time.After(time.Second)
		wantBinary(t, f, binaryQuery(), nil)

		debug := binaryQuery()
		debug.Kind = lookup.DebugInfo
		wantBinary(t, f, debug, upload.ErrNotFound)
		s.put("app/AB/app.dbg", program(t))
		wantBinary(t, f, debug, upload.ErrNotFound)
		debug.Refresh = true
		wantBinary(t, f, debug, nil)
	})
}

// A build id leads to a file by the debug id that is made of it, without any record of a .sym; to regular ones alone.
func TestABuildIDThatNoHeaderTellsOf(t *testing.T) {
	f, s := newShelf(t)
	s.builds = nil
	s.put("app/303132333435363738396162636465660/app", program(t)) // not swapped
	s.put("app/333231303534373638396162636465661/app", program(t)) // of another age
	wantBinary(t, f, binaryQuery(), upload.ErrNotFound)
	s.put("other/333231303534373638396162636465660/app", program(t))
	q := binaryQuery()
	q.Refresh = true
	wantBinary(t, f, q, nil)
	found, err := f.FindBinary(t.Context(), binaryQuery())
	if got := found.Location.Key.String(); err != nil || got != "other/333231303534373638396162636465660/app" {
		t.Errorf("found %s, %v", got, err)
	}
}

// What was remembered and is gone is looked for once more.
func TestABinaryThatIsGone(t *testing.T) {
	f, s := newShelf(t)
	s.put("app/AB/app", program(t))
	found, err := f.FindBinary(t.Context(), binaryQuery())
	if err != nil {
		t.Fatal(err)
	}
	file, err := f.Open(t.Context(), found)
	if err != nil {
		t.Fatal(err)
	}
	file.Close()
	s.put("app/AB/app", []byte("another file by now"))
	s.put("app/AB/app.1", program(t))
	wantBinary(t, f, binaryQuery(), nil)
	for _, open := range []func(context.Context, lookup.Found) (lookup.File, error){f.Open, f.Look} {
		if _, err := open(t.Context(), found); !errors.Is(err, upload.ErrNotFound) {
			t.Errorf("open: %v", err)
		}
	}
	found, err = f.FindBinary(t.Context(), binaryQuery())
	if got := found.Location.Key.String(); err != nil || got != "app/AB/app.1" {
		t.Errorf("found %s, %v", got, err)
	}
}

// A refreshed lookup by code id gets what is recorded now.
func TestRefreshByCodeID(t *testing.T) {
	f, s := newShelf(t)
	s.present = map[string]bool{"app/AB/app.sym": true, "app/CD/app.sym": true}
	q := lookup.Query{File: "app", ID: "C0DE", Name: "app.sym"}
	for _, c := range []struct {
		recorded, want string
		refresh        bool
	}{
		{"app/AB/app.sym", "app/AB/app.sym", false},
		{"app/CD/app.sym", "app/AB/app.sym", false},
		{"app/CD/app.sym", "app/CD/app.sym", true},
		{"app/AB/app.sym", "app/CD/app.sym", false},
	} {
		key, err := symbol.ParseKey(c.recorded)
		if err != nil {
			t.Fatal(err)
		}
		s.spelled = []symbol.Key{key}
		q.Refresh = c.refresh
		found, err := f.Find(t.Context(), q)
		if got := found.Location.Key.String(); err != nil || got != c.want {
			t.Errorf("refresh %t: found %s, %v; want %s", c.refresh, got, err, c.want)
		}
	}
}

// A file that can't be read is not "no such file", whatever its reading fails with: a connection that breaks is an end, too.
func TestBinariesThatCanNotBeRead(t *testing.T) {
	text := program(t)
	var zipped bytes.Buffer
	w := gzip.NewWriter(&zipped)
	_, err := w.Write(text)
	if err := errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string][]byte{"app/AB/app": text, "app/AB/app.gz": zipped.Bytes()} {
		for _, after := range []int{0, 1, 9, len(content) / 2} {
			for _, cause := range []error{io.EOF, io.ErrUnexpectedEOF, errors.New("broken")} {
				f, s := newShelf(t)
				s.put(name, content)
				s.broken, s.after = fmt.Errorf("read: %w: %w", upload.ErrUnavailable, cause), after
				wantBinary(t, f, binaryQuery(), upload.ErrUnavailable)
				s.broken = nil
				wantBinary(t, f, binaryQuery(), nil)
			}
		}
	}
}

func TestLooksAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, s := newShelf(t)
		s.put("app/AB/app", []byte("x"))
		s.open = func(ctx context.Context) error {
			<-ctx.Done()
			return ctx.Err()
		}
		wantBounded(t, lookup.Looks, &s.most, func(i int) error {
			q := binaryQuery()
			q.ID += fmt.Sprintf("%02x", i)
			_, err := f.FindBinary(t.Context(), q)
			return err
		})
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
		found := lookup.Found{Location: location(t, "A1")}
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
