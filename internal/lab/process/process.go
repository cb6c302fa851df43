// Package process runs the programs that tests, drills and measurements are about.
//
// What a program prints is kept, line by line, and can be waited for. A program is in a process group of its own, so that a Ctrl-C
// at a terminal does not reach it, and the kernel kills it when the process that started it ends, however that ends.
//
// Nothing here needs package testing.
package process

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"time"
)

const (
	// poll is how often Until looks.
	poll = 10 * time.Millisecond
	// pipeGrace is for how long what a program printed is read after its end, where a child of its own holds the pipe.
	pipeGrace = 2 * time.Second
	// termGrace is how long a program may take to end after SIGTERM.
	termGrace = 60 * time.Second
	// tailLines is how many lines of output explain a failure.
	tailLines = 20
)

// A Process is a program that was started.
type Process struct {
	cmd    *exec.Cmd
	output output
	exited chan struct{}
	err    error // how it ended; valid once exited is closed
}

// Start starts cmd, and takes its output; copies get it as well.
func Start(cmd *exec.Cmd, copies ...io.Writer) (*Process, error) {
	p := &Process{cmd: cmd, exited: make(chan struct{})}
	p.output.news = make(chan struct{})
	w := io.MultiWriter(append(copies, &p.output)...)
	cmd.Stdout, cmd.Stderr, cmd.WaitDelay = w, w, pipeGrace
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Setpgid = true
	cmd.SysProcAttr.Pdeathsig = cmp.Or(cmd.SysProcAttr.Pdeathsig, syscall.SIGKILL)
	started := make(chan error, 1)
	go func() {
		defer close(p.exited)
		// The kernel kills the program when the thread ends that started it.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			p.err = cmd.Wait()
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", p.Name(), err)
	}
	return p, nil
}

// Name returns the name of the program.
func (p *Process) Name() string { return filepath.Base(p.cmd.Path) }

// PID returns the process id.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Exited returns a channel that is closed once the program has ended, and all it printed was read.
func (p *Process) Exited() <-chan struct{} { return p.exited }

// Ended reports whether the program has ended, and all it printed was read.
func (p *Process) Ended() bool {
	select {
	case <-p.exited:
		return true
	default:
		return false
	}
}

// Signal sends a signal. A program that has ended is left alone.
func (p *Process) Signal(s syscall.Signal) error {
	if err := p.cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("send %s %v: %w", p.Name(), s, err)
	}
	return nil
}

// Kill is kill -9. It returns once the program has ended.
func (p *Process) Kill() error {
	err := p.Signal(syscall.SIGKILL)
	if err == nil {
		<-p.exited
	}
	return err
}

// Stop ends the program with SIGTERM. It fails where the program does not end with status 0 in a minute; it has ended in any case.
func (p *Process) Stop() error {
	if err := p.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	select {
	case <-p.exited:
	case <-time.After(termGrace):
		return errors.Join(fmt.Errorf("%s did not end within %v of SIGTERM\n%s", p.Name(), termGrace, p.Tail()), p.Kill())
	}
	return p.Err()
}

// Err waits for the end of the program, and returns nil if its exit status was 0.
func (p *Process) Err() error {
	<-p.exited
	if p.err != nil {
		return fmt.Errorf("%s: %w\n%s", p.Name(), p.err, p.Tail())
	}
	return nil
}

// ExitCode waits for the end of the program, and returns its exit status; -1 where a signal has ended it.
func (p *Process) ExitCode(ctx context.Context) (int, error) {
	select {
	case <-p.exited:
		return p.cmd.ProcessState.ExitCode(), nil
	case <-ctx.Done():
		return -1, fmt.Errorf("%s does not end: %w\n%s", p.Name(), context.Cause(ctx), p.Tail())
	}
}

// Until looks for a condition again and again until it holds. It fails when the program or ctx ends before that.
func (p *Process) Until(ctx context.Context, what string, holds func(context.Context) bool) error {
	ticks := time.NewTicker(poll)
	defer ticks.Stop()
	for !holds(ctx) {
		select {
		case <-ticks.C:
		case <-p.exited:
			return fmt.Errorf("%s: %s has ended (%w)\n%s", what, p.Name(), p.err, p.Tail())
		case <-ctx.Done():
			return fmt.Errorf("%s: %w\n%s", what, context.Cause(ctx), p.Tail())
		}
	}
	return nil
}
