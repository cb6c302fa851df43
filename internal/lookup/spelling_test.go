package lookup_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"tecken-upload/internal/catalogue"
	"tecken-upload/internal/lookup"
	"tecken-upload/internal/upload"
)

// asked is a query for a key, of three components.
func asked(file, id, name string) lookup.Query {
	return lookup.Query{File: file, ID: id, Name: name}
}

// wantFound compares where a query leads to, "" for nowhere.
func wantFound(t *testing.T, f *lookup.Finder, q lookup.Query, want string, moved bool) {
	t.Helper()
	found, err := f.Find(t.Context(), q)
	if want == "" {
		if !errors.Is(err, upload.ErrNotFound) {
			t.Errorf("%s/%s/%s: %s, %v; want nothing", q.File, q.ID, q.Name, found.Location.Key, err)
		}
		return
	}
	if got := found.Location.Key.String(); err != nil || got != want || found.Moved != moved {
		t.Errorf("%s/%s/%s: %s, moved %t, %v; want %s, moved %t", q.File, q.ID, q.Name, got, found.Moved, err, want, moved)
	}
}

func (r *fakeRecords) wantAsked(t *testing.T, want int64) {
	t.Helper()
	if got := r.asked.Load(); got != want {
		t.Errorf("%d calls to the records, want %d", got, want)
	}
}

// withRecords makes a Finder of everything, with these keys in storage and these spellings recorded.
func withRecords(present []string, spellings map[string][]string) (*lookup.Finder, *fakeStorage, *fakeRecords) {
	s, r := &fakeStorage{present: make(map[string]bool)}, &fakeRecords{spellings: spellings}
	for _, key := range present {
		s.present[key] = true
	}
	return newFinder(s, func(c *lookup.Config) { c.Extensions, c.Records = nil, r }), s, r
}

func TestSpellings(t *testing.T) {
	f, _, r := withRecords(
		[]string{"App.pdb/AB/App.sym", "App.pdb/AB/other.sym", "app.pdb/AB/app.pdb", "mingw.exe/5CF2591C/mingw.exe"},
		map[string][]string{
			"APP.pdb/AB/APP.sym":           {"App.pdb/AB/App.sym", "app.pdb/AB/app.sym"},
			"app.dll/C0DE/app.sym":         {"App.pdb/AB/App.sym"},
			"app.dll/C0DE/other.sym":       {"App.pdb/AB/App.sym"},
			"app.dll/C0DE/OTHER.sym":       {"App.pdb/AB/App.sym"},
			"app.dll/C0DE/nobody.sym":      {"App.pdb/AB/App.sym"},
			"gone.pdb/AB/gone.pdb":         {"Gone.pdb/AB/Gone.pdb", "gone.pdb/AB/gone.pdb"},
			"older.pdb/AB/older.pdb":       {"Older.pdb/AB/Older.pdb", "app.pdb/AB/app.pdb"},
			"mingw.exe/5CF2591C/mingw.sym": {"mingw.exe/5CF2591C/mingw.sym"},
		})
	for _, c := range []struct {
		q     lookup.Query
		want  string
		moved bool
	}{
		{asked("App.pdb", "ab", "App.sym"), "App.pdb/AB/App.sym", false},
		{asked("APP.pdb", "AB", "APP.sym"), "App.pdb/AB/App.sym", true},
		{asked("app.dll", "c0de", "app.sym"), "App.pdb/AB/App.sym", true},
		{asked("app.dll", "c0de", "other.sym"), "App.pdb/AB/other.sym", true}, // the name that was asked for is kept
		{asked("app.dll", "c0de", "OTHER.sym"), "App.pdb/AB/App.sym", true},
		{asked("app.dll", "c0de", "nobody.sym"), "App.pdb/AB/App.sym", true},
		{asked("gone.pdb", "AB", "gone.pdb"), "", false}, // records outlive objects
		{asked("older.pdb", "AB", "older.pdb"), "app.pdb/AB/app.pdb", true},
		{asked("mingw.exe", "5cf2591c", "mingw.sym"), "", false}, // it leads to itself
		{asked("nobody.pdb", "AB", "nobody.pdb"), "", false},
	} {
		wantFound(t, f, c.q, c.want, c.moved)
	}
	for i, code := range []bool{true, true, true, true, true, false, false, true, false} { // the first needs no records
		if q := r.queries[i]; q.CodeID != code || q.Try {
			t.Errorf("%s: code id %t, try %t", q.Key, q.CodeID, q.Try)
		}
	}
	r.wantAsked(t, 9)
}

// A .sym that is stored under its code id, for it has no debug id, is found there, and is no way to anywhere else.
func TestASymThatIsStoredByItsCodeID(t *testing.T) {
	const key = "mingw.exe/5CF2591C6859000/mingw.sym"
	f, _, r := withRecords([]string{key}, map[string][]string{
		key:                                   {key},
		"MINGW.EXE/5CF2591C6859000/MINGW.SYM": {key},
		"mingw.exe/5CF2591C6859000/a.sym":     {key},
	})
	wantFound(t, f, asked("mingw.exe", "5cf2591c6859000", "mingw.sym"), key, false)
	r.wantAsked(t, 0)
	wantFound(t, f, asked("MINGW.EXE", "5cf2591c6859000", "MINGW.SYM"), key, true)
	wantFound(t, f, asked("mingw.exe", "5cf2591c6859000", "a.sym"), key, true)
	wantFound(t, f, asked("mingw.exe", "000000000000000000000000000000000", "mingw.sym"), "", false)
}

// Extensions count in any case; without any, whatever is stored is found.
func TestExtensions(t *testing.T) {
	keys := []string{"a.dll/AB/a.dll", "A.DLL/AB/A.DLL", "a.pdb/AB/a.PDB", "a.sys/AB/a.sys", "a.x/AB/a"}
	for _, c := range []struct {
		extensions []string
		found      int
	}{{nil, 5}, {[]string{}, 5}, {[]string{".dll", ".pdb"}, 3}, {[]string{".DLL"}, 2}, {[]string{".sym"}, 0}} {
		s := &fakeStorage{present: make(map[string]bool)}
		r := &fakeRecords{}
		f := newFinder(s, func(config *lookup.Config) { config.Extensions, config.Records = c.extensions, r })
		found := 0
		for _, key := range keys {
			s.present[key] = true
			k := mustKey(t, key)
			if _, err := f.Find(t.Context(), asked(k.DebugFile(), k.DebugID(), k.File())); err == nil {
				found++
			}
		}
		if found != c.found || s.stats.Load() != int64(found) || r.asked.Load() != 0 {
			t.Errorf("%q: %d found, want %d; %d looks into storage, %d into records", c.extensions, found, c.found, s.stats.Load(), r.asked.Load())
		}
	}
}

// What can be no key is not found, and no service is asked.
func TestNamesThatNoKeyHas(t *testing.T) {
	f, s, r := withRecords(nil, nil)
	for _, q := range []lookup.Query{
		asked("..", "AB", "x.sym"), asked("x", "AB", "a/b.sym"), asked("x", "XYZ", "x.sym"), asked("x", "", "x.sym"), asked("x\x00", "AB", "x.sym"),
		asked("x", "0000", "x.sym"), asked("x", "AB", "file.ptr"), asked("x", "AB", "FILE.PTR"), asked("x\xff", "AB", "x.sym"),
		asked("x.so", "elf-buildid-", "x.so"), asked("x.so", "elf-buildid-xyz", "x.so"), asked("x.so", "elf-buildid-coreclr-0123456789abcdef", "x.so"),
		asked("x.so", "elf-buildid-0000000000000000000000000000000000000000", "x.so"), asked("x", "mach-uuid-0123456789abcdef", "x"), asked("x", "mach-uuid-sym", "x"),
		asked("x.so", "elf-buildid-012345", "x.so"), asked("x.cs", "sha1-0123456789abcdef0123456789abcdef01234567", "x.cs"),
	} {
		wantFound(t, f, q, "", false)
		if q.Name == "x.sym" && q.ID != "AB" {
			if _, err := f.Module(t.Context(), q); !errors.Is(err, upload.ErrNotFound) {
				t.Errorf("module %+v: %v", q, err)
			}
		}
	}
	s.wantStats(t, 0)
	r.wantAsked(t, 0)
}

// A miss costs one call to the records, and is remembered for a minute; a hit is for ten. An upload through this instance that is
// recorded ends either at once.
func TestSpellingsAreRemembered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, s, r := withRecords([]string{"App.pdb/AB/App.pdb", "Late.pdb/AB/Late.pdb"}, map[string][]string{"app.pdb/AB/app.pdb": {"App.pdb/AB/App.pdb"}})
		app, late := asked("app.pdb", "AB", "app.pdb"), asked("late.pdb", "AB", "late.pdb")
		late.Try = true
		for range 3 {
			wantFound(t, f, app, "App.pdb/AB/App.pdb", true)
			wantFound(t, f, late, "", false)
		}
		r.wantAsked(t, 2)
		s.wantStats(t, 4) // of late.pdb among try uploads, too
		r.spellings["late.pdb/AB/late.pdb"] = []string{"Late.pdb/AB/Late.pdb"}
		<-time.After(59 * time.Second)
		wantFound(t, f, late, "", false)
		<-time.After(time.Second)
		wantFound(t, f, late, "Late.pdb/AB/Late.pdb", true)
		wantFound(t, f, app, "App.pdb/AB/App.pdb", true)
		r.wantAsked(t, 3)

		r.spellings["app.pdb/AB/app.pdb"] = []string{"Late.pdb/AB/Late.pdb"}
		app.Refresh = true
		wantFound(t, f, app, "Late.pdb/AB/Late.pdb", true)
		delete(r.spellings, "late.pdb/AB/late.pdb")
		if err := f.Recorded(uploads{}).Finish(t.Context(), &upload.Upload{}); err != nil {
			t.Fatal(err)
		}
		wantFound(t, f, late, "", false)
		r.wantAsked(t, 5)
	})
}

// uploads are records that take any upload.
type uploads struct{ upload.Records }

func (uploads) Finish(context.Context, *upload.Upload) error { return nil }

// While the records are away, storage answers alone, and at once but for the first few; of what may be a code id it knows nothing.
// What is remembered is answered as ever.
func TestWithoutRecords(t *testing.T) {
	down := fmt.Errorf("query: %w", upload.ErrUnavailable)
	for name, fail := range map[string]func(context.Context) error{
		"down":  func(context.Context) error { return down },
		"hangs": func(ctx context.Context) error { <-ctx.Done(); return context.Cause(ctx) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f, _, r := withRecords([]string{"App.pdb/AB/App.pdb"}, map[string][]string{"app.pdb/AB/app.pdb": {"App.pdb/AB/App.pdb"}})
				wantFound(t, f, asked("app.pdb", "AB", "app.pdb"), "App.pdb/AB/App.pdb", true)
				r.fail = fail
				before := time.Now()
				var wg sync.WaitGroup
				for i := range 50 {
					wg.Go(func() { wantFound(t, f, asked("app.pdb", fmt.Sprintf("C%d", i), "app.pdb"), "", false) })
				}
				wg.Wait()
				if took := time.Since(before); took > 3*time.Second {
					t.Errorf("answered after %v", took)
				}
				before, n := time.Now(), r.asked.Load()
				for i := range 50 {
					wantFound(t, f, asked("app.pdb", fmt.Sprintf("D%d", i), "app.pdb"), "", false)
				}
				wantFound(t, f, asked("App.pdb", "AB", "App.pdb"), "App.pdb/AB/App.pdb", false)
				wantFound(t, f, asked("app.pdb", "AB", "app.pdb"), "App.pdb/AB/App.pdb", true)
				if took := time.Since(before); took > 0 {
					t.Errorf("answered after %v", took)
				}
				r.wantAsked(t, n)
				for range 2 {
					if _, err := f.Find(t.Context(), asked("app.dll", "C0DE", "app.sym")); !errors.Is(err, upload.ErrUnavailable) {
						t.Errorf("of a code id: %v", err)
					}
				}
				r.fail = nil
				r.spellings["late.pdb/AB/late.pdb"] = []string{"App.pdb/AB/App.pdb"}
				wantFound(t, f, asked("late.pdb", "AB", "late.pdb"), "", false)
				<-time.After(10 * time.Second)
				wantFound(t, f, asked("late.pdb", "AB", "late.pdb"), "App.pdb/AB/App.pdb", true) // that was not remembered
			})
		})
	}
}

// A fault of the records is not "no such file".
func TestAFaultOfTheRecords(t *testing.T) {
	f, _, r := withRecords(nil, nil)
	broken := errors.New("broken")
	r.fail = func(context.Context) error { return broken }
	for range 2 {
		if _, err := f.Find(t.Context(), asked("app.pdb", "AB", "app.pdb")); !errors.Is(err, broken) || errors.Is(err, upload.ErrNotFound) {
			t.Errorf("got %v", err)
		}
	}
	r.wantAsked(t, 2)
}

func TestQueriesAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, _, r := withRecords(nil, nil)
		r.fail = func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
		wantBounded(t, lookup.MaxQueries, &r.most, func(i int) error {
			_, err := f.Find(t.Context(), asked("app.dll", fmt.Sprintf("C%d", i), "app.sym"))
			return err
		})
	})
}

// What is known of a module is remembered by its file and id, whatever else is asked with.
func TestModulesAreRemembered(t *testing.T) {
	f, _, r := withRecords(nil, nil)
	r.module = catalogue.Module{Key: mustKey(t, "app.pdb/AB/app.sym"), Try: true}
	for _, try := range []bool{true, false} {
		m, err := f.Module(t.Context(), lookup.Query{File: "app.pdb", ID: "ab", Try: try})
		if err != nil || m != r.module {
			t.Errorf("module %+v, %v", m, err)
		}
	}
	r.wantAsked(t, 1)
}

// Lookups of one name at a time, in whatever number, are one call to the records.
func TestSpellingsShareACall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, _, r := withRecords(nil, nil)
		release := make(chan struct{})
		r.fail = func(context.Context) error { <-release; return nil }
		var missing atomic.Int64
		var wg sync.WaitGroup
		for range 100 {
			wg.Go(func() {
				if _, err := f.Find(t.Context(), asked("app.pdb", "AB", "app.pdb")); errors.Is(err, upload.ErrNotFound) {
					missing.Add(1)
				}
			})
		}
		synctest.Wait()
		close(release)
		wg.Wait()
		if missing.Load() != 100 {
			t.Errorf("%d of 100 were missing", missing.Load())
		}
		r.wantAsked(t, 1)
	})
}
