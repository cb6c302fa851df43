// Package program runs the programs that a measurement is about: each logs to a file, and the kernel kills it
// when the measuring program ends without stopping it. It reads of /proc, so it is for Linux alone.
package program

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	// stopTimeout is how long a program may take to end after SIGTERM before it is killed.
	stopTimeout = 60 * time.Second
	// poll is how often a condition is looked at.
	poll = 20 * time.Millisecond
	// tailSize is how many bytes of a log explain a failure.
	tailSize = 4 << 10
)

// A Process is a running program.
type Process struct {
	cmd    *exec.Cmd
	log    string
	exited chan struct{}
	err    error // how it ended, once exited
}

// Start runs a program with the environment env alone. What it prints goes to the file log, which is made.
func Start(env []string, log, path string, args ...string) (_ *Process, err error) {
	p := &Process{cmd: exec.Command(path, args...), log: log, exited: make(chan struct{})}
	f, err := os.Create(log)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	p.cmd.Env, p.cmd.Stdout, p.cmd.Stderr = env, f, f
	// A group of its own: the Ctrl-C that ends the measurement does not reach it.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	started := make(chan error, 1)
	go func() {
		defer close(p.exited)
		// The signal comes when the thread ends that started the program.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := p.cmd.Start()
		started <- err
		if err == nil {
			p.err = p.cmd.Wait()
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", p.name(), err)
	}
	return p, nil
}

func (p *Process) name() string { return filepath.Base(p.cmd.Path) }

// Stop ends the process with SIGTERM, and fails where it does not end well in time; it has ended in any case.
func (p *Process) Stop() error {
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("stop %s: %w", p.name(), err)
	}
	select {
	case <-p.exited:
	case <-time.After(stopTimeout):
		_ = p.cmd.Process.Kill() // it may just have ended
		<-p.exited
		return fmt.Errorf("%s did not stop within %v", p.name(), stopTimeout)
	}
	if p.err != nil {
		return fmt.Errorf("%s ended badly: %w\n%s", p.name(), p.err, p.tail())
	}
	return nil
}

// Until polls for a condition. It fails when the process ends, when ctx does, and after limit.
func (p *Process) Until(ctx context.Context, limit time.Duration, what string, condition func(context.Context) bool) error {
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("%s: not within %v", what, limit))
	defer cancel()
	ticks := time.NewTicker(poll)
	defer ticks.Stop()
	for !condition(ctx) {
		select {
		case <-ticks.C:
		case <-p.exited:
			return fmt.Errorf("%s: %s has ended\n%s", what, p.name(), p.tail())
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

// Status returns a line of /proc/PID/status that counts kB, in bytes: VmRSS, RssAnon.
func (p *Process) Status(name string) (int64, error) {
	text, err := os.ReadFile(p.proc("status"))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if key, value, _ := strings.Cut(line, ":"); key == name {
			kb, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
			return kb << 10, err
		}
	}
	return 0, fmt.Errorf("%s has no %s", p.proc("status"), name)
}

// Open counts the process's descriptors of files whose path begins with prefix.
func (p *Process) Open(prefix string) (n int, err error) {
	links, err := filepath.Glob(p.proc("fd/*"))
	if err != nil {
		return 0, err
	}
	for _, link := range links {
		// One that was closed in between is none.
		if target, err := os.Readlink(link); err == nil && strings.HasPrefix(target, prefix) {
			n++
		}
	}
	return n, nil
}

func (p *Process) proc(name string) string {
	return filepath.Join("/proc", strconv.Itoa(p.cmd.Process.Pid), name)
}

// Log returns what the process has printed so far, in whole lines.
func (p *Process) Log() ([][]byte, error) {
	text, err := os.ReadFile(p.log)
	if err != nil {
		return nil, err
	}
	lines := bytes.Split(text, []byte{'\n'})
	return lines[:len(lines)-1], nil
}

// tail returns the end of the log, or why there is none.
func (p *Process) tail() string {
	text, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	return string(text[max(0, len(text)-tailSize):])
}
