package sched

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestNeverMoreThanCapacity(t *testing.T) {
	const capacity = 3
	s := NewSlots(capacity, time.Now)
	var busy, peak atomic.Int64
	var wg sync.WaitGroup
	for range 200 {
		wg.Go(func() {
			release, err := s.Acquire(t.Context(), 1, 1)
			if err != nil {
				t.Errorf("acquire: %v", err)
				return
			}
			defer release()
			n := busy.Add(1)
			for p := peak.Load(); n > p && !peak.CompareAndSwap(p, n); p = peak.Load() {
			}
			busy.Add(-1)
		})
	}
	wg.Wait()
	if p := peak.Load(); p < 1 || p > capacity {
		t.Errorf("%d slots were busy at once, capacity is %d", p, capacity)
	}
	if diff := cmp.Diff(Stats{Capacity: capacity}, s.Stats()); diff != "" {
		t.Errorf("idle slots differ (-want +got):\n%s", diff)
	}
}

func TestAcquireEndsWithTheCauseOfItsContext(t *testing.T) {
	s := NewSlots(1, time.Now)
	release, err := s.Acquire(t.Context(), 1, 1)
	if err != nil {
		t.Fatal(err)
	}
	cause := errors.New("a cause")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(cause)
	if _, err := s.Acquire(ctx, 1, 1); !errors.Is(err, cause) {
		t.Errorf("acquire returned %v, want the cause", err)
	}
	release()
	release() // again: must not free a slot that is not ours
	if diff := cmp.Diff(Stats{Capacity: 1}, s.Stats()); diff != "" {
		t.Errorf("after release (-want +got):\n%s", diff)
	}
}

func TestStalledCountsFromTheLastProgress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		now := time.Now()
		s := NewSlots(1, func() time.Time { return now })
		first, _ := s.Acquire(t.Context(), 1, 1)
		now = now.Add(time.Hour) // busy, but nobody waits: no stall
		if got := s.Stats().Stalled; got != 0 {
			t.Errorf("stalled for %v without a waiter", got)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			if _, err := s.Acquire(ctx, 1, 1); err == nil {
				t.Error("acquired a slot that was taken")
			}
		}()
		synctest.Wait()
		now = now.Add(time.Minute)
		if got := s.Stats(); got.Waiting != 1 || got.Stalled != time.Minute {
			t.Errorf("got %+v, want one waiter stalled for a minute", got)
		}
		cancel()
		<-done
		first()
	})
}
