// Package probe asks services that may never answer: a disk that hangs, a server that is away.
//
// One call runs at a time, and simultaneous callers share its answer. A caller waits at most for the call's time, counted from the call's
// start; after that, callers get an error at once. So a call that never returns costs one goroutine, and perhaps a thread, however often it
// is asked for.
//
// Not promised: that a call ends in time. Its context does.
package probe

import (
	"context"
	"errors"
	"sync"
	"time"

	"tecken-upload/internal/background"
)

// ErrNoAnswer is returned if a call takes longer than its time, or an earlier one has not returned.
var ErrNoAnswer = errors.New("no answer in time")

// Options adjust a Probe.
type Options struct {
	Timeout time.Duration    // of a call
	Fresh   time.Duration    // how long an answer, or an error, is reused; 0: only by callers that waited for it
	Now     func() time.Time // the clock for Fresh; nil: time.Now
}

// A Probe asks one question. It is safe for concurrent use.
type Probe[T any] struct {
	ask func(ctx context.Context) (T, error)
	Options

	mu   sync.Mutex // guards last
	last *call[T]   // the latest, perhaps running; nil before the first
}

// A call is one call. The fields after done are written before it is closed, and read afterwards.
type call[T any] struct {
	over <-chan struct{} // closed when its time is over, or after done
	done chan struct{}   // closed when it has returned

	answer T
	err    error
	at     time.Time // when it returned
}

// New makes a Probe. A panic of ask becomes an error.
func New[T any](ask func(ctx context.Context) (T, error), o Options) *Probe[T] {
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Probe[T]{ask: ask, Options: o}
}

// Ask returns the answer of the running call, a fresh answer, or that of a new call, within Options.Timeout. Else it returns ErrNoAnswer,
// or the cause of ctx if that ends first. All callers share a call: it does not end with ctx.
func (p *Probe[T]) Ask(ctx context.Context) (answer T, err error) {
	c := p.join(ctx)
	select {
	case <-c.over:
	case <-ctx.Done():
		return answer, context.Cause(ctx)
	}
	select {
	case <-c.done:
		return c.answer, c.err
	default:
		return answer, ErrNoAnswer
	}
}

// join returns the call to wait for, after starting one if needed.
func (p *Probe[T]) join(ctx context.Context) *call[T] {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.last == nil || p.stale(p.last) {
		p.last = p.begin(ctx)
	}
	return p.last
}

// stale reports whether c has returned too long ago.
func (p *Probe[T]) stale(c *call[T]) bool {
	select {
	case <-c.done:
		return p.Now().Sub(c.at) >= p.Fresh
	default:
		return false
	}
}

func (p *Probe[T]) begin(ctx context.Context) *call[T] {
	ctx, cancel := context.WithTimeoutCause(context.WithoutCancel(ctx), p.Timeout, ErrNoAnswer)
	c := &call[T]{over: ctx.Done(), done: make(chan struct{})}
	background.Go("probe", func() {
		defer cancel()
		defer close(c.done)
		c.err = background.Try(func() (err error) {
			c.answer, err = p.ask(ctx)
			return err
		})
		c.at = p.Now()
	})
	return c
}
