package lab

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// awaitPause is the time between two calls of Await.
const awaitPause = 50 * time.Millisecond

// Sample calls look at once, and again in each interval, until stop is called. stop returns the results, in order, and the number of failed
// looks.
func Sample[T any](ctx context.Context, interval time.Duration, look func(context.Context) (T, error)) (stop func() (seen []T, missed int)) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	var seen []T
	missed := 0
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			one, err := look(ctx)
			switch {
			case err == nil:
				seen = append(seen, one)
			case ctx.Err() == nil:
				missed++
			}
			Pause(ctx, interval)
		}
	}()
	return func() ([]T, int) {
		cancel()
		<-done
		return seen, missed
	}
}

// Await calls check until it returns nil. It fails if ctx ends first.
func Await(ctx context.Context, check func(context.Context) error) error {
	for {
		err := check(ctx)
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return errors.Join(context.Cause(ctx), err)
		}
		Pause(ctx, awaitPause)
	}
}

// Until is Await of what holds at some time. what names it in the error.
func Until(ctx context.Context, what string, holds func() bool) error {
	return Await(ctx, func(context.Context) error {
		if holds() {
			return nil
		}
		return fmt.Errorf("waited in vain until %s", what)
	})
}

// Pause waits for d, or until ctx ends.
func Pause(ctx context.Context, d time.Duration) {
	if d <= 0 {
		return
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
