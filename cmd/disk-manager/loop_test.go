package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"tecken-upload/internal/lab"
	"tecken-upload/internal/lab/process"
	"tecken-upload/internal/telemetry/sentrytest"
	"tecken-upload/internal/testenv"
)

// patience bounds every wait of these tests.
const patience = testenv.Patience

// interval is the pause between sweeps in tests.
const interval = 300 * time.Millisecond

func TestMain(m *testing.M) { os.Exit(lab.Run(m)) }

// entry is a line of the loop's log.
type entry struct {
	Time                            time.Time
	Msg, Err, Outcome, Exit, Stderr string
	Elapsed                         float64
	Reclaimed, Failed               int
	Address                         string
}

// A loop is the real program, and the Sentry it reports to.
type loop struct {
	*testing.T
	*process.Process
	log    *process.Reader
	dir    string        // the spool
	limit  time.Duration // of a sweep
	sentry *sentrytest.Server
}

// start runs the program on a spool. Settings are added to, and win over, those of all drills.
func start(t *testing.T, dir string, settings ...string) *loop {
	t.Helper()
	l := &loop{T: t, dir: dir, limit: testenv.Slack(t, 2*time.Second), sentry: sentrytest.NewServer()}
	t.Cleanup(l.sentry.Close)
	all := map[string]string{
		"TECKEN_SPOOL_DIR": dir, "TECKEN_INSTANCE": "drill", "SENTRY_DSN": l.sentry.DSN(), "TECKEN_ORPHAN_AGE": "15m",
		"TECKEN_SWEEP_INTERVAL": interval.String(), "TECKEN_SWEEP_TIMEOUT": l.limit.String(), "TECKEN_SPOOL_HEADROOM": "0",
	}
	for _, setting := range settings {
		name, value, _ := strings.Cut(setting, "=")
		all[name] = value
	}
	l.Process = lab.Open(t, lab.Config{Settings: all}).Start("disk-manager")
	l.log = l.Reader()
	return l
}

// next returns the next line with that message.
func (l *loop) next(msg string) entry {
	l.Helper()
	return l.wait(msg, func(entry) bool { return true })
}

// wait returns the next line with that message that is the one.
func (l *loop) wait(msg string, is func(entry) bool) (found entry) {
	l.Helper()
	ctx, cancel := context.WithTimeout(l.Context(), patience)
	defer cancel()
	_, err := l.log.Next(ctx, "the "+msg+" that was waited for", func(e process.Entry) bool {
		found = l.decode(e)
		return found.Msg == msg && is(found)
	})
	if err != nil {
		l.Fatal(err)
	}
	return found
}

func (l *loop) decode(from process.Entry) (e entry) {
	l.Helper()
	text, err := json.Marshal(from)
	if err == nil {
		err = json.Unmarshal(text, &e)
	}
	if err != nil {
		l.Error(err)
	}
	return e
}

// until returns the first sweep with that outcome, and skips others.
func (l *loop) until(outcome string) entry {
	l.Helper()
	return l.wait("sweep", func(e entry) bool { return e.Outcome == outcome })
}

// stop ends the program like a supervisor, and returns the number of its Sentry events by kind.
func (l *loop) stop() map[string]int {
	l.Helper()
	if err := l.Stop(); err != nil {
		l.Error(err)
	}
	events, err := l.sentry.Wait(l.Context(), 0)
	if err != nil {
		l.Error(err)
	}
	kinds := make(map[string]int)
	for _, e := range events {
		kinds[e.Exception[0].Type]++
	}
	return kinds
}

// sweepsOnTime checks that each sweep began one interval after the last ended, and that each but an interrupted one had a check-in with its
// result.
func (l *loop) sweepsOnTime() {
	l.Helper()
	most := interval + testenv.Slack(l, 5*time.Second)
	var last time.Time
	var statuses []string
	for _, logged := range l.Entries("sweep") {
		e := l.decode(logged)
		if e.Outcome == "interrupted" {
			continue
		}
		began := e.Time.Add(-time.Duration(e.Elapsed * float64(time.Second)))
		if wait := began.Sub(last); !last.IsZero() && (wait < interval-20*time.Millisecond || wait > most) {
			l.Errorf("a sweep began %s after the last one's end", wait)
		}
		last = e.Time
		status := "error"
		if e.Outcome == "ok" {
			status = "ok"
		}
		statuses = append(statuses, status)
	}
	var heard []string
	for _, c := range l.sentry.CheckIns() {
		if heard = append(heard, c.Status); c.Monitor != "disk-manager-drill" || c.Config.Schedule.Value != 10.0 || c.Config.Schedule.Unit != "minute" {
			l.Errorf("check-in: %s", c.Raw)
		}
	}
	if !slices.Equal(statuses, heard) {
		l.Errorf("sweeps and check-ins differ:\n%q\n%q", statuses, heard)
	}
}

// expect checks that these events, and no others, were received.
func expect(t *testing.T, got map[string]int, want ...string) {
	t.Helper()
	all := make(map[string]int)
	for _, kind := range want {
		all[kind]++
	}
	if !maps.Equal(all, got) {
		t.Errorf("events: %v, not %v", got, all)
	}
}

// event returns the first event of that kind.
func (l *loop) event(kind string) sentrytest.Event {
	l.Helper()
	for _, e := range l.sentry.Events() {
		if e.Exception[0].Type == kind {
			return e
		}
	}
	l.Fatalf("no event %q", kind)
	return sentrytest.Event{}
}

// children returns the program's sweep processes.
func (l *loop) children() (pids []int) {
	lists, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", l.PID()))
	if err != nil {
		l.Fatal(err)
	}
	for _, list := range lists {
		text, err := os.ReadFile(list)
		if err != nil {
			continue // the thread is gone
		}
		for _, field := range strings.Fields(string(text)) {
			pid, err := strconv.Atoi(field)
			if err != nil {
				l.Fatal(err)
			}
			// Until its exec a child is its parent, with the same arguments.
			if args, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid)); err == nil && strings.Contains(string(args), "sweep\x00--json") {
				pids = append(pids, pid)
			}
		}
	}
	return pids
}

// caught stops a sweep's process midway. The spool must hold enough to keep a sweep busy.
func (l *loop) caught() (pid int) {
	l.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); lab.Pause(l.Context(), time.Millisecond) { // a sweep is over soon
		for _, pid := range l.children() {
			if l.sweeping(pid) && syscall.Kill(pid, syscall.SIGSTOP) == nil {
				return pid
			}
		}
	}
	l.Fatal("no sweep was caught")
	return 0
}

// sweeping reports whether a process has the spool open.
func (l *loop) sweeping(pid int) bool {
	open, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	if err != nil {
		l.Fatal(err)
	}
	return slices.ContainsFunc(open, func(fd string) bool {
		path, err := os.Readlink(fd)
		return err == nil && path == l.dir
	})
}

func (l *loop) eventually(what string, holds func() bool) {
	l.Helper()
	ctx, cancel := context.WithTimeout(l.Context(), patience)
	defer cancel()
	if err := lab.Until(ctx, what, holds); err != nil {
		l.Fatal(err)
	}
}

// send sends a signal to a process that must be there.
func send(t *testing.T, pid int, s syscall.Signal) {
	t.Helper()
	if err := syscall.Kill(pid, s); err != nil {
		t.Errorf("%s: %v", s, err)
	}
}

// gone reports whether a process is gone.
func gone(pid int) bool { return errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) }

// busy fills a spool with so many young strays that a sweep can be caught.
func busy(t *testing.T, dir string) {
	t.Helper()
	litter(t, dir, 5_000)
}

func litter(t *testing.T, dir string, files int) {
	t.Helper()
	for i := range files {
		fd, err := syscall.Open(filepath.Join(dir, "stray-"+strconv.Itoa(i)), syscall.O_CREAT|syscall.O_WRONLY|syscall.O_CLOEXEC, 0o600)
		if err == nil {
			err = syscall.Close(fd)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}
