package audit_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tecken-upload/internal/audit"
	"tecken-upload/internal/storage"
	"tecken-upload/internal/upload"
)

var cmpLines = cmp.AllowUnexported(line{})

// fill stores n files, and returns their object keys in order.
func (h *house) fill(n int) (keys []string) {
	h.t.Helper()
	for i := range n {
		loc := h.putGood(fmt.Sprintf("app%d/AB/app.sym", i))
		keys = append(keys, storage.ObjectKey(loc))
	}
	slices.Sort(keys)
	return keys
}

// An audit may be interrupted anywhere, any number of times: another one after its position misses nothing.
func TestInterruptedAndResumed(t *testing.T) {
	h := newHouse(t)
	keys := h.fill(60)
	h.putBroken("app30/AB/app.pdb")
	cause := errors.New("the reason")
	verified, broken, after := map[string]bool{}, 0, ""
	for passes := 0; ; passes++ {
		if passes > 60 {
			t.Fatal("it gets nowhere")
		}
		ctx, cancel := context.WithCancelCause(t.Context())
		h.opened = nil
		h.opening = func(context.Context, string) error {
			if len(h.opened) > 7 {
				cancel(cause)
			}
			return nil
		}
		found, totals, err := h.run(ctx, audit.Config{After: after})
		cancel(nil)
		if totals.Position < after {
			t.Errorf("the position went back from %s to %s", after, totals.Position)
		}
		for _, key := range keys {
			if key > after && key <= totals.Position {
				verified[key] = slices.Contains(h.opened, strings.TrimPrefix(key, "v1/"))
			}
		}
		broken += len(found)
		after = totals.Position
		if err == nil {
			break
		}
		if !errors.Is(err, cause) {
			t.Fatalf("run: %v; want the context's cause", err)
		}
	}
	for _, key := range keys {
		if !verified[key] {
			t.Errorf("%s was left out", key)
		}
	}
	if broken < 1 || after != keys[len(keys)-1] {
		t.Errorf("%d broken, at %s", broken, after)
	}
}

// Files are moved in the order in which they are reported, however early they were found broken.
func TestMovedInOrder(t *testing.T) {
	h := newHouse(t)
	h.putGood("a/AB/a.sym")
	second, third := h.putBroken("b/AB/b.sym"), h.putBroken("c/AB/c.sym")
	found := make(chan struct{})
	pass := audit.New(audit.Config{Storage: &slowStore{house: h, until: found}, Parallel: 2, Repair: true, Report: func(f audit.Finding) error {
		if _, err := h.Stat(t.Context(), third); f.Location == second && err != nil {
			t.Errorf("the second was moved after the third: %v", err)
		}
		return nil
	}})
	if err := pass.Run(t.Context()); err != nil || pass.Totals().Moved != 2 {
		t.Errorf("%+v, %v", pass.Totals(), err)
	}
}

// slowStore opens the first file once the others were read twice.
type slowStore struct {
	*house
	until chan struct{}
	reads atomic.Int32
}

// Open implements audit.Storage.
func (s *slowStore) Open(ctx context.Context, loc upload.Location) (*storage.Stored, error) {
	if loc.Key.DebugFile() == "a" {
		<-s.until
	} else if s.reads.Add(1) == 4 {
		defer close(s.until)
	}
	return s.house.Open(ctx, loc)
}

func TestSince(t *testing.T) {
	h := newHouse(t)
	old, fresh := h.putBroken("a/AB/a.sym"), h.putBroken("b/AB/b.sym")
	h.putBroken("c/AB/c.sym")
	since := time.Now().Add(-time.Hour)
	for key, at := range map[string]time.Time{"a": since.Add(-time.Second), "b": since, "c": since.Add(-time.Hour)} {
		if err := os.Chtimes(filepath.Join(h.dir, "v1", key, "AB", key+".sym"), at, at); err != nil {
			t.Fatal(err)
		}
	}
	found, totals, err := h.run(t.Context(), audit.Config{Since: since})
	want := []line{{storage.ObjectKey(fresh), audit.Broken}}
	if diff := cmp.Diff(want, lines(found), cmpLines); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	if totals.Files != 1 || totals.Position != "v1/c/AB/c.sym" || slices.Contains(h.opened, old.Key.String()) {
		t.Errorf("totals %+v, opened %q", totals, h.opened)
	}
}

func TestRegularAndTry(t *testing.T) {
	h := newHouse(t)
	regular := h.putBroken("a/AB/a.sym")
	h.putBroken("b/AB/b.sym")
	if err := os.Rename(filepath.Join(h.dir, "v1", "b"), mkdir(t, h.dir, "try", "v1")+"/b"); err != nil {
		t.Fatal(err)
	}
	for prefix, want := range map[string][]line{
		"":         {{"try/v1/b/AB/b.sym", audit.Broken}, {storage.ObjectKey(regular), audit.Broken}},
		"b":        {{"try/v1/b/AB/b.sym", audit.Broken}},
		"try/":     {{"try/v1/b/AB/b.sym", audit.Broken}},
		"v1/":      {{storage.ObjectKey(regular), audit.Broken}},
		"v1/b":     {},
		"a/AB/a.s": {{storage.ObjectKey(regular), audit.Broken}},
	} {
		found, _, err := h.run(t.Context(), audit.Config{Prefix: prefix})
		if diff := cmp.Diff(want, lines(found), cmpLines); diff != "" || err != nil {
			t.Errorf("%q: %v (-want +got):\n%s", prefix, err, diff)
		}
	}
}

func mkdir(t *testing.T, elem ...string) string {
	t.Helper()
	dir := filepath.Join(elem...)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// A broken listing ends the audit there, after the earlier files.
func TestListingFails(t *testing.T) {
	h := newHouse(t)
	keys := h.fill(10)
	broken := errors.New("the listing broke off")
	h.listing = func(yielded int) error {
		if yielded == 7 {
			return broken
		}
		return nil
	}
	_, totals, err := h.run(t.Context(), audit.Config{Prefix: "v1/"})
	if !errors.Is(err, broken) || totals.Files != 7 || totals.Position != keys[6] {
		t.Errorf("%+v, %v", totals, err)
	}
}

func TestReportFails(t *testing.T) {
	h := newHouse(t)
	h.putGood("a/AB/a.sym")
	for i := range 50 {
		h.putBroken(fmt.Sprintf("b%d/AB/b.sym", i))
	}
	closed := errors.New("nobody reads the report")
	reports := 0
	_, totals, err := h.run(t.Context(), audit.Config{Report: func(audit.Finding) error {
		reports++
		return closed
	}})
	if !errors.Is(err, closed) || reports > 10 || totals.Broken == 50 {
		t.Errorf("%d reports, %+v, %v", reports, totals, err)
	}
}
