package lookup_test

import (
	"context"
	"errors"
	"fmt"
	"io"
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

// fakeStorage answers lookups when it is told to, which real storage can't be made to.
type fakeStorage struct {
	mu      sync.Mutex
	present map[string]bool
	stat    func(ctx context.Context, key string) error // before the answer; may be nil

	stats, busy, most atomic.Int64
}

func (s *fakeStorage) Stat(ctx context.Context, loc upload.Location) (upload.Object, error) {
	s.stats.Add(1)
	busy := s.busy.Add(1)
	defer s.busy.Add(-1)
	for most := s.most.Load(); busy > most && !s.most.CompareAndSwap(most, busy); most = s.most.Load() {
	}
	s.mu.Lock()
	present := s.present[loc.Key.String()]
	s.mu.Unlock()
	if s.stat != nil {
		if err := s.stat(ctx, loc.Key.String()); err != nil {
			return upload.Object{}, err
		}
	}
	if !present {
		return upload.Object{}, fmt.Errorf("stat: %w", upload.ErrNotFound)
	}
	return upload.Object{Size: 7}, nil
}

func (s *fakeStorage) OpenContent(context.Context, upload.Location) (io.ReadSeekCloser, upload.Object, error) {
	return nil, upload.Object{}, upload.ErrNotFound
}

func (s *fakeStorage) Name() string { return "fake" }

func (s *fakeStorage) Put(_ context.Context, loc upload.Location, _ upload.Object, _ upload.Body) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.present == nil {
		s.present = make(map[string]bool)
	}
	s.present[loc.Key.String()] = true
	return nil
}

func (s *fakeStorage) Stage(_ context.Context, loc upload.Location, _ upload.Object, _ upload.Body,
	_ func(context.Context, string) error) (upload.Staged, error) {
	return &fakeStaged{s, loc}, nil
}

type fakeStaged struct {
	storage *fakeStorage
	loc     upload.Location
}

func (f *fakeStaged) Commit(ctx context.Context) error {
	return f.storage.Put(ctx, f.loc, upload.Object{}, upload.Body{})
}

func (*fakeStaged) Abort(context.Context) error { return nil }

func (s *fakeStorage) Refresh(context.Context, upload.Location, upload.Object) error { return nil }

// fakeRecords counts what it is asked, and answers as it is told.
type fakeRecords struct {
	mu        sync.Mutex
	spellings map[string][]string // keys, by the key that is asked for
	module    catalogue.Module
	fail      func(ctx context.Context) error // before the answer; may be nil

	asked, busy, most atomic.Int64
	queries           []catalogue.SpellingQuery
}

// ask counts a call.
func (r *fakeRecords) ask(ctx context.Context) error {
	r.asked.Add(1)
	busy := r.busy.Add(1)
	defer r.busy.Add(-1)
	for most := r.most.Load(); busy > most && !r.most.CompareAndSwap(most, busy); most = r.most.Load() {
	}
	if r.fail != nil {
		return r.fail(ctx)
	}
	return nil
}

func (r *fakeRecords) Spellings(ctx context.Context, q catalogue.SpellingQuery) (keys []symbol.Key, err error) {
	if err := r.ask(ctx); err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.queries = append(r.queries, q)
	for _, name := range r.spellings[q.Key.String()] {
		key, err := symbol.ParseKey(name)
		if err != nil {
			return nil, err
		}
		keys = append(keys, key)
	}
	return keys, nil
}

func (r *fakeRecords) Module(ctx context.Context, _, _ string) (catalogue.Module, error) {
	if err := r.ask(ctx); err != nil {
		return catalogue.Module{}, err
	}
	if r.module == (catalogue.Module{}) {
		return catalogue.Module{}, upload.ErrNotFound
	}
	return r.module, nil
}

func (r *fakeRecords) Builds(ctx context.Context, _, _ string, _ bool) ([]symbol.Key, error) {
	return nil, r.ask(ctx)
}

func (r *fakeRecords) ModuleFiles(ctx context.Context, _, _ string, _ bool) ([]symbol.Key, error) {
	return nil, r.ask(ctx)
}

func newFinder(s *fakeStorage, change ...func(*lookup.Config)) *lookup.Finder {
	c := lookup.Config{Storage: s, Records: &fakeRecords{}, Extensions: []string{".pdb", ".sym"}}
	for _, ch := range change {
		ch(&c)
	}
	return lookup.New(c)
}

func query(id string) lookup.Query { return lookup.Query{File: "app", ID: id, Name: "app.pdb"} }

func mustKey(t *testing.T, name string) symbol.Key {
	t.Helper()
	key, err := symbol.ParseKey(name)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func location(t *testing.T, id string) upload.Location {
	t.Helper()
	key, err := symbol.NewKey("app", id, "app.pdb")
	if err != nil {
		t.Fatal(err)
	}
	return upload.Location{Key: key}
}

func wantFind(t *testing.T, f *lookup.Finder, q lookup.Query, want error) {
	t.Helper()
	if _, err := f.Find(t.Context(), q); !errors.Is(err, want) || (err == nil) != (want == nil) {
		t.Errorf("find %s: %v, want %v", q.ID, err, want)
	}
}

func (s *fakeStorage) wantStats(t *testing.T, want int64) {
	t.Helper()
	if got := s.stats.Load(); got != want {
		t.Errorf("%d calls to storage, want %d", got, want)
	}
}

func TestAnswersAreBelievedForATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &fakeStorage{}
		f := newFinder(s)
		put := func(id string) { _ = s.Put(t.Context(), location(t, id), upload.Object{}, upload.Body{}) }
		put("A1")
		for range 3 {
			wantFind(t, f, query("a1"), nil)
			wantFind(t, f, query("B1"), upload.ErrNotFound)
		}
		s.wantStats(t, 2)
		put("B1") // by another instance
		<-time.After(59 * time.Second)
		wantFind(t, f, query("B1"), upload.ErrNotFound)
		<-time.After(time.Second)
		wantFind(t, f, query("B1"), nil)
		wantFind(t, f, query("A1"), nil)
		s.wantStats(t, 3)
		s.present = nil // expired
		wantFind(t, f, query("A1"), nil)
		q := query("B1")
		q.Refresh = true
		wantFind(t, f, q, upload.ErrNotFound)
		wantFind(t, f, query("B1"), upload.ErrNotFound)
		s.wantStats(t, 4)
		<-time.After(9 * time.Minute)
		wantFind(t, f, query("A1"), upload.ErrNotFound)
	})
}

// Regular symbols come before those of try uploads, in whatever case their ids were stored.
func TestTheOrderOfLegacyKeys(t *testing.T) {
	var asked []string
	s := &tryStorage{asked: &asked}
	f := lookup.New(lookup.Config{Storage: s, Records: &fakeRecords{}, Extensions: []string{".pdb"}, Legacy: true})
	q := query("aB")
	q.Try = true
	wantFind(t, f, q, upload.ErrNotFound)
	want := "false app/AB/app.pdb, false app/aB/app.pdb, true app/AB/app.pdb, true app/aB/app.pdb"
	if got := strings.Join(asked, ", "); got != want {
		t.Errorf("asked for %s, want %s", got, want)
	}
}

// tryStorage tells what it was asked for, try uploads' apart.
type tryStorage struct {
	fakeStorage
	asked *[]string
}

func (s *tryStorage) Stat(_ context.Context, loc upload.Location) (upload.Object, error) {
	*s.asked = append(*s.asked, fmt.Sprint(loc.Try, " ", loc.Key))
	return upload.Object{}, upload.ErrNotFound
}

func TestFailuresAreNotRemembered(t *testing.T) {
	for name, fail := range map[string]func(context.Context, string) error{
		"an error": func(context.Context, string) error { return fmt.Errorf("stat: %w", upload.ErrUnavailable) },
		"a panic":  func(context.Context, string) error { panic("on purpose") },
	} {
		t.Run(name, func(t *testing.T) {
			s := &fakeStorage{stat: fail}
			var told []string
			f := newFinder(s, func(c *lookup.Config) {
				c.Observe = func(kind string, cached bool, _ time.Duration, err error) {
					told = append(told, fmt.Sprintf("%s %t %t", kind, cached, err == nil))
				}
			})
			if _, err := f.Find(t.Context(), query("A1")); err == nil || errors.Is(err, upload.ErrNotFound) {
				t.Errorf("got %v", err)
			}
			s.stat = nil
			wantFind(t, f, query("A1"), upload.ErrNotFound)
			wantFind(t, f, query("A1"), upload.ErrNotFound)
			s.wantStats(t, 2)
			want := "symbol false false, symbol false false, spelling false false, symbol true false, spelling true false"
			if got := strings.Join(told, ", "); got != want {
				t.Errorf("told: %s", got)
			}
			if f.Len() != 2 {
				t.Errorf("%d answers", f.Len())
			}
		})
	}
}

// Many ask for one thing: one call. Each goes when its own context says so; the call ends with the last of them.
func TestLookupsOfOneKeyShareACall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ended := make(chan error, 1)
		s := &fakeStorage{stat: func(ctx context.Context, _ string) error {
			<-ctx.Done()
			ended <- ctx.Err()
			return ctx.Err()
		}}
		f := newFinder(s)
		gone := errors.New("gone")
		var wg sync.WaitGroup
		for i := range 100 {
			ctx, cancel := context.WithTimeoutCause(t.Context(), time.Duration(i+1)*time.Millisecond, gone)
			wg.Go(func() {
				defer cancel()
				if _, err := f.Find(ctx, query("A1")); !errors.Is(err, gone) {
					t.Errorf("find: %v", err)
				}
			})
		}
		<-time.After(99*time.Millisecond + time.Microsecond)
		synctest.Wait()
		s.wantStats(t, 1)
		if len(ended) > 0 {
			t.Error("the call ended before the last that waited for it")
		}
		wg.Wait()
		if err := <-ended; err == nil {
			t.Error("the call was not cancelled")
		}
		s.stat = nil
		wantFind(t, f, query("A1"), upload.ErrNotFound)
	})
}

// A lookup that began before an upload has stored its key may find nothing; it must not be remembered, and lookups
// from then on must not wait for it.
func TestALateMissIsNotRemembered(t *testing.T) {
	for name, store := range map[string]func(context.Context, upload.Storage, upload.Location) error{
		"put": func(ctx context.Context, s upload.Storage, loc upload.Location) error {
			return s.Put(ctx, loc, upload.Object{}, upload.Body{})
		},
		"commit": func(ctx context.Context, s upload.Storage, loc upload.Location) error {
			staged, err := s.Stage(ctx, loc, upload.Object{}, upload.Body{}, nil)
			if err != nil {
				return err
			}
			return staged.Commit(ctx)
		},
		"found there by the upload": func(ctx context.Context, s upload.Storage, loc upload.Location) error {
			_, err := s.Stat(ctx, loc)
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				release := make(chan struct{})
				s := &fakeStorage{stat: func(context.Context, string) error { <-release; return nil }}
				f := newFinder(s)
				early := make(chan error, 1)
				go func() {
					_, err := f.Find(t.Context(), query("A1"))
					early <- err
				}()
				synctest.Wait()
				s.stat = nil
				loc := location(t, "A1")
				if name == "found there by the upload" {
					_ = s.Put(t.Context(), loc, upload.Object{}, upload.Body{}) // by another instance
				}
				if err := store(t.Context(), f.Uploads(s), loc); err != nil {
					t.Fatal(err)
				}
				wantFind(t, f, query("A1"), nil)
				close(release)
				if err := <-early; !errors.Is(err, upload.ErrNotFound) {
					t.Errorf("the early one: %v", err)
				}
				wantFind(t, f, query("A1"), nil)
			})
		})
	}
}

// wantBounded makes three times as many lookups as are answered at once, while storage hangs: none waits for longer than one lookup may
// take. most is how many calls storage had at once.
func wantBounded(t *testing.T, bound int64, most *atomic.Int64, find func(i int) error) {
	t.Helper()
	var wg sync.WaitGroup
	start := time.Now()
	for i := range int(3 * bound) {
		wg.Go(func() {
			if err := find(i); !errors.Is(err, upload.ErrUnavailable) {
				t.Errorf("find: %v", err)
			}
		})
	}
	wg.Wait()
	if took := time.Since(start); took > 10*time.Second {
		t.Errorf("it took %v", took)
	}
	if got := most.Load(); got != bound {
		t.Errorf("%d calls at once, want %d", got, bound)
	}
}

func TestLookupsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &fakeStorage{stat: func(ctx context.Context, _ string) error {
			<-ctx.Done()
			return ctx.Err()
		}}
		f := newFinder(s)
		wantBounded(t, lookup.Lookups, &s.most, func(i int) error {
			_, err := f.Find(t.Context(), query(fmt.Sprintf("A%d", i)))
			return err
		})
		s.stat = nil
		wantFind(t, f, query("A1"), upload.ErrNotFound)
	})
}

// Uploads and lookups at random never leave an answer behind that is wrong.
func TestConcurrentUploadsAndLookups(t *testing.T) {
	s := &fakeStorage{}
	f := newFinder(s)
	up := f.Uploads(s)
	var wg sync.WaitGroup
	for worker := range 8 {
		wg.Go(func() {
			for i := range 500 {
				id := fmt.Sprintf("A%d", i)
				if worker == i%8 {
					if err := up.Put(t.Context(), location(t, id), upload.Object{}, upload.Body{}); err != nil {
						t.Error(err)
					}
					wantFind(t, f, query(id), nil)
					continue
				}
				_, _ = f.Find(t.Context(), query(id))
			}
		})
	}
	wg.Wait()
	for i := range 500 {
		wantFind(t, f, query(fmt.Sprintf("A%d", i)), nil)
	}
}
