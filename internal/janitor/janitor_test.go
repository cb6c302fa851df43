package janitor_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"tecken-upload/internal/janitor"
	"tecken-upload/internal/spool"
)

const deadID = "20260102T030405Z-abcdefghij23"

func untold(janitor.Autopsy) {}

// newSpool makes a spool with a live workspace, and attaches to it like a janitor.
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

// dead leaves a workspace like a killed server.
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
	young := "20260102T030405Z-younghijk234"
	dead(t, dir, deadID, `{"upload":7,"tenant":3,"phase":"publish","received":1281000000,"kinds":{".sym":41}}`, 20*time.Minute)
	dead(t, dir, young, `{}`, 10*time.Minute)
	dead(t, dir, "stray", `{"upload":8}`, time.Hour)
	if err := os.Chtimes(filepath.Join(dir, live), time.Unix(1, 0), time.Unix(1, 0)); err != nil {
		t.Fatal(err)
	}
	report, told, err := sweep(t, s, janitor.Policy{OrphanAge: 15 * time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	want := janitor.Report{Found: 3, Reclaimed: 2, Workspaces: 1, Live: 1, OldestLeft: 10 * time.Minute}
	if diff := cmp.Diff(want, report, cmpopts.IgnoreFields(report, "Freed", "Duration", "OldestLive"), about); diff != "" {
		t.Error(diff)
	}
	if report.Freed < 2*4096 || report.Duration <= 0 || report.OldestLive < 0 || report.OldestLive > time.Minute {
		t.Errorf("freed %d bytes in %s, the oldest live one is %s old", report.Freed, report.Duration, report.OldestLive)
	}
	if diff := cmp.Diff(map[string]bool{live: true, young: true, ".tecken-spool": true}, left(t, dir)); diff != "" {
		t.Error(diff)
	}
	m := &spool.Manifest{Upload: 7, Tenant: 3, Phase: "publish", Received: 1281000000, Kinds: map[string]int{".sym": 41}}
	autopsies := map[string]janitor.Autopsy{
		deadID:  {Name: deadID, Workspace: true, Age: 20 * time.Minute, Manifest: m},
		"stray": {Name: "stray", Age: time.Hour, Manifest: &spool.Manifest{Upload: 8}},
	}
	if diff := cmp.Diff(autopsies, told, cmpopts.IgnoreFields(janitor.Autopsy{}, "Bytes"), about); diff != "" {
		t.Error(diff)
	}
}

// about takes two durations that are less than a minute apart for the same.
var about = cmp.Comparer(func(a, b time.Duration) bool { return (a - b).Abs() < time.Minute })

// sweep sweeps, and returns the autopsies by name.
func sweep(t *testing.T, s janitor.Spool, p janitor.Policy) (janitor.Report, map[string]janitor.Autopsy, error) {
	t.Helper()
	told := make(map[string]janitor.Autopsy)
	report, err := janitor.Sweep(t.Context(), s, p, func(a janitor.Autopsy) { told[a.Name] = a })
	return report, told, err
}

func TestSweepAtOnce(t *testing.T) {
	s, dir, live := newSpool(t)
	dead(t, dir, deadID, `{}`, 0)
	report, err := janitor.Sweep(t.Context(), s, janitor.Policy{}, untold)
	if err != nil || report.Reclaimed != 1 {
		t.Errorf("%+v, %v", report, err)
	}
	if diff := cmp.Diff(map[string]bool{live: true, ".tecken-spool": true}, left(t, dir)); diff != "" {
		t.Error(diff)
	}
}

// faulty is a spool with orphans that can't be examined, or can't be removed.
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
		return 4096, fmt.Errorf("%w: %w", errFault, syscall.EIO) // failed in the middle
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
	report, err := janitor.Sweep(t.Context(), f, janitor.Policy{}, untold)
	if !errors.Is(err, f.end) {
		t.Errorf("ended with %v", err)
	}
	if report.Found != 60 || report.Reclaimed != 20 || report.Failed != 40 || janitor.Kind(err) != "sweep failed" {
		t.Errorf("%+v, %s", report, janitor.Kind(err))
	}
	want := map[string]janitor.Failure{
		"orphan not examined":                    {Kind: "orphan not examined", Text: "fault", Count: 20},
		"orphan not removed: input/output error": {Kind: "orphan not removed: input/output error", Text: "fault: input/output error", Count: 20},
	}
	got := make(map[string]janitor.Failure)
	for _, f := range report.Failures {
		got[f.Kind] = f
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if report.Freed < 20*4096 {
		t.Errorf("freed %d bytes", report.Freed)
	}
	if n := len(left(t, dir)); n != 42 {
		t.Errorf("%d entries are left", n)
	}
}

// roomy is a spool on a disk with these amounts of free space, one after the other.
type roomy struct {
	janitor.Spool
	free []int64
	err  error
}

func (r *roomy) Usage(ctx context.Context) (spool.Usage, error) {
	u, err := r.Spool.Usage(ctx)
	if len(r.free) > 0 {
		u.Free, r.free = r.free[0], r.free[1:]
	}
	return u, errors.Join(err, r.err)
}

// TestSweepOfAFullDisk: a dead server's workspaces go at once, until enough is free. What may just be
// putting there does not.
func TestSweepOfAFullDisk(t *testing.T) {
	const headroom = 1 << 30
	policy := janitor.Policy{OrphanAge: 15 * time.Minute, Headroom: headroom}
	prepare := func(t *testing.T) *roomy {
		s, dir, _ := newSpool(t)
		for i := range 3 {
			dead(t, dir, deadID[:len(deadID)-1]+strconv.Itoa(2+i), `{}`, 0)
		}
		dead(t, dir, "stray", `{}`, 14*time.Minute)
		return &roomy{Spool: s}
	}
	for name, tt := range map[string]struct {
		free []int64
		want janitor.Report
	}{
		"full":    {[]int64{0, 0, 0}, janitor.Report{Found: 4, Reclaimed: 3, Workspaces: 3, Live: 1, Low: true}},
		"filling": {[]int64{0, 2*headroom - 1, 2 * headroom}, janitor.Report{Found: 4, Reclaimed: 2, Workspaces: 2, Live: 1, Low: true}},
		"roomy":   {[]int64{2 * headroom, 2 * headroom, 2 * headroom}, janitor.Report{Found: 4, Live: 1}},
	} {
		t.Run(name, func(t *testing.T) {
			s := prepare(t)
			s.free = tt.free
			report, _, err := sweep(t, s, policy)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, report, cmpopts.IgnoreFields(report, "Freed", "Duration"), about); diff != "" {
				t.Error(diff)
			}
		})
	}
	t.Run("unknown", func(t *testing.T) {
		s := prepare(t)
		s.err = syscall.EIO
		report, _, err := sweep(t, s, policy)
		want := []janitor.Failure{{Kind: "spool not measured: input/output error", Text: "input/output error", Count: 3}}
		if diff := cmp.Diff(want, report.Failures); diff != "" || err != nil || report.Reclaimed != 0 {
			t.Errorf("%+v, %v, %s", report, err, diff)
		}
	})
}

// taken is a spool in which all orphans find an owner before they can be reclaimed.
type taken struct{ janitor.Spool }

func (taken) Reclaim(context.Context, spool.Orphan) (int64, error) {
	return 0, fmt.Errorf("reclaim: %w", spool.ErrInUse)
}

func TestWhatIsTakenIsNoOrphan(t *testing.T) {
	s, dir, _ := newSpool(t)
	dead(t, dir, deadID, `{}`, time.Hour)
	report, told, err := sweep(t, taken{s}, janitor.Policy{})
	if err != nil || report.Found != 0 || report.Failed != 0 || len(told) != 0 {
		t.Errorf("%+v, %v, %v", report, told, err)
	}
}

// TestTellingIsBounded: for any number of orphans, with any manifests.
func TestTellingIsBounded(t *testing.T) {
	s, dir, _ := newSpool(t)
	kinds := make(map[string]int)
	for i := range 60 {
		kinds[strconv.Itoa(i)] = 1
	}
	manifests := make([]string, 0, 3)
	for _, m := range []spool.Manifest{{Kinds: kinds}, {Kinds: map[string]int{strings.Repeat("<", 8000): 1}}, {User: strings.Repeat("<", 60000)}} {
		text, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		manifests = append(manifests, string(text))
	}
	for i := range 300 {
		id := deadID[:len(deadID)-3] + strings.NewReplacer("0", "a", "1", "b", "8", "c", "9", "d").Replace(fmt.Sprintf("%03d", i))
		dead(t, dir, id, manifests[i%3], time.Hour)
		dead(t, dir, strconv.Itoa(i), manifests[0], time.Hour)
	}
	var out bytes.Buffer
	report, err := janitor.Sweep(t.Context(), s, janitor.Policy{}, func(a janitor.Autopsy) {
		if err := janitor.Write(&out, janitor.Message{Autopsy: &a}); err != nil {
			t.Error(err)
		}
	})
	if err != nil || report.Workspaces != 300 || report.Reclaimed != 600 {
		t.Errorf("%+v, %v", report, err)
	}
	told := 0
	for line := range bytes.Lines(out.Bytes()) {
		if m, err := janitor.Read(line); err != nil || m.Autopsy == nil || len(line) > janitor.MaxLine {
			t.Errorf("%d bytes: %.200s: %v", len(line), line, err)
		}
		told++
	}
	if told != 110 {
		t.Errorf("%d were told of", told)
	}
}

func TestMessages(t *testing.T) {
	var out bytes.Buffer
	want := []janitor.Message{
		{Autopsy: &janitor.Autopsy{Name: "a\nb", Workspace: true, Age: time.Hour, Bytes: 4096, Manifest: &spool.Manifest{Upload: 3}}},
		{Report: &janitor.Report{Found: 2, Reclaimed: 1, Failures: []janitor.Failure{{Kind: "k", Text: "t", Count: 2}}}, Kind: "spool missing", Err: "gone"},
	}
	var got []janitor.Message
	for _, m := range want {
		if err := janitor.Write(&out, m); err != nil {
			t.Fatal(err)
		}
	}
	for line := range bytes.Lines(out.Bytes()) {
		m, err := janitor.Read(line)
		if err != nil {
			t.Error(err)
		}
		got = append(got, m)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	for _, line := range []string{"", "{}", "panic: oh", `{"report":7}`, `[]`, `{"report":null}`} {
		if m, err := janitor.Read([]byte(line)); err == nil {
			t.Errorf("%s was read as %+v", line, m)
		}
	}
}

func TestKinds(t *testing.T) {
	for want, err := range map[string]error{
		"sweep interrupted": fmt.Errorf("sweep: %w", context.Canceled),
		"not a spool":       fmt.Errorf("attach: %w", spool.ErrNotSpool),
		"spool missing":     &os.PathError{Op: "open", Path: "x", Err: syscall.ENOENT},
		"sweep failed: transport endpoint is not connected": &os.PathError{Op: "open", Path: "x", Err: syscall.ENOTCONN},
		"sweep failed": errors.New("for x"),
	} {
		if got := janitor.Kind(err); got != want {
			t.Errorf("%v is %q, not %q", err, got, want)
		}
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
	report, err := janitor.Sweep(ctx, f, janitor.Policy{}, untold)
	if !errors.Is(err, late) || report.Found != 1 || report.Failed != 0 {
		t.Errorf("%+v, %v", report, err)
	}
}

func TestSweepUsesItsClock(t *testing.T) {
	s, _, _ := newSpool(t)
	now := time.Unix(0, 0)
	clock := func() time.Time { now = now.Add(time.Second); return now }
	report, err := janitor.Sweep(t.Context(), s, janitor.Policy{Now: clock}, untold)
	if err != nil || report.Duration != time.Second {
		t.Errorf("%+v, %v", report, err)
	}
}

// TestSweepMemory: a sweep stays small, however full the spool.
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
	report, err := janitor.Sweep(t.Context(), watch, janitor.Policy{}, untold)
	if err != nil || report.Reclaimed != files {
		t.Errorf("%+v, %v", report, err)
	}
	if grown := int64(peak) - int64(before.Sys); grown > 8<<20 {
		t.Errorf("grew by %d bytes", grown)
	}
}
