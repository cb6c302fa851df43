package main

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
	"sync"
	"syscall"
	"time"
)

const (
	// stopTimeout is how long a program may take to end after SIGTERM before it is killed.
	stopTimeout = 30 * time.Second
	// tick is the unit of the times in /proc/PID/stat: USER_HZ, the same on every Linux.
	tick = 10 * time.Millisecond
	// keptOutput is how much of a program's output is kept, to explain what went wrong.
	keptOutput = 1 << 20
)

// A process is a running program. The kernel kills it when this program ends without stopping it.
type process struct {
	cmd    *exec.Cmd
	output output
	exited chan struct{}
	err    error // how it ended, once exited
}

// start runs a program with an environment of its own.
func start(env []string, program string, args ...string) (*process, error) {
	p := &process{cmd: exec.Command(program, args...), exited: make(chan struct{})}
	p.cmd.Env = append(env, "PATH="+os.Getenv("PATH")) //nolint:forbidigo // this is a program's start
	p.cmd.Stdout, p.cmd.Stderr = &p.output, &p.output
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
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
		return nil, fmt.Errorf("start %s: %w", filepath.Base(program), err)
	}
	return p, nil
}

// stop ends the process, and returns all the CPU time it has used.
func (p *process) stop() (time.Duration, error) {
	name := filepath.Base(p.cmd.Path)
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return 0, fmt.Errorf("stop %s: %w", name, err)
	}
	select {
	case <-p.exited:
	case <-time.After(stopTimeout):
		return 0, errors.Join(fmt.Errorf("%s did not stop within %v", name, stopTimeout), p.kill())
	}
	if p.err != nil {
		return 0, fmt.Errorf("%s ended badly: %w\n%s", name, p.err, p.output.tail())
	}
	state := p.cmd.ProcessState
	return state.UserTime() + state.SystemTime(), nil
}

func (p *process) kill() error {
	err := p.cmd.Process.Kill()
	<-p.exited
	if errors.Is(err, os.ErrProcessDone) {
		return nil
	}
	return err
}

// cpu returns the CPU time used so far, to 20 ms.
func (p *process) cpu() (time.Duration, error) {
	stat, err := os.ReadFile(p.proc("stat"))
	if err != nil {
		return 0, err
	}
	// The second field is the program's name, in parentheses, and may hold anything.
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	const utime, stime = 14 - 3, 15 - 3
	if len(fields) <= stime {
		return 0, fmt.Errorf("%s has too few fields", p.proc("stat"))
	}
	user, err1 := strconv.ParseInt(fields[utime], 10, 64)
	system, err2 := strconv.ParseInt(fields[stime], 10, 64)
	return time.Duration(user+system) * tick, errors.Join(err1, err2)
}

// status returns a line of /proc/PID/status that counts kB, in bytes.
func (p *process) status(name string) (int64, error) {
	text, err := os.ReadFile(p.proc("status"))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		key, value, _ := strings.Cut(line, ":")
		if key == name {
			kb, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
			return kb << 10, err
		}
	}
	return 0, fmt.Errorf("%s has no %s", p.proc("status"), name)
}

func (p *process) proc(name string) string {
	return filepath.Join("/proc", strconv.Itoa(p.cmd.Process.Pid), name)
}

// until polls for a condition. It fails when the process ends, when ctx does, and after a time.
func (p *process) until(ctx context.Context, limit time.Duration, what string, condition func(context.Context) bool) error {
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("%s: not within %v", what, limit))
	defer cancel()
	poll := time.NewTicker(10 * time.Millisecond)
	defer poll.Stop()
	for !condition(ctx) {
		select {
		case <-poll.C:
		case <-p.exited:
			return fmt.Errorf("%s: %s has ended\n%s", what, filepath.Base(p.cmd.Path), p.output.tail())
		case <-ctx.Done():
			return fmt.Errorf("%w\n%s", context.Cause(ctx), p.output.tail())
		}
	}
	return nil
}

// output is what a program printed, its beginning if that is much.
type output struct {
	mu   sync.Mutex
	text []byte
}

// Write implements io.Writer.
func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.text) < keptOutput {
		o.text = append(o.text, p...)
	}
	return len(p), nil
}

// lines returns the whole lines there are.
func (o *output) lines() [][]byte {
	o.mu.Lock()
	defer o.mu.Unlock()
	lines := bytes.Split(bytes.Clone(o.text), []byte{'\n'})
	return lines[:len(lines)-1]
}

// tail returns the last lines.
func (o *output) tail() string {
	lines := o.lines()
	return string(bytes.Join(lines[max(0, len(lines)-10):], []byte{'\n'}))
}
