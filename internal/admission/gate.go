// Package admission decides, before a byte of a body is read, whether this instance takes an upload now.
//
// A [Gate] bounds the uploads that are being received; those that have arrived are bounded by the disk. Field clients do not honour Retry-After and give up early, so
// a caller is rather kept waiting for a while than refused. Waiters are served in order.
package admission

import (
	"context"
	"errors"
	"time"

	"golang.org/x/sync/semaphore"

	"tecken-upload/internal/upload"
)

// retryAfter is what a refused client is told to wait: about as long as a median upload holds its place.
const retryAfter = 15 * time.Second

// errWaited ends a wait for a place.
var errWaited = errors.New("waited long enough for a receiving place")

// Gate bounds the uploads that are received at once. It is safe for concurrent use.
type Gate struct {
	places *semaphore.Weighted
	wait   time.Duration
}

// NewGate makes a gate of the given number of places, at least 1, that keeps a caller waiting for at most wait.
func NewGate(places int, wait time.Duration) *Gate {
	return &Gate{places: semaphore.NewWeighted(int64(places)), wait: wait}
}

// Enter takes a place and returns a function that gives it back, to be called once. It returns an
// *upload.BusyError when none came free in time, or the cause of ctx.
func (g *Gate) Enter(ctx context.Context) (leave func(), err error) {
	if g.places.TryAcquire(1) {
		return g.leave, nil
	}
	waiting, cancel := context.WithTimeoutCause(ctx, g.wait, errWaited)
	defer cancel()
	if g.places.Acquire(waiting, 1) == nil {
		return g.leave, nil
	}
	if cause := context.Cause(waiting); !errors.Is(cause, errWaited) {
		return nil, cause
	}
	return nil, &upload.BusyError{
		Reason:     "This server is receiving as many uploads as it can. Try again later.",
		RetryAfter: retryAfter,
	}
}

func (g *Gate) leave() { g.places.Release(1) }
