// Package child runs a program that may fail in any way, and outlives it.
//
// At the end of its time a child gets SIGTERM, then SIGKILL. A child that survives SIGKILL, held in the kernel by a disk that does not
// answer, is given up: [Run] returns, and only a goroutine waits to reap it. A start that hangs in the same way is given up too.
//
// A child inherits nothing: only its standard descriptors and the given environment. It is killed when the thread that started it ends, so
// it does not outlive its parent. Its output is passed on line by line as it comes; of its standard error the beginning and the end are
// kept.
//
// Not promised: children of the child are left alone.
package child

import (
	"context"
	"fmt"
	"os/exec"
	"sync"
	"syscall"
	"time"

	"tecken-upload/internal/background"
)

// What we would rather lose.
const (
	// termGrace is the time of a child to report its progress after SIGTERM.
	termGrace = 2 * time.Second
	// killGrace is the time of the kernel to end a child: more than a busy disk takes for one call.
	killGrace = 5 * time.Second
	// pipeGrace is how long the output of a dead child is read, if a child of its own holds the pipe.
	pipeGrace = time.Second
)

// A Spec is the program to run, and how.
type Spec struct {
	Path    string // an absolute path
	Args    []string
	Env     []string      // the whole environment
	Timeout time.Duration // longest run
	MaxLine int           // longer lines are dropped
	// Line is called with each line of standard output, without its end, in one goroutine. It must not keep the slice. If the child is
	// given up it may be called after Run has returned.
	Line func([]byte)
}

// A Result is how a child ended.
type Result struct {
	Err      error          // nil: exit status 0
	Signal   syscall.Signal // the signal that killed it, or 0
	Status   string         // "exit status 2", "signal: killed"; "" if not started or not ended
	Stderr   string         // long output without its middle
	TimedOut bool           // ended because its time was over
	// GivenUp is not nil for a child that can't be killed or even started. It is closed once the child has ended after all.
	GivenUp <-chan struct{}
}

// A process is a child and its state.
type process struct {
	cmd   *exec.Cmd
	said  ends
	ended chan struct{} // closed once it was reaped, or could not be started

	mu      sync.Mutex // guards the fields below
	started bool
	// condemned means: kill it as soon as it has started.
	condemned bool
	err       error // valid once ended is closed
}

// Run runs a program until it ends, its time is over or ctx ends.
func Run(ctx context.Context, s Spec) Result {
	p := start(s)
	limit := time.NewTimer(s.Timeout)
	defer limit.Stop()
	timedOut := false
	select {
	case <-p.ended:
		return p.result(false)
	case <-limit.C:
		timedOut = true
	case <-ctx.Done():
	}
	for _, step := range []struct {
		signal syscall.Signal
		grace  time.Duration
	}{{syscall.SIGTERM, termGrace}, {syscall.SIGKILL, killGrace}} {
		p.signal(step.signal)
		select {
		case <-p.ended:
			return p.result(timedOut)
		case <-time.After(step.grace):
		}
	}
	return Result{
		Err:      fmt.Errorf("it can't be ended, not even by SIGKILL, %s later", termGrace+killGrace),
		Stderr:   p.said.String(),
		TimedOut: timedOut,
		GivenUp:  p.ended,
	}
}

func start(s Spec) *process {
	p := &process{cmd: exec.Command(s.Path, s.Args...), ended: make(chan struct{})}
	p.cmd.Env = s.Env
	if p.cmd.Env == nil {
		p.cmd.Env = []string{} // nil would mean all of ours
	}
	p.cmd.Stdout = &lines{each: s.Line, most: s.MaxLine}
	p.cmd.Stderr = &p.said
	p.cmd.WaitDelay = pipeGrace
	// A group of its own: Ctrl-C at a terminal reaches the parent alone, which signals the child itself.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	background.Go("sweep", p.run)
	return p
}

// run starts the child and waits for its end. Both may take for ever.
func (p *process) run() {
	defer close(p.ended)
	err := p.cmd.Start()
	p.mu.Lock()
	p.started = err == nil
	p.err = err
	if p.started && p.condemned {
		_ = p.cmd.Process.Kill() // it was given up while starting
	}
	p.mu.Unlock()
	if err != nil {
		return
	}
	err = p.cmd.Wait()
	p.mu.Lock()
	p.err = err
	p.mu.Unlock()
}

// signal sends the child a signal, if it runs.
func (p *process) signal(s syscall.Signal) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.condemned = p.condemned || s == syscall.SIGKILL
	if p.started {
		_ = p.cmd.Process.Signal(s)
	}
}

// result returns the result of an ended child.
func (p *process) result(timedOut bool) Result {
	p.mu.Lock()
	defer p.mu.Unlock()
	r := Result{Err: p.err, Stderr: p.said.String(), TimedOut: timedOut}
	if state := p.cmd.ProcessState; state != nil {
		r.Status = state.String()
		if w, ok := state.Sys().(syscall.WaitStatus); ok && w.Signaled() {
			r.Signal = w.Signal()
		}
	}
	return r
}
