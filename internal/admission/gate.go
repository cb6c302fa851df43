// Package admission decides, before a byte of a body is read, whether this instance takes an upload now.
//
// A [Gate] bounds the uploads that are being received; those that have arrived are bounded by the disk. Field clients do not honour Retry-After and give up early, so
// a caller is rather kept waiting for a while than refused. Waiters are served in order.
package admission

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"

	"tecken-upload/internal/spool"
	"tecken-upload/internal/upload"
)

// retryAfter is what a refused client is told to wait: about as long as a median upload holds its place.
const retryAfter = 15 * time.Second

// errWaited ends a wait for a place.
var errWaited = errors.New("waited long enough for a receiving place")

// Config is what a Gate works with and within.
type Config struct {
	Spool  *spool.Spool
	Places int           // bodies received at once; at least 1
	Wait   time.Duration // how long a caller is kept waiting
}

// Gate bounds the uploads that are received at once. It is safe for concurrent use.
type Gate struct {
	Config
	places *semaphore.Weighted
}

// NewGate makes a gate.
func NewGate(c Config) *Gate {
	return &Gate{Config: c, places: semaphore.NewWeighted(int64(c.Places))}
}

// Contended reports whether uploads wait, or were refused a moment ago, for room that others hold.
func (g *Gate) Contended() bool { return g.Spool.Contended() }

// Enter admits an upload, or returns an error wrapping an *upload.BusyError, spool.ErrFull or upload.ErrUnavailable, or the
// cause of ctx.
func (g *Gate) Enter(ctx context.Context, _ upload.Token, size int64) (upload.Place, error) {
	if err := g.receive(ctx); err != nil {
		return upload.Place{}, err
	}
	leave := sync.OnceFunc(func() { g.places.Release(1) })
	workspace, err := g.Spool.Create(ctx, size)
	if err != nil {
		leave()
		return upload.Place{}, ofSpool(err)
	}
	return upload.Place{Workspace: workspace, Arrived: func(int64) { leave() }, Leave: leave}, nil
}

// receive waits for a receiving place.
func (g *Gate) receive(ctx context.Context) error {
	if g.places.TryAcquire(1) {
		return nil
	}
	waiting, cancel := context.WithTimeoutCause(ctx, g.Wait, errWaited)
	defer cancel()
	if g.places.Acquire(waiting, 1) == nil {
		return nil
	}
	if cause := context.Cause(waiting); !errors.Is(cause, errWaited) {
		return cause
	}
	return &upload.BusyError{
		Reason:     "This server is receiving as many uploads as it can. Try again later.",
		RetryAfter: retryAfter,
	}
}

// ofSpool gives an error of the spool its kind: one that is full of live uploads is one more way of being
// busy, and one that can't be used at all is as good as a service that is down.
func ofSpool(err error) error {
	full := (*spool.FullError)(nil)
	switch {
	case errors.As(err, &full) && full.Busy:
		return fmt.Errorf("%w: %w", &upload.BusyError{
			Reason:     "This server's disk is taken up by other uploads. Try again later.",
			RetryAfter: retryAfter,
		}, err)
	case full == nil && upload.OutcomeOf(err) == upload.Failed:
		return fmt.Errorf("%w: %w", upload.ErrUnavailable, err)
	}
	return err
}
