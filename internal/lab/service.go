package lab

import (
	"context"
	"fmt"
	"io"
	"os/exec"
	"sync"
	"syscall"
	"time"

	"tecken-upload/internal/lab/process"
)

// respawnPause is the time between an unexpected end of a program and its next start, as of a supervisor that does not spin.
const respawnPause = 100 * time.Millisecond

// A Service is a program that is restarted whenever it ends, as by a supervisor.
type Service struct {
	command func() *exec.Cmd
	ready   string    // its log message once it serves
	log     io.Writer // receives its output too
	stop    func()
	stopped context.Context
	over    chan struct{} // closed once it runs no more
	last    error         // how its last life ended; valid once over is closed

	mu     sync.Mutex // guards the fields below
	life   *life
	lives  int
	served process.Entry // its log entry when it last began to serve
	ends   []error       // unexpected ends
	traces []string
}

// A life is one run of a service's program.
type life struct {
	*process.Process
	serving chan struct{} // closed once it serves
	next    chan struct{} // closed once there is another life
	asked   bool          // its end was requested; guarded by the service's mu
}

// StartService starts a program, and keeps it running until Stop, or until ctx ends. It logs the message ready once it serves. Its output
// is written to log, too.
func StartService(ctx context.Context, command func() *exec.Cmd, ready string, log io.Writer) (*Service, error) {
	s := &Service{command: command, ready: ready, log: log, over: make(chan struct{})}
	s.stopped, s.stop = context.WithCancel(ctx)
	if err := s.begin(); err != nil {
		return nil, err
	}
	go s.run()
	return s, nil
}

func (s *Service) begin() error {
	p, err := process.Start(s.command(), s.log)
	if err != nil {
		return err
	}
	l := &life{Process: p, serving: make(chan struct{}), next: make(chan struct{})}
	go s.awaitReady(l)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.life != nil {
		close(s.life.next)
	}
	s.life = l
	s.lives++
	return nil
}

// awaitReady waits until a life serves, or ends.
func (s *Service) awaitReady(l *life) {
	entry, err := l.Logged(s.stopped, s.ready)
	if err != nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.served = entry
	close(l.serving)
}

// run starts the program again and again, and ends it at the end.
func (s *Service) run() {
	defer close(s.over)
	for {
		l := s.current()
		select {
		case <-l.Exited():
		case <-s.stopped.Done():
			s.last = s.ask().Stop()
			s.bury(l)
			return
		}
		for unasked := s.bury(l); unasked || s.begin() != nil; unasked = false {
			select {
			case <-s.stopped.Done():
				return
			case <-time.After(respawnPause):
			}
		}
	}
}

// bury records how a life ended.
func (s *Service) bury(l *life) (unasked bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, lines := 0, l.Lines(); i < len(lines); i++ {
		if _, ok := process.ParseEntry(lines[i]); !ok {
			s.traces = append(s.traces, l.Tail())
			break
		}
	}
	if !l.asked {
		s.ends = append(s.ends, fmt.Errorf("it ended by itself: %w", l.Err()))
	}
	return !l.asked
}

func (s *Service) current() *life {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.life
}

// ask returns the current life, and marks its end as requested.
func (s *Service) ask() *life {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.life.asked = true
	return s.life
}

// Process returns the program's current or last process.
func (s *Service) Process() *process.Process { return s.current().Process }

// Life numbers the runs of the program, from 1.
func (s *Service) Life() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lives
}

// Kill is kill -9. The program is restarted at once. The error is ErrMissed if it has ended already.
func (s *Service) Kill() error {
	if s.current().Ended() {
		return ErrMissed
	}
	return s.ask().Kill()
}

// Terminate ends the program with SIGTERM, after which it is restarted. It fails if the program does not end well. The error is ErrMissed
// if it does not serve: it may not handle signals yet.
func (s *Service) Terminate() error {
	l := s.current()
	select {
	case <-l.serving:
	default:
		return ErrMissed
	}
	if l.Ended() {
		return ErrMissed
	}
	return s.ask().Stop()
}

// Pause stops the process, until resume is called. The error is ErrMissed if it has ended.
func (s *Service) Pause() (resume func() error, err error) {
	l := s.current()
	if l.Ended() {
		return nil, ErrMissed
	}
	return func() error { return l.Signal(syscall.SIGCONT) }, l.Signal(syscall.SIGSTOP)
}

// Serving waits until the program serves: in its current life, or in the next after one that has ended.
func (s *Service) Serving(ctx context.Context) error {
	for {
		l := s.current()
		select {
		case <-l.serving:
			if !l.Ended() {
				return nil
			}
		case <-l.Exited():
		case <-ctx.Done():
			return fmt.Errorf("%s does not serve: %w\n%s", l.Name(), context.Cause(ctx), l.Tail())
		}
		select {
		case <-l.next:
		case <-ctx.Done():
			return fmt.Errorf("%s is not started again: %w\n%s", l.Name(), context.Cause(ctx), l.Tail())
		}
	}
}

// Served returns the program's log entry when it last began to serve.
func (s *Service) Served() process.Entry {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.served
}

// Stop ends the program for good, with SIGTERM. It fails if the program does not end well. It may be called again.
func (s *Service) Stop() error {
	s.stop()
	<-s.over
	return s.last
}

// Ends returns the program's unexpected ends.
func (s *Service) Ends() []error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ends
}

// Traces returns the last lines of each life that printed anything but log entries: a panic, or the Go runtime's last words.
func (s *Service) Traces() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.traces
}
