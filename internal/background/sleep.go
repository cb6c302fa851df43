package background

import (
	"context"
	"math/rand/v2"
	"time"
)

// Sleep waits for d. It returns the cause of ctx's end if that comes first.
func Sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Backoff returns the pause after the given failure, counted from 0: first, doubled each time, at most last; then a random time between
// half and all of it, to spread the retries of simultaneous failures.
func Backoff(failure int, first, last time.Duration) time.Duration {
	d := last
	if failure < 16 {
		d = min(first<<failure, last)
	}
	return d/2 + rand.N(d/2+1)
}
