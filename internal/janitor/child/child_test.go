package child_test

import (
	"context"
	"errors"
	"flag"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"tecken-upload/internal/janitor/child"
	"tecken-upload/internal/spool/spooltest"
	"tecken-upload/internal/testenv"
)

// patience bounds every wait of these tests.
const patience = testenv.Patience

// parent makes this test binary a process with a child, to be killed.
var parent = flag.Bool("child.parent", false, "start a child, and wait for its end")

// output collects a child's lines.
type output struct {
	mu    sync.Mutex
	lines []string
	first chan struct{} // closed with the first line
}

func (o *output) add(line []byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.lines = append(o.lines, string(line)); len(o.lines) == 1 {
		close(o.first)
	}
}

// script runs a shell script as a child, and returns its lines too.
func script(t *testing.T, timeout time.Duration, text string, args ...string) (child.Result, []string) {
	t.Helper()
	out := &output{first: make(chan struct{})}
	r := child.Run(t.Context(), spec(out, timeout, text, args...))
	noChildren(t)
	return r, out.lines
}

func spec(out *output, timeout time.Duration, text string, args ...string) child.Spec {
	return child.Spec{
		Path: "/bin/sh", Args: append([]string{"-c", text, "sh"}, args...),
		Timeout: timeout, MaxLine: 1000, Line: out.add,
	}
}

// noChildren checks that every ended child was reaped.
func noChildren(t *testing.T) {
	t.Helper()
	var info unix.Siginfo
	err := unix.Waitid(unix.P_ALL, 0, &info, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil)
	if !errors.Is(err, unix.ECHILD) {
		t.Errorf("a child is left: %v", err)
	}
}

func TestEnds(t *testing.T) {
	for name, tt := range map[string]struct {
		script string
		want   child.Result
		lines  []string
	}{
		"well":     {"echo one; echo; echo two; printf three", child.Result{Status: "exit status 0"}, []string{"one", "", "two"}},
		"badly":    {"echo one; echo why >&2; exit 3", child.Result{Status: "exit status 3", Stderr: "why\n"}, []string{"one"}},
		"killed":   {"kill -KILL $$", child.Result{Status: "signal: killed", Signal: syscall.SIGKILL}, nil},
		"crashed":  {"echo now >&2; kill -SEGV $$", child.Result{Status: "signal: segmentation fault", Signal: syscall.SIGSEGV, Stderr: "now\n"}, nil},
		"too long": {"printf %01001d 0; echo; printf %01000d 0 | tr 0 x; echo; echo end", child.Result{Status: "exit status 0"}, []string{strings.Repeat("x", 1000), "end"}},
	} {
		t.Run(name, func(t *testing.T) {
			got, lines := script(t, patience, tt.script)
			if failed := tt.want.Status != "exit status 0"; (got.Err != nil) != failed {
				t.Errorf("ended with %v", got.Err)
			}
			got.Err, got.Status = nil, strings.TrimSuffix(got.Status, " (core dumped)")
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff(tt.lines, lines); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestNoSuchProgram(t *testing.T) {
	r := child.Run(t.Context(), child.Spec{Path: "/nowhere/program", Timeout: patience})
	if !errors.Is(r.Err, fs.ErrNotExist) || r.Status != "" || r.GivenUp != nil {
		t.Errorf("%+v", r)
	}
}

// TestStderrKeepsItsEnds: a panic's first words and a log's last.
func TestStderrKeepsItsEnds(t *testing.T) {
	r, _ := script(t, patience, `echo first >&2; i=0; while [ $i -lt 3000 ]; do echo 0123456789 >&2; i=$((i+1)); done; echo last >&2`)
	if !strings.HasPrefix(r.Stderr, "first\n") || !strings.HasSuffix(r.Stderr, "\nlast\n") || !strings.Contains(r.Stderr, "[…]") ||
		len(r.Stderr) > 7<<10 {
		t.Errorf("%d bytes: %s", len(r.Stderr), r.Stderr)
	}
}

func TestTimeLimit(t *testing.T) {
	for name, tt := range map[string]struct {
		script string
		signal syscall.Signal
		least  time.Duration
	}{
		"heeds":   {"trap 'echo so far; exit 1' TERM; echo begun; while :; do sleep 0.01; done", 0, 0},
		"ignores": {"trap '' TERM; echo so far; while :; do sleep 0.01; done", syscall.SIGKILL, 2 * time.Second},
		"stopped": {"echo so far; kill -STOP $$", syscall.SIGKILL, 2 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			out := &output{first: make(chan struct{})}
			limit := testenv.Slack(t, time.Second) // the script begins within that
			began := time.Now()
			r := child.Run(t.Context(), spec(out, limit, tt.script))
			took := time.Since(began)
			if !r.TimedOut || r.Err == nil || r.Signal != tt.signal || r.GivenUp != nil {
				t.Errorf("%+v", r)
			}
			if least := limit + tt.least; took < least {
				t.Errorf("took %s, want %s at least", took, least)
			}
			if n := len(out.lines); n == 0 || out.lines[n-1] != "so far" {
				t.Errorf("lines: %q", out.lines)
			}
		})
	}
}

func TestContextEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	out := &output{first: make(chan struct{})}
	go func() {
		<-out.first
		cancel()
	}()
	r := child.Run(ctx, spec(out, patience, "echo begun; exec sleep 60"))
	if r.TimedOut || r.Signal != syscall.SIGTERM {
		t.Errorf("%+v", r)
	}
	noChildren(t)
}

// TestNothingIsInherited: no descriptor, though one without close-on-exec is open, and no variable.
func TestNothingIsInherited(t *testing.T) {
	t.Setenv("TECKEN_SECRET", "hunter2")
	file, err := os.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if err := unix.Flock(int(file.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	// sh and ls open descriptors of their own, ls one to read the directory.
	_, lines := script(t, patience, "ls -l /proc/self/fd; /usr/bin/env")
	for _, line := range lines {
		if strings.Contains(line, file.Name()) || strings.Contains(line, "hunter2") {
			t.Errorf("inherited: %s", line)
		}
	}
	if len(lines) < 4 {
		t.Errorf("lines: %q", lines)
	}
}

// TestDiesWithItsParent kills a parent, and finds its child gone.
func TestDiesWithItsParent(t *testing.T) {
	if *parent {
		out := &output{first: make(chan struct{})}
		go func() {
			<-out.first
			os.Stdout.WriteString(out.lines[0] + "\n")
		}()
		child.Run(t.Context(), spec(out, patience, "echo $$; exec sleep 60"))
		return
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var pid string
	r := child.Run(ctx, child.Spec{
		Path: "/proc/self/exe", Args: []string{"-test.run=^TestDiesWithItsParent$", "-child.parent"},
		Timeout: patience, MaxLine: 1000,
		Line: func(line []byte) {
			if pid == "" {
				pid = string(line)
				cancel() // the parent gets SIGTERM and dies of it
			}
		},
	})
	if r.Signal != syscall.SIGTERM {
		t.Fatalf("%+v", r)
	}
	eventually(t, "the grandchild is gone", func() bool {
		status, err := os.ReadFile(filepath.Join("/proc", pid, "stat"))
		return err != nil || strings.Contains(string(status), ") Z ")
	})
}

// TestGivenUp: a child that a frozen disk holds in the kernel can't be killed. It is reaped when the disk is back.
func TestGivenUp(t *testing.T) {
	dir := spooltest.Image(t, 16<<20, "mkfs.ext4", "-q")
	thaw := spooltest.Freeze(t, dir)
	began := time.Now()
	out := &output{first: make(chan struct{})}
	r := child.Run(t.Context(), spec(out, testenv.Slack(t, 500*time.Millisecond), `echo begun; : >"$1"`, filepath.Join(dir, "file")))
	if took := time.Since(began); took < 7*time.Second {
		t.Errorf("took %s", took)
	}
	if r.GivenUp == nil || !r.TimedOut || r.Err == nil || r.Status != "" {
		t.Fatalf("%+v", r)
	}
	select {
	case <-r.GivenUp:
		t.Error("it has ended")
	default:
	}
	thaw()
	select {
	case <-r.GivenUp:
	case <-time.After(patience):
		t.Error("it does not end")
	}
	noChildren(t)
}

// TestLeavesNothing: neither goroutines nor descriptors.
func TestLeavesNothing(t *testing.T) {
	count := func() int {
		entries, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(entries) + runtime.NumGoroutine()
	}
	script(t, patience, "echo x")
	before := count()
	for range 20 {
		script(t, patience, "echo x; echo y >&2; exit 1")
	}
	eventually(t, "goroutines and descriptors are back", func() bool { return count() <= before })
}

func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(patience); time.Now().Before(end); <-tick.C {
		if holds() {
			return
		}
	}
	t.Fatalf("waited in vain until %s", what)
}
