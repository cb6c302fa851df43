// Package probe asks what may never answer: a disk that hangs, a service that is away.
//
// One call is under way at a time, and who asks meanwhile shares its answer. Nobody waits for a call beyond its time, which is counted from its
// beginning: once it is over, who asks is told so at once. So a call that never returns costs one goroutine, and perhaps a thread, however often it is asked for.
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

// ErrNoAnswer is returned where a call takes longer than its time, or one from before has not returned.
var ErrNoAnswer = errors.New("no answer in time")

// Options are how a Probe asks.
type Options struct {
	Timeout time.Duration    // of a call
	Fresh   time.Duration    // for how long an answer, or an error, serves further ones; 0: only those who were waiting for it
	Now     func() time.Time // the clock that Fresh goes by; nil: time.Now
}

// Probe asks one question. It is safe for concurrent use.
type Probe[T any] struct {
	ask func(ctx context.Context) (T, error)
	Options

	mu   sync.Mutex // guards last
	last *call[T]   // the latest, perhaps under way; nil before the first
}

// call is one call. What is behind done is written before that is closed, and read afterwards.
type call[T any] struct {
	over <-chan struct{} // closed when its time is over, or after done
	done chan struct{}   // closed when it has returned

	answer T
	err    error
	at     time.Time // when it returned
}

// New makes a Probe. A panic of ask is an error.
func New[T any](ask func(ctx context.Context) (T, error), o Options) *Probe[T] {
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Probe[T]{ask: ask, Options: o}
}

// Ask returns what the call under way answers, or a fresh answer, or that of a new call: within Options.Timeout, or else ErrNoAnswer,
// or the cause of ctx where that ends first. A call belongs to all who wait for it: it does not end with ctx.
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

// join returns the call whose answer is to be had, which is begun if need be.
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
