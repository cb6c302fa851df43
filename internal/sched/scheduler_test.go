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

// acquire gets a slot, which must not fail.
func acquire(t *testing.T, s *Scheduler, task Task) *Slot {
	t.Helper()
	slot, err := s.Acquire(t.Context(), task)
	if err != nil {
		t.Fatalf("acquire %+v: %v", task, err)
	}
	return slot
}

// expectIdle tells of anything that is left behind.
func expectIdle(t *testing.T, s *Scheduler) {
	t.Helper()
	st := s.Stats()
	want := Stats{Slots: st.Slots, Expired: st.Expired, Busyness: st.Busyness}
	if diff := cmp.Diff(want, st); diff != "" {
		t.Errorf("an idle scheduler differs (-want +got):\n%s", diff)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.backlog.tenants
	if n := len(r.known) + len(r.ready) + len(r.idle); n != 0 {
		t.Errorf("%d things are remembered: %+v", n, r)
	}
}

func TestNeverMoreThanThereAre(t *testing.T) {
	const slots = 3
	s := New(Options{Slots: slots})
	var busy, peak atomic.Int64
	var wg sync.WaitGroup
	for i := range 300 {
		wg.Go(func() {
			err := s.Run(t.Context(), Task{Tenant: int64(i % 7)}, func(context.Context, *Slot) error {
				n := busy.Add(1)
				for p := peak.Load(); n > p && !peak.CompareAndSwap(p, n); p = peak.Load() {
				}
				busy.Add(-1)
				return nil
			})
			if err != nil {
				t.Errorf("run: %v", err)
			}
		})
	}
	wg.Wait()
	if p := peak.Load(); p < 1 || p > slots {
		t.Errorf("%d slots were in use at once, there are %d", p, slots)
	}
	expectIdle(t, s)
}

func TestAloneATenantGetsEverySlot(t *testing.T) {
	s := New(Options{Slots: 4})
	var held []*Slot
	for range 4 {
		held = append(held, acquire(t, s, Task{Tenant: 1, Cost: 1 << 40}))
	}
	for _, slot := range held {
		slot.Release()
		slot.Release() // again: must not free a slot that is not ours
	}
	expectIdle(t, s)
}

func TestAWaitEndsWithTheCauseOfItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(Options{})
		slot := acquire(t, s, Task{})
		gone := errors.New("gone")
		ctx, cancel := context.WithTimeoutCause(t.Context(), time.Second, gone)
		defer cancel()
		if _, err := s.Acquire(ctx, Task{}); !errors.Is(err, gone) {
			t.Errorf("the wait ended with %v", err)
		}
		slot.Release()
		if _, err := s.Acquire(ctx, Task{}); !errors.Is(err, gone) {
			t.Errorf("a context that had ended: %v", err)
		}
		expectIdle(t, s)
	})
}

// TestASlotThatNobodyWaitsForIsHandedOn has the context end just after the slot was granted.
func TestASlotThatNobodyWaitsForIsHandedOn(t *testing.T) {
	s := New(Options{})
	slot := acquire(t, s, Task{})
	gone, err := s.enqueue(Task{Tenant: 1, Cost: 1 << 40})
	if err != nil {
		t.Fatal(err)
	}
	next, err := s.enqueue(Task{Tenant: 2})
	if err != nil {
		t.Fatal(err)
	}
	slot.Release()
	<-gone.granted
	s.withdraw(gone)
	<-next.granted
	s.newSlot(t.Context(), next).Release()
	expectIdle(t, s)
}

func TestALeaseThatEndsFreesTheSlot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		losses := make(chan Loss, 10)
		s := New(Options{
			Lease: 10 * time.Second, MinRate: 1 << 20, Grace: time.Minute,
			Lost: func(l Loss) { losses <- l },
		})
		task := Task{Tenant: 7, Cost: 5 << 20}
		stuck := acquire(t, s, task)
		start := time.Now()
		next := acquire(t, s, Task{Tenant: 8}) // though the other never returns
		if d := time.Since(start); d != 15*time.Second {
			t.Errorf("the slot came free after %v, want the floor and 5 s for the bytes", d)
		}
		synctest.Wait()
		if cause := context.Cause(stuck.Context()); !errors.Is(cause, ErrLeaseExpired) {
			t.Errorf("the context ended with %v", cause)
		}
		if st := s.Stats(); st.Busy != 1 || st.Expired != 1 || st.Runaways != 1 {
			t.Errorf("stats %+v", st)
		}
		next.Release()
		<-time.After(2 * time.Minute)
		stuck.Release()
		want := []Loss{{Task: task, Held: 15 * time.Second}, {Task: task, Held: 75 * time.Second, Again: true}}
		if diff := cmp.Diff(want, []Loss{<-losses, <-losses}); diff != "" {
			t.Errorf("losses (-want +got):\n%s", diff)
		}
		if len(losses) > 0 {
			t.Errorf("told once more: %+v", <-losses)
		}
		expectIdle(t, s)
	})
}

func TestATaskThatEndsInTimeIsNotTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(Options{Lease: time.Second, Grace: time.Second, Lost: func(l Loss) { t.Errorf("told of %+v", l) }})
		slot := acquire(t, s, Task{})
		<-time.After(time.Second - 1)
		slot.Release()
		<-time.After(time.Hour)
		expectIdle(t, s)
	})
}

func TestATaskThatEndsInItsGraceIsToldOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var told atomic.Int64
		s := New(Options{Lease: time.Second, Grace: time.Minute, Lost: func(Loss) { told.Add(1) }})
		slot := acquire(t, s, Task{})
		<-slot.Context().Done()
		slot.Release()
		<-time.After(time.Hour)
		if n := told.Load(); n != 1 {
			t.Errorf("told %d times", n)
		}
		expectIdle(t, s)
	})
}

func TestTooManyRunawaysStopEverything(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(Options{Slots: 3, Runaways: 2, Lease: time.Second})
		stuck := []*Slot{acquire(t, s, Task{}), acquire(t, s, Task{})}
		for round := range 2 {
			<-time.After(time.Second)
			synctest.Wait()
			if _, err := s.Acquire(t.Context(), Task{}); !errors.Is(err, ErrRunaways) {
				t.Errorf("round %d, with %d runaways: %v", round, s.Stats().Runaways, err)
			}
			stuck[round].Release()
			if round == 0 {
				acquire(t, s, Task{}).Release()
				stuck = append(stuck, acquire(t, s, Task{}))
			}
		}
		stuck[2].Release()
		expectIdle(t, s)
	})
}

func TestThoseWhoWaitAreRefusedWithTheLastRunaway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(Options{Slots: 1, Runaways: 1, Lease: time.Second})
		stuck := acquire(t, s, Task{})
		start := time.Now()
		if _, err := s.Acquire(t.Context(), Task{}); !errors.Is(err, ErrRunaways) || time.Since(start) != time.Second {
			t.Errorf("after %v: %v", time.Since(start), err)
		}
		stuck.Release()
		expectIdle(t, s)
	})
}

func TestStalledIsTheTimeWithoutProgress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(Options{Slots: 2, Lease: time.Minute})
		expect := func(want time.Duration) {
			t.Helper()
			if got := s.Stats().Stalled; got != want {
				t.Errorf("stalled for %v, want %v", got, want)
			}
		}
		first, second := acquire(t, s, Task{}), acquire(t, s, Task{})
		<-time.After(10 * time.Second)
		expect(0) // none waits
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		for range 3 {
			go func() {
				if slot, err := s.Acquire(ctx, Task{}); err == nil {
					<-slot.Context().Done()
					slot.Release()
				}
			}()
		}
		<-time.After(10 * time.Second)
		expect(10 * time.Second)
		second.Moved()
		expect(0)
		<-time.After(5 * time.Second)
		first.Release() // one of the three begins, which is no progress, but the end of the first was
		expect(0)
		<-time.After(35*time.Second + 1) // the second loses its slot, which is none either
		second.Moved()                   // not any more
		second.Release()
		expect(35*time.Second + 1)
		cancel()
		synctest.Wait()
		expect(0)
		expectIdle(t, s)
	})
}

// TestGivingUpIsNoProgress has work that gets no answer, and gives its slot back when its time is up.
func TestGivingUpIsNoProgress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(Options{})
		var wg sync.WaitGroup
		for i := range 5 {
			wg.Go(func() {
				ctx, cancel := context.WithTimeout(t.Context(), time.Duration(i+1)*10*time.Second)
				defer cancel()
				if slot, err := s.Acquire(ctx, Task{}); err == nil {
					<-slot.Context().Done()
					slot.Release()
				}
			})
			<-time.After(time.Second)
		}
		<-time.After(20 * time.Second) // 24 s after the second came, which was the first to wait
		if st := s.Stats(); st.Waiting != 2 || st.Stalled != 24*time.Second {
			t.Errorf("after two of five gave up: %+v", st)
		}
		wg.Wait()
		expectIdle(t, s)
	})
}

func TestAQueueThatIsFullRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(Options{Queue: 1})
		slot := acquire(t, s, Task{})
		go func() {
			if second, err := s.Acquire(t.Context(), Task{}); err == nil {
				second.Release()
			}
		}()
		synctest.Wait()
		if _, err := s.Acquire(t.Context(), Task{}); !errors.Is(err, ErrQueueFull) {
			t.Errorf("acquire with a full queue: %v", err)
		}
		slot.Release()
		synctest.Wait()
		expectIdle(t, s)
	})
}

func TestALeaseIsItsFloorAndTheBytes(t *testing.T) {
	for _, c := range []struct {
		opts Options
		task Task
		want time.Duration
	}{
		{Options{}, Task{Cost: 1 << 30}, 0},
		{Options{MinRate: 1}, Task{Cost: 1 << 30}, 0},
		{Options{Lease: time.Second}, Task{Cost: 1 << 30}, time.Second},
		{Options{Lease: time.Second, MinRate: 1 << 20}, Task{Cost: 1 << 30}, 1025 * time.Second},
		{Options{Lease: time.Second, MinRate: 1 << 20}, Task{Cost: -1}, time.Second},
		{Options{Lease: time.Second, MinRate: 1}, Task{Cost: 1 << 62}, longestLease},
		{Options{Lease: time.Minute}, Task{Lease: time.Second}, time.Second},
		{Options{Lease: time.Minute}, Task{Lease: time.Hour}, time.Minute},
		{Options{}, Task{Lease: time.Second}, time.Second},
	} {
		if got := c.opts.lease(c.task); got != c.want {
			t.Errorf("%+v: the lease of %+v is %v, want %v", c.opts, c.task, got, c.want)
		}
	}
}

func TestSlotsThatAreLostBeyondTheBoundOfRunaways(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(Options{Slots: 3, Runaways: 1, Lease: time.Second})
		slots := []*Slot{acquire(t, s, Task{}), acquire(t, s, Task{}), acquire(t, s, Task{})}
		<-time.After(2 * time.Second)
		for left := len(slots); left > 0; left-- {
			if st := s.Stats(); st.Runaways != left || !st.Tripped || st.Busy != 0 {
				t.Errorf("with %d of them left: %+v", left, st)
			}
			if _, err := s.Acquire(t.Context(), Task{}); !errors.Is(err, ErrRunaways) {
				t.Errorf("with %d of them left: %v", left, err)
			}
			slots[left-1].Release()
		}
		acquire(t, s, Task{}).Release()
		expectIdle(t, s)
	})
}
