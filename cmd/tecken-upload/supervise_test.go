package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"tecken-upload/internal/testarchive"
	"tecken-upload/internal/testenv"
)

// supervised starts both programs as the image does, in a group of processes of their own.
func supervised(t *testing.T) *daemon {
	t.Helper()
	if _, err := exec.LookPath("s6-svscan"); err != nil {
		testenv.Missing(t, "s6", "Debian has it: apt-get install s6.")
	}
	d := &daemon{T: t, dir: t.TempDir(), exited: make(chan error, 1)}
	d.news = sync.NewCond(&d.mu)
	settings := map[string]string{
		"PATH": filepath.Dir(program(t, "tecken-upload")) + ":" + os.Getenv("PATH"), "TMPDIR": t.TempDir(),
		"TECKEN_SWEEP_INTERVAL": "100ms", "TECKEN_JANITOR_METRICS_LISTEN": "127.0.0.1:0",
	}
	d.token = d.makeToken(settings)
	d.cmd = exec.Command(filepath.Join(testenv.Root(t), "scripts", "supervise"))
	d.cmd.Dir, d.cmd.Env = d.dir, environ(settings)
	d.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	stderr, err := d.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	d.cmd.Stdout = d.cmd.Stderr
	if err := d.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	d.stderr = stderr
	go d.follow(stderr)
	t.Cleanup(func() {
		// SIGKILL would leave the programs behind.
		_ = d.cmd.Process.Signal(syscall.SIGTERM)
		d.exit()
		d.kill()
	})
	line := d.waitLog("serving")
	d.url, d.metrics = fmt.Sprintf("http://%s", line["address"]), fmt.Sprintf("http://%s/metrics", line["metrics"])
	d.waitDatabase()
	d.waitLog("disk manager started")
	return d
}

// logged counts the lines with that message.
func (d *daemon) logged(msg string) (n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, line := range d.log {
		if line["msg"] == msg {
			n++
		}
	}
	return n
}

// pids returns the processes that run a program with these arguments.
func pids(t *testing.T, args ...string) (found []int) {
	t.Helper()
	all, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		t.Fatal(err)
	}
	path := program(t, args[0])
	for _, dir := range all {
		exe, err := os.Readlink(filepath.Join(dir, "exe"))
		if err != nil || exe != path {
			continue
		}
		line, err := os.ReadFile(filepath.Join(dir, "cmdline"))
		if err != nil || string(line) != strings.Join(args, "\x00")+"\x00" {
			continue
		}
		var pid int
		if _, err := fmt.Sscan(filepath.Base(dir), &pid); err != nil {
			t.Fatal(err)
		}
		found = append(found, pid)
	}
	return found
}

// murder kills the one process that runs a program.
func (d *daemon) murder(args ...string) {
	d.Helper()
	found := pids(d.T, args...)
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
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	var n atomic.Int64
	errs := make([]error, 4)
	var wg sync.WaitGroup
	for i := range errs {
		wg.Go(func() {
			for ctx.Err() == nil && errs[i] == nil {
				errs[i] = ask(client, d.url+"/__lbheartbeat__")
				n.Add(1)
			}
		})
	}
	wg.Wait()
	return n.Load(), errors.Join(errs...)
}

func ask(client *http.Client, url string) error {
	resp, err := client.Get(url)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("status %d", resp.StatusCode)
	}
	return nil
}

// Incident A3: the janitor dies, again and again. The web process does not notice: it drops no request, an upload in
// flight ends well, and the janitor comes back.
func TestA3TheJanitorDiesAlone(t *testing.T) {
	d := supervised(t)
	content, _ := makeArchive(t, testarchive.Spec{Seed: 1})
	g := newGated(content)
	upload := d.posting(g.write)
	<-g.half
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
	close(g.rest)
	if r := <-upload; r.status != http.StatusCreated {
		t.Errorf("the upload in flight: status %d, %s", r.status, r.err)
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
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		t.Run(sig.String(), func(t *testing.T) {
			d := supervised(t)
			content, _ := makeArchive(t, testarchive.Spec{Seed: 1})
			g := newGated(content)
			upload := d.posting(g.write)
			d.waitReceiving(g)
			d.signal(sig)
			d.waitLog("draining")
			close(g.rest)
			if r := <-upload; r.status != http.StatusCreated {
				t.Errorf("the upload in flight: status %d, %s", r.status, r.err)
			}
			if code := d.exit(); code != 0 {
				t.Errorf("exit status %d", code)
			}
			for _, msg := range []string{"drained", "disk manager stopped"} {
				if d.logged(msg) != 1 {
					t.Errorf("no %q", msg)
				}
			}
			if left := append(pids(t, "tecken-upload", "serve"), pids(t, "disk-manager", "run")...); len(left) > 0 {
				t.Errorf("processes are left: %v", left)
			}
			left, err := filepath.Glob(filepath.Join(d.tmp(), "tecken-supervise.*"))
			if err != nil || len(left) > 0 {
				t.Errorf("directories are left: %q, %v", left, err)
			}
		})
	}
}

// tmp is the directory for temporary files that the process was given.
func (d *daemon) tmp() string {
	for _, pair := range d.cmd.Env {
		if dir, ok := strings.CutPrefix(pair, "TMPDIR="); ok {
			return dir
		}
	}
	d.Fatal("no TMPDIR")
	return ""
}
