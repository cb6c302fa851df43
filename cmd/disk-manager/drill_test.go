package main

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"tecken-upload/internal/spool"
	"tecken-upload/internal/spool/spooltest"
	"tecken-upload/internal/telemetry/metricstest"
)

// Drills of incident A3, the janitor that died silently: whatever happens to a sweep, the loop goes on, the next sweep is on time, and
// Sentry has exactly what happened.

// A sweep's process is stopped midway, and then dies of a signal.
func TestA3SweepDies(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		signal             syscall.Signal
		kind, exit, stderr string
	}{
		"panicking": {syscall.SIGABRT, "sweep died: exit status 2", "exit status 2", "SIGABRT: abort"},
		"crashing":  {syscall.SIGSEGV, "sweep died: exit status 2", "exit status 2", "SIGSEGV"},
		"killed":    {syscall.SIGKILL, "sweep killed: killed", "signal: killed", ""},
	} {
		t.Run(name, func(t *testing.T) {
			dir, orphan := newSpool(t)
			busy(t, dir)
			l := start(t, dir)
			l.until("ok")
			for range 2 { // the second time within the hour it is only logged
				pid := l.caught()
				send(t, pid, tt.signal)
				_ = syscall.Kill(pid, syscall.SIGCONT) // killed, it may be gone
				if e := l.until("died"); e.Exit != tt.exit || !strings.Contains(e.Stderr, tt.stderr) {
					t.Errorf("%+v", e)
				}
			}
			l.until("ok")
			if exists(orphan) {
				t.Error("the orphan is still there")
			}
			expect(t, l.stop(), "orphan reclaimed", tt.kind)
			l.sweepsOnTime()
			facts := l.event(tt.kind).Contexts["facts"]
			if text, _ := facts["stderr"].(string); facts["exit"] != tt.exit || !strings.Contains(text, tt.stderr) {
				t.Errorf("the event's facts: %v", facts)
			}
		})
	}
}

// A sweep hangs past its limit, and ignores SIGTERM.
func TestA3SweepHangs(t *testing.T) {
	t.Parallel()
	dir, _ := newSpool(t)
	busy(t, dir)
	l := start(t, dir)
	l.until("ok")
	pid := l.caught()
	if e := l.until("timed_out"); e.Elapsed < l.limit.Seconds() {
		t.Errorf("ended after %v s", e.Elapsed)
	}
	if !gone(pid) {
		t.Error("the process is still there")
	}
	l.until("ok")
	expect(t, l.stop(), "orphan reclaimed", "sweep timed out")
	l.sweepsOnTime()
}

// The disk hangs, so that SIGKILL does not end a sweep: the loop gives it up, starts one more, and then only reports until the disk is
// back.
func TestA3SweepCantBeKilled(t *testing.T) {
	t.Parallel()
	dir := spooltest.Image(t, 16<<20, "mkfs.ext4", "-q")
	makeSpool(t, dir)
	// A sweep that hangs over one orphan holds it: the next takes that for in use, and hangs over the other.
	orphans := []string{makeOrphan(t, dir), filepath.Join(dir, "20260102T030405Z-bbbbbbbbbbbb")}
	if err := os.Rename(orphans[0], orphans[1]); err != nil {
		t.Fatal(err)
	}
	makeOrphan(t, dir)
	thaw := spooltest.Freeze(t, dir)
	l := start(t, dir)
	l.until("given_up")
	l.until("given_up")
	l.until("suspended")
	l.until("suspended")
	thaw()
	l.until("ok")
	l.eventually("the orphans are gone", func() bool { return !exists(orphans[0]) && !exists(orphans[1]) })
	events := l.stop()
	delete(events, "orphan reclaimed") // by one of three sweeps, two of them without a loop
	expect(t, events, "sweep can't be killed", "sweeps suspended")
	l.sweepsOnTime()
}

// The spool is missing, comes, goes away, and comes back.
func TestA3SpoolMissing(t *testing.T) {
	t.Parallel()
	dir, orphan := newSpool(t)
	away := func() {
		if err := os.Rename(dir, dir+"-away"); err != nil {
			t.Fatal(err)
		}
	}
	back := func() {
		if err := os.Rename(dir+"-away", dir); err != nil {
			t.Fatal(err)
		}
	}
	away()
	l := start(t, dir)
	l.until("failed")
	l.until("failed")
	back()
	l.until("ok")
	if exists(orphan) {
		t.Error("the orphan is still there")
	}
	away()
	if e := l.until("failed"); !strings.Contains(e.Err, "no such file") {
		t.Errorf("%+v", e)
	}
	back()
	l.until("ok")
	if err := os.Remove(filepath.Join(dir, ".tecken-spool")); err != nil {
		t.Fatal(err)
	}
	l.until("failed")
	expect(t, l.stop(), "orphan reclaimed", "spool missing", "not a spool")
	l.sweepsOnTime()
}

// The spool's file system is read-only for a while.
func TestA3SpoolReadOnly(t *testing.T) {
	t.Parallel()
	dir := spooltest.Tmpfs(t, "size=16m")
	makeSpool(t, dir)
	orphan := makeOrphan(t, dir)
	remount := func(flags uintptr) {
		if err := unix.Mount("", dir, "", unix.MS_REMOUNT|flags, ""); err != nil {
			t.Fatal(err)
		}
	}
	remount(unix.MS_RDONLY)
	l := start(t, dir)
	l.until("incomplete")
	if e := l.until("incomplete"); e.Failed != 1 || !strings.Contains(e.Err, "read-only file system") {
		t.Errorf("%+v", e)
	}
	remount(0)
	l.until("ok")
	if exists(orphan) {
		t.Error("the orphan is still there")
	}
	expect(t, l.stop(), "orphan reclaimed", "orphan not removed: read-only file system")
	l.sweepsOnTime()
}

// One entry can't be deleted (chattr +i). The others go.
func TestA3EntryUndeletable(t *testing.T) {
	t.Parallel()
	dir := spooltest.Image(t, 16<<20, "mkfs.ext4", "-q")
	makeSpool(t, dir)
	orphan := makeOrphan(t, dir)
	stuck := filepath.Join(dir, "stuck")
	if err := os.WriteFile(stuck, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	release := spooltest.Immutable(t, stuck)
	l := start(t, dir, "TECKEN_ORPHAN_AGE=0s")
	l.until("incomplete")
	if e := l.until("incomplete"); e.Failed != 1 || !strings.Contains(e.Err, "stuck") {
		t.Errorf("%+v", e)
	}
	if exists(orphan) {
		t.Error("the orphan is still there")
	}
	release()
	l.until("ok")
	if exists(stuck) {
		t.Error("what can be deleted now is still there")
	}
	expect(t, l.stop(), "orphan reclaimed", "orphan not removed: operation not permitted")
	l.sweepsOnTime()
}

// A live workspace is never touched, however old. A dead server's remains are described.
func TestAutopsy(t *testing.T) {
	t.Parallel()
	dir, orphan := newSpool(t)
	manifest := `{"upload":7,"tenant":3,"instance":"web-1","phase":"publish","declared":2000,"received":1281000000,"members":100,"published":41,"kinds":{".sym":41}}`
	if err := os.WriteFile(filepath.Join(orphan, "manifest.json"), []byte(manifest), 0o600); err != nil {
		t.Fatal(err)
	}
	server, err := spool.Open(dir, spool.Options{})
	if err != nil {
		t.Fatal(err)
	}
	live, err := server.Create(t.Context(), 4096)
	if err != nil {
		t.Fatal(err)
	}
	old := time.Unix(1, 0)
	for _, name := range []string{live.ID() + "/manifest.json", live.ID(), filepath.Base(orphan) + "/manifest.json", filepath.Base(orphan)} {
		if err := os.Chtimes(filepath.Join(dir, name), old, old); err != nil {
			t.Fatal(err)
		}
	}
	l := start(t, dir)
	l.until("ok")
	l.until("ok")
	if exists(orphan) || !exists(filepath.Join(dir, live.ID())) {
		t.Error("not the orphan alone went")
	}
	expect(t, l.stop(), "orphan reclaimed")
	event := l.event("orphan reclaimed")
	facts := event.Contexts["facts"]
	for _, changing := range []string{"age", "freed", "started", "updated"} {
		delete(facts, changing)
	}
	want := map[string]any{
		"name": filepath.Base(orphan), "workspace": true, "upload": 7.0, "tenant": 3.0, "label": "", "user": "", "server": "web-1", "pid": 0.0,
		"phase": "publish", "declared": 2000.0, "received": 1281000000.0, "members": 100.0, "published": 41.0, "kinds": map[string]any{".sym": 41.0},
	}
	if diff := cmp.Diff(want, facts); diff != "" {
		t.Error(diff)
	}
	if event.Level != "warning" || event.Tags["upload"] != "7" {
		t.Errorf("%s", event.Raw)
	}
	if err := live.Close(); err != nil {
		t.Error(err)
	}
	if err := server.Close(); err != nil {
		t.Error(err)
	}
}

// TestStops: on a signal, even during a sweep, leaving no process behind.
func TestStops(t *testing.T) {
	t.Parallel()
	t.Run("at rest", func(t *testing.T) {
		for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
			dir, _ := newSpool(t)
			l := start(t, dir, "TECKEN_SWEEP_INTERVAL=1h")
			l.until("ok")
			send(t, l.PID(), sig)
			if err := l.Err(); err != nil {
				t.Errorf("%s: %v", sig, err)
			}
		}
	})
	t.Run("in a sweep that hangs", func(t *testing.T) {
		dir, _ := newSpool(t)
		busy(t, dir)
		l := start(t, dir, "TECKEN_SWEEP_TIMEOUT=1h")
		l.until("ok")
		pid := l.caught()
		expect(t, l.stop(), "orphan reclaimed")
		if !gone(pid) {
			t.Error("the sweep goes on")
		}
	})
	t.Run("killed in a sweep", func(t *testing.T) {
		dir, _ := newSpool(t)
		busy(t, dir)
		l := start(t, dir, "TECKEN_SWEEP_TIMEOUT=1h")
		l.until("ok")
		pid := l.caught()
		send(t, l.PID(), syscall.SIGKILL)
		l.eventually("the sweep has ended too", func() bool {
			state, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
			return err != nil || bytes.Contains(state, []byte(") Z "))
		})
	})
}

// TestMetricsListener: metrics are served; if they can't be, everything else goes on.
func TestMetricsListener(t *testing.T) {
	t.Parallel()
	dir, _ := newSpool(t)
	l := start(t, dir)
	address := l.next("metrics served").Address
	l.until("ok")
	resp, err := http.Get("http://" + address + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	scraped := strings.Split(strings.TrimSpace(string(text)), "\n")
	metricstest.Check(t, scraped, map[string]int{"result": 8, "kind": 2, "owner": 2, "le": 12})
	if got := metricstest.Sample(scraped, `tecken_janitor_reclaimed_total{kind="workspace"}`); got != "1" {
		t.Errorf("%q workspaces were reclaimed", got)
	}

	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	other, orphan := newSpool(t)
	l = start(t, other, "TECKEN_JANITOR_METRICS_LISTEN="+taken.Addr().String())
	l.until("ok")
	l.until("ok")
	if exists(orphan) {
		t.Error("the orphan is still there")
	}
	expect(t, l.stop(), "orphan reclaimed", "metrics not served")
	l.sweepsOnTime()
}

// TestMemory: with 100,000 stray files in the spool neither process takes 32 MB.
func TestMemory(t *testing.T) {
	t.Parallel()
	const files, most = 100_000, 32_000_000
	dir, _ := newSpool(t)
	litter(t, dir, files)
	l := start(t, dir, "TECKEN_ORPHAN_AGE=0s", "TECKEN_SWEEP_TIMEOUT="+patience.String())
	var parent, sweep int
	done := make(chan entry, 1)
	go func() { done <- l.until("ok") }()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		parent = max(parent, peak(l.PID()))
		for _, pid := range l.children() {
			sweep = max(sweep, peak(pid))
		}
		select {
		case e := <-done:
			if e.Reclaimed != files+1 {
				t.Errorf("%+v", e)
			}
			t.Logf("at most %d bytes in the loop, %d in a sweep", parent, sweep)
			if parent == 0 || parent > most || sweep == 0 || sweep > most {
				t.Errorf("%d and %d bytes, of %d", parent, sweep, most)
			}
			return
		case <-tick.C:
		}
	}
}

// peak returns the largest resident size of a process, 0 if it is gone.
func peak(pid int) int {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(status), "VmHWM:")
	number, _, _ := strings.Cut(strings.TrimSpace(rest), " kB")
	kib, err := strconv.Atoi(number)
	if err != nil {
		return 0 // it is a zombie
	}
	return kib << 10
}
