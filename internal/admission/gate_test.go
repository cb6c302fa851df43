package admission

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"tecken-upload/internal/upload"
)

func TestAPlaceIsWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewGate(1, 10*time.Second)
		leave, err := g.Enter(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		entered := make(chan error, 1)
		go func() {
			leave, err := g.Enter(t.Context())
			if err == nil {
				leave()
			}
			entered <- err
		}()
		<-time.After(9 * time.Second)
		leave()
		if err := <-entered; err != nil {
			t.Errorf("a place came free in time: %v", err)
		}
	})
}

func TestNoPlaceInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewGate(1, 10*time.Second)
		leave, err := g.Enter(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		_, err = g.Enter(t.Context())
		busy, ok := errors.AsType[*upload.BusyError](err)
		if !ok || busy.RetryAfter < time.Second || !errors.Is(err, upload.ErrBusy) || time.Since(start) != 10*time.Second {
			t.Errorf("after %v: %v", time.Since(start), err)
		}
		leave()
		again, err := g.Enter(t.Context())
		if err != nil {
			t.Fatalf("the place is free, and was not given to who had gone: %v", err)
		}
		again()
	})
}

func TestAWaitEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewGate(1, time.Hour)
		leave, err := g.Enter(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer leave()
		gone := errors.New("gone")
		ctx, cancel := context.WithTimeoutCause(t.Context(), time.Second, gone)
		defer cancel()
		if _, err := g.Enter(ctx); !errors.Is(err, gone) {
			t.Errorf("the wait ended with %v", err)
		}
	})
}
