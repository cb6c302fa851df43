package janitor_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"iter"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"tecken-upload/internal/janitor"
	"tecken-upload/internal/spool"
)

const deadID = "20260102T030405Z-abcdefghij23"

// newSpool makes a spool with a live workspace, and attaches to it as a janitor does.
func newSpool(t *testing.T) (s *spool.Spool, dir, live string) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "spool")
	server, err := spool.Open(dir, spool.Options{})
	if err != nil {
		t.Fatal(err)
	}
	w, err := server.Create(t.Context(), 4096)
	if err != nil {
		t.Fatal(err)
	}
	if s, err = spool.Attach(dir, spool.Options{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(w.Close(), server.Close(), s.Close()); err != nil {
			t.Error(err)
		}
	})
	return s, dir, w.ID()
}

// dead leaves a workspace as a server that was killed does.
func dead(t *testing.T, dir, id, manifest string, age time.Duration) {
	t.Helper()
	if err := os.Mkdir(filepath.Join(dir, id), 0o700); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, id, "manifest.json")
	if err := os.WriteFile(path, []byte(manifest), 0o600); err != nil {
		t.Fatal(err)
	}
	then := time.Now().Add(-age)
	for _, p := range []string{path, filepath.Join(dir, id)} {
		if err := os.Chtimes(p, then, then); err != nil {
			t.Fatal(err)
		}
	}
}

func left(t *testing.T, dir string) map[string]bool {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	found := make(map[string]bool)
	for _, e := range entries {
		found[e.Name()] = true
	}
	return found
}

func TestSweep(t *testing.T) {
	s, dir, live := newSpool(t)
	young := "20260102T030405Z-young2345678"[:len(deadID)]
	dead(t, dir, deadID, `{"upload":7,"tenant":3,"phase":"publish","received":1281000000,"kinds":{".sym":41}}`, 20*time.Minute)
	dead(t, dir, young, `{}`, 10*time.Minute)
	dead(t, dir, "stray", `{"upload":8}`, time.Hour)
	if err := os.Chtimes(filepath.Join(dir, live), time.Unix(1, 0), time.Unix(1, 0)); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	report, err := janitor.Sweep(t.Context(), s, janitor.Policy{OrphanAge: 15 * time.Minute}, slog.New(slog.NewJSONHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	want := janitor.Report{Found: 3, Reclaimed: 2}
	if diff := cmp.Diff(want, report, cmpopts.IgnoreFields(report, "Freed", "Duration")); diff != "" {
		t.Error(diff)
	}
	if report.Freed < 2*4096 || report.Duration <= 0 {
		t.Errorf("freed %d bytes in %s", report.Freed, report.Duration)
	}
	if diff := cmp.Diff(map[string]bool{live: true, young: true, ".tecken-spool": true}, left(t, dir)); diff != "" {
		t.Error(diff)
	}
	autopsies(t, &log)
}

// autopsies checks what was logged of the workspace and the stray.
func autopsies(t *testing.T, log *bytes.Buffer) {
	t.Helper()
	type line struct {
		Level, Msg, Name string
		Workspace        bool
		Manifest         *spool.Manifest
	}
	got := make(map[string]line)
	for d := json.NewDecoder(log); d.More(); {
		var l line
		if err := d.Decode(&l); err != nil {
			t.Fatal(err)
		}
		got[l.Name] = l
	}
	m := &spool.Manifest{Upload: 7, Tenant: 3, Phase: "publish", Received: 1281000000, Kinds: map[string]int{".sym": 41}}
	want := map[string]line{
		deadID:  {"WARN", "orphan reclaimed", deadID, true, m},
		"stray": {"INFO", "orphan reclaimed", "stray", false, &spool.Manifest{Upload: 8}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestSweepAtOnce(t *testing.T) {
	s, dir, live := newSpool(t)
	dead(t, dir, deadID, `{}`, 0)
	report, err := janitor.Sweep(t.Context(), s, janitor.Policy{}, slog.New(slog.DiscardHandler))
	if err != nil || report.Reclaimed != 1 {
		t.Errorf("%+v, %v", report, err)
	}
	if diff := cmp.Diff(map[string]bool{live: true, ".tecken-spool": true}, left(t, dir)); diff != "" {
		t.Error(diff)
	}
}

// faulty is a spool in which some orphans can't be examined, and some can't be removed.
type faulty struct {
	janitor.Spool
	unreadable, stuck func(name string) bool
	end               error
}

var errFault = errors.New("fault")

func (f faulty) Orphans(ctx context.Context) iter.Seq2[spool.Orphan, error] {
	return func(yield func(spool.Orphan, error) bool) {
		for o, err := range f.Spool.Orphans(ctx) {
			if f.unreadable(o.Name) {
				o, err = spool.Orphan{Name: o.Name}, errFault
			}
			if !yield(o, err) {
				return
			}
		}
		if f.end != nil {
			yield(spool.Orphan{}, f.end)
		}
	}
}

func (f faulty) Reclaim(ctx context.Context, o spool.Orphan) (int64, error) {
	if f.unreadable(o.Name) {
		panic("reclaims what it could not examine: " + o.Name)
	}
	if f.stuck(o.Name) {
		return 4096, errFault // failed in the middle
	}
	return f.Spool.Reclaim(ctx, o)
}

func TestSweepGoesOn(t *testing.T) {
	s, dir, _ := newSpool(t)
	for i := range 60 {
		dead(t, dir, strconv.Itoa(i), `{}`, time.Hour)
	}
	every := func(n, of int) func(string) bool {
		return func(name string) bool {
			i, err := strconv.Atoi(name)
			return err == nil && i%of == n
		}
	}
	f := faulty{Spool: s, unreadable: every(0, 3), stuck: every(1, 3), end: errors.New("the disk went away")}
	report, err := janitor.Sweep(t.Context(), f, janitor.Policy{}, slog.New(slog.DiscardHandler))
	if !errors.Is(err, f.end) {
		t.Errorf("ended with %v", err)
	}
	if report.Found != 60 || report.Reclaimed != 20 || report.Failed != 40 || len(report.Errors) != 10 {
		t.Errorf("%+v", report)
	}
	if report.Freed < 20*4096 {
		t.Errorf("freed %d bytes", report.Freed)
	}
	if n := len(left(t, dir)); n != 42 {
		t.Errorf("%d entries are left", n)
	}
}

func TestSweepEndsWithItsContext(t *testing.T) {
	s, dir, _ := newSpool(t)
	for i := range 20 {
		dead(t, dir, strconv.Itoa(i), `{}`, time.Hour)
	}
	late := errors.New("too late")
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	f := faulty{Spool: s, unreadable: func(string) bool { return false }, stuck: func(string) bool { cancel(late); return true }}
	report, err := janitor.Sweep(ctx, f, janitor.Policy{}, slog.New(slog.DiscardHandler))
	if !errors.Is(err, late) || report.Found != 1 || report.Failed != 1 {
		t.Errorf("%+v, %v", report, err)
	}
}

func TestSweepUsesItsClock(t *testing.T) {
	s, _, _ := newSpool(t)
	now := time.Unix(0, 0)
	clock := func() time.Time { now = now.Add(time.Second); return now }
	report, err := janitor.Sweep(t.Context(), s, janitor.Policy{Now: clock}, slog.New(slog.DiscardHandler))
	if err != nil || report.Duration != time.Second {
		t.Errorf("%+v, %v", report, err)
	}
}

// TestSweepMemory: however much lies in the spool, a sweep is small.
func TestSweepMemory(t *testing.T) {
	s, dir, _ := newSpool(t)
	const files = 20_000
	for i := range files {
		f, err := os.Create(filepath.Join(dir, strconv.Itoa(i)))
		if err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	var peak uint64
	watch := faulty{Spool: s, unreadable: func(string) bool { return false }, stuck: func(name string) bool {
		if len(name) == 5 && name[3:] == "00" {
			runtime.ReadMemStats(&after)
			peak = max(peak, after.Sys)
		}
		return false
	}}
	report, err := janitor.Sweep(t.Context(), watch, janitor.Policy{}, slog.New(slog.DiscardHandler))
	if err != nil || report.Reclaimed != files {
		t.Errorf("%+v, %v", report, err)
	}
	if grown := int64(peak) - int64(before.Sys); grown > 8<<20 {
		t.Errorf("grew by %d bytes", grown)
	}
}
