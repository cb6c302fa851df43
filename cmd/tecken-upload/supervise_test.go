package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"tecken-upload/internal/lab"
	"tecken-upload/internal/testarchive"
	"tecken-upload/internal/testenv"
)

// supervised starts both programs as the image does, in a group of processes of their own. A cat reads what they log, and passes it on.
func supervised(t *testing.T) *daemon {
	t.Helper()
	if _, err := exec.LookPath("s6-svscan"); err != nil {
		testenv.Missing(t, "s6", "Debian has it: apt-get install s6.")
	}
	site := newSite(t, map[string]string{"TECKEN_SWEEP_INTERVAL": "100ms", "TMPDIR": t.TempDir()})
	site.Settings["PATH"] = site.Programs + ":" + os.Getenv("PATH")
	cmd := site.Command("")
	cmd.Path, cmd.Args = "/bin/bash", []string{"bash", "-c", `exec "$0" > >(exec cat) 2>&1`, filepath.Join(testenv.Root(t), "scripts", "supervise")}
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM} // SIGKILL would leave the programs behind
	p := site.StartCommand(cmd)
	t.Cleanup(func() { _ = p.Stop() }) // the test has asked how it ends, if it wants to know
	d := &daemon{Site: site, Instance: site.Serving(p)}
	d.waitDatabase()
	d.token = d.Token("ci@example.com")
	d.waitLog("disk manager started")
	return d
}

// logged counts the entries with that message.
func (d *daemon) logged(msg string) int { return len(d.Entries(msg)) }

// pids returns the processes on the daemon's site that run a program with these arguments.
func (d *daemon) pids(args ...string) (found []int) {
	d.Helper()
	all, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		d.Fatal(err)
	}
	for _, proc := range all {
		cwd, err := os.Readlink(filepath.Join(proc, "cwd"))
		if err != nil || cwd != d.Dir {
			continue
		}
		line, err := os.ReadFile(filepath.Join(proc, "cmdline"))
		if err != nil || string(line) != strings.Join(args, "\x00")+"\x00" {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(proc))
		if err != nil {
			d.Fatal(err)
		}
		found = append(found, pid)
	}
	// Until it has become another program a child is its parent, and has the same arguments.
	return slices.DeleteFunc(slices.Clone(found), func(pid int) bool { return slices.Contains(found, parent(pid)) })
}

// parent returns the parent of a process; 0 where it is gone.
func parent(pid int) (ppid int) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(stat), ") ") // behind its name: its state, and its parent
	if _, err := fmt.Sscanf(rest, "%s %d", new(string), &ppid); err != nil {
		return 0
	}
	return ppid
}

// murder kills the one process that runs a program.
func (d *daemon) murder(args ...string) {
	d.Helper()
	found := d.pids(args...)
	if len(found) != 1 {
		d.Fatalf("%q runs in the processes %v", args, found)
	}
	if err := syscall.Kill(found[0], syscall.SIGKILL); err != nil {
		d.Fatal(err)
	}
}

// hammer asks the server without pause until ctx ends, on new connections every time, and returns how often it answered
// and what went wrong.
func (d *daemon) hammer(ctx context.Context) (answered int64, err error) {
	var n atomic.Int64
	errs := make([]error, 4)
	var wg sync.WaitGroup
	for i := range errs {
		wg.Go(func() {
			for ctx.Err() == nil && errs[i] == nil {
				if status, _, err := lab.Get(d.Context(), d.URL("/__lbheartbeat__")); err != nil || status != http.StatusOK {
					errs[i] = fmt.Errorf("status %d, %w", status, err)
				}
				n.Add(1)
			}
		})
	}
	wg.Wait()
	return n.Load(), errors.Join(errs...)
}

// Incident A3: the janitor dies, again and again. The web process does not notice: it drops no request, an upload in
// flight ends well, and the janitor comes back.
func TestA3TheJanitorDiesAlone(t *testing.T) {
	t.Parallel()
	d := supervised(t)
	h := d.hold(makeArchive(t, testarchive.Spec{Seed: 1}))
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	type answers struct {
		n   int64
		err error
	}
	asked := make(chan answers, 1)
	go func() {
		n, err := d.hammer(ctx)
		asked <- answers{n, err}
	}()
	for i := range 3 {
		d.murder("disk-manager", "run")
		d.eventually("the janitor is back", func() bool { return d.logged("disk manager started") == i+2 })
		swept := d.logged("sweep")
		d.eventually("it sweeps", func() bool { return d.logged("sweep") > swept })
	}
	if r := h.finish(); r.Status != http.StatusCreated {
		t.Errorf("the upload in flight: status %d, %s", r.Status, r.Error)
	}
	stop()
	if a := <-asked; a.err != nil || a.n == 0 {
		t.Errorf("%d requests, %v", a.n, a.err)
	}
	if n := d.logged("serving"); n != 1 {
		t.Errorf("the web process was started %d times", n)
	}
	// And the other way round.
	d.murder("tecken-upload", "serve")
	d.eventually("the web process is back", func() bool { return d.logged("serving") == 2 })
	if n := d.logged("disk manager started"); n != 4 {
		t.Errorf("the janitor was started %d times", n)
	}
}

// TestSupervisedStop: a signal ends both programs in their own time, and nothing is left.
func TestSupervisedStop(t *testing.T) {
	t.Parallel()
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		t.Run(sig.String(), func(t *testing.T) {
			d := supervised(t)
			h := d.hold(makeArchive(t, testarchive.Spec{Seed: 1}))
			d.waitReceiving(1)
			d.signal(sig)
			d.waitLog("draining")
			if r := h.finish(); r.Status != http.StatusCreated {
				t.Errorf("the upload in flight: status %d, %s", r.Status, r.Error)
			}
			d.expectExit(0)
			for _, msg := range []string{"drained", "disk manager stopped"} {
				if d.logged(msg) != 1 {
					t.Errorf("no %q", msg)
				}
			}
			if left := append(d.pids("tecken-upload", "serve"), d.pids("disk-manager", "run")...); len(left) > 0 {
				t.Errorf("processes are left: %v", left)
			}
			left, err := filepath.Glob(filepath.Join(d.Settings["TMPDIR"], "tecken-supervise.*"))
			if err != nil || len(left) > 0 {
				t.Errorf("directories are left: %q, %v", left, err)
			}
		})
	}
}
