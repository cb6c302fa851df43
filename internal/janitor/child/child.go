// Package child runs a program that may fail in any way there is, and outlives it.
//
// A child has a time limit. At its end it gets SIGTERM, and what does not heed that SIGKILL. What does not die even of
// that, because a disk that does not answer keeps it in the kernel, is given up: [Run] returns, and nobody waits
// for it but a goroutine, which reaps it whenever it does end. Starting a program can hang in the same way, and is given
// up in the same way.
//
// A child inherits nothing: no descriptor but its standard ones, no environment but the one that is given to it. It is
// killed when the thread that started it ends, and so does not outlive its parent. What it
// writes is passed on line by line as it comes, and what it says on standard error is kept, its beginning and its end.
//
// Not promised: children of the child are not looked after.
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
	// termGrace is how long a child has, once it is told to end, to say how far it came.
	termGrace = 2 * time.Second
	// killGrace is how long the kernel has to end a child: more than a busy disk takes for one call.
	killGrace = 5 * time.Second
	// pipeGrace is for how long what a child wrote is read after its death, where a child of its own holds the pipe.
	pipeGrace = time.Second
)

// A Spec says what to run.
type Spec struct {
	Path    string // an absolute path
	Args    []string
	Env     []string      // all of its environment
	Timeout time.Duration // how long it may run
	MaxLine int           // longer lines are left out
	// Line is called with each line of standard output, without its end, in one goroutine; it may not keep the slice.
	// It may be called after Run has returned, where the child was given up.
	Line func([]byte)
}

// A Result says how a child ended.
type Result struct {
	Err      error          // nil: it ended with status 0
	Signal   syscall.Signal // that killed it; 0: none did
	Status   string         // "exit status 2", "signal: killed"; "" where it was not started or has not ended
	Stderr   string         // what it said, its middle left out where it said much
	TimedOut bool           // it was told to end because its time was over
	// GivenUp is not nil where the child can't be killed, or not even be started; it is closed once it has ended
	// after all.
	GivenUp <-chan struct{}
}

// A process is a child and what is known of it.
type process struct {
	cmd   *exec.Cmd
	said  ends
	ended chan struct{} // closed once it has ended and was reaped, or could not be started

	mu      sync.Mutex // guards what follows
	started bool
	// condemned: it was to be killed before it had started.
	condemned bool
	err       error // valid once ended is closed
}

// Run runs a program to its end, to the end of its time, or to that of ctx, and survives it.
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
		p.cmd.Env = []string{} // nil would be all of ours
	}
	p.cmd.Stdout = &lines{each: s.Line, most: s.MaxLine}
	p.cmd.Stderr = &p.said
	p.cmd.WaitDelay = pipeGrace
	// A group of its own: a Ctrl-C at a terminal is for the parent, which tells the child itself.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	background.Go("sweep", p.run)
	return p
}

// run starts the child and waits for its end, both of which may take for ever.
func (p *process) run() {
	defer close(p.ended)
	err := p.cmd.Start()
	p.mu.Lock()
	p.started = err == nil
	p.err = err
	if p.started && p.condemned {
		_ = p.cmd.Process.Kill() // it was given up while it was starting
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

// signal sends the child a signal, if there is one to send it to. One that has just ended needs none.
func (p *process) signal(s syscall.Signal) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.condemned = p.condemned || s == syscall.SIGKILL
	if p.started {
		_ = p.cmd.Process.Signal(s)
	}
}

// result describes a child that has ended.
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
