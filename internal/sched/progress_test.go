package sched

import (
	"context"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// TestStorageThatAnswersNothingIsAStall has one upload after the other fail: nothing waits any more each time that the
// leases of its tasks have ended.
func TestStorageThatAnswersNothingIsAStall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const lease, uploads, pause = 10 * time.Second, 6, time.Hour
		s := New(Options{Slots: 2, Lease: lease})
		for i := range uploads {
			postHanging(t, s, int64(i), 2*2)
			<-time.After(2*lease - 1)
			if got, want := s.Stats().Stalled, time.Duration(i+1)*2*lease-1; got > want || got < want-lease {
				t.Errorf("upload %d: stalled for %v, want about %v", i, got, want)
			}
			<-time.After(1)
			synctest.Wait()
			if got := s.Stats().Stalled; got != 0 {
				t.Errorf("stalled for %v without any work", got)
			}
			<-time.After(pause)
		}
		acquire(t, s, Task{}).Release()
		postHanging(t, s, uploads, 3)
		<-time.After(time.Second)
		if got := s.Stats().Stalled; got != time.Second {
			t.Errorf("stalled for %v, a second after something got done", got)
		}
		<-time.After(time.Hour)
		expectIdle(t, s)
	})
}

// TestAQuietNightIsNoStall has the first task after it lose its slot: the time without work is no failure.
func TestAQuietNightIsNoStall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const lease, night = 10 * time.Second, 8 * time.Hour
		s := New(Options{Slots: 2, Lease: lease})
		acquire(t, s, Task{}).Release()
		<-time.After(night)
		postHanging(t, s, 1, 1)
		<-time.After(lease / 2)
		slot := acquire(t, s, Task{})
		<-time.After(lease/2 + 1)
		synctest.Wait()
		if got := s.Stats().Stalled; got != lease+1 {
			t.Errorf("stalled for %v, %v after work began", got, lease+1)
		}
		slot.Release()
		expectIdle(t, s)
	})
}

// postHanging begins tasks that end with their leases.
func postHanging(t *testing.T, s *Scheduler, upload int64, tasks int) {
	t.Helper()
	for range tasks {
		go func() {
			slot, err := s.Acquire(t.Context(), Task{Upload: upload})
			if err != nil {
				t.Errorf("acquire: %v", err)
				return
			}
			<-slot.Context().Done()
			slot.Release()
		}()
	}
	synctest.Wait()
}

func TestASlotEndsSoonAfterTheDeadlineOfItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(Options{Lease: time.Minute, MinRate: 1 << 20, Patience: 3 * time.Second})
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
		defer cancel()
		start := time.Now()
		stuck, err := s.Acquire(ctx, Task{Tenant: 1, Cost: 8 << 30}) // its lease would be more than two hours
		if err != nil {
			t.Fatal(err)
		}
		acquire(t, s, Task{Tenant: 2}).Release()
		if d := time.Since(start); d != 5*time.Minute+3*time.Second {
			t.Errorf("the slot came free after %v", d)
		}
		stuck.Release()
		expectIdle(t, s)
	})
}

// TestTheLeaseCountsFromTheGrant has the caller be slow to see its slot.
func TestTheLeaseCountsFromTheGrant(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(Options{Lease: 10 * time.Second})
		r, err := s.enqueue(Task{})
		if err != nil {
			t.Fatal(err)
		}
		<-time.After(4 * time.Second)
		slot := s.newSlot(t.Context(), r)
		start := time.Now()
		<-slot.Context().Done()
		if d := time.Since(start); d != 6*time.Second {
			t.Errorf("the lease ended %v later", d)
		}
		slot.Release()
		expectIdle(t, s)
	})
}

func TestAReleaseEndsTheContext(t *testing.T) {
	s := New(Options{})
	slot := acquire(t, s, Task{})
	slot.Release()
	if slot.Context().Err() == nil {
		t.Error("the context goes on")
	}
}

// TestTheSlotIsFreeWhenRunReturns asks without waiting.
func TestTheSlotIsFreeWhenRunReturns(t *testing.T) {
	s := New(Options{})
	for range 1_000 {
		if err := s.Run(t.Context(), Task{}, func(context.Context, *Slot) error { return nil }); err != nil {
			t.Fatal(err)
		}
		if st := s.Stats(); st.Busy != 0 {
			t.Fatalf("%+v", st)
		}
	}
}

func TestWhoGivesUpAGrantedSlotHasPaidNothing(t *testing.T) {
	s := New(Options{})
	slot := acquire(t, s, Task{Tenant: 9})
	requests := make(map[int64][]*request)
	for _, task := range []Task{{Tenant: 1, Cost: 1 << 40}, {Tenant: 1}, {Tenant: 2, Cost: 1 << 20}, {Tenant: 2, Cost: 1 << 20}, {Tenant: 2, Cost: 1 << 20}} {
		r, err := s.enqueue(task)
		if err != nil {
			t.Fatal(err)
		}
		requests[task.Tenant] = append(requests[task.Tenant], r)
	}
	slot.Release()
	<-requests[1][0].granted
	s.withdraw(requests[1][0])
	for _, r := range []*request{requests[2][0], requests[1][1], requests[2][1], requests[2][2]} {
		select {
		case <-r.granted:
			s.newSlot(t.Context(), r).Release()
		default:
			t.Fatalf("it is not the turn of %+v", r.task)
		}
	}
	expectIdle(t, s)
}

func TestWaitsAreTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		waits := make(chan time.Duration, 3)
		s := New(Options{Waited: func(d time.Duration) { waits <- d }})
		slot := acquire(t, s, Task{})
		var wg sync.WaitGroup
		wg.Go(func() { acquire(t, s, Task{}).Release() })
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := s.Acquire(ctx, Task{}); err == nil {
			t.Error("it got a slot that is taken")
		}
		<-time.After(7 * time.Second)
		slot.Release()
		wg.Wait()
		close(waits)
		if got := []time.Duration{<-waits, <-waits, <-waits}; !slices.Equal(got, []time.Duration{0, 8 * time.Second, 0}) { // and no third one
			t.Errorf("told of %v", got)
		}
	})
}

func TestTheLastWeightToldHolds(t *testing.T) {
	b := newBacklog(Options{Slots: 1 << 20, PerTenant: 100, Queue: 100})
	for i := range 20 {
		push(t, b, Task{Tenant: 1, Weight: 1 + 2*min(i, 1), Cost: 1 << 20})
		push(t, b, Task{Tenant: 2, Weight: 1, Cost: 1 << 20})
	}
	counts := map[int64]int{}
	for range 16 {
		counts[popped(b).task.Tenant]++
	}
	if counts[1] < 11 || counts[1] > 13 {
		t.Errorf("a tenant that was told to weigh 1, and then 3, got %d of 16", counts[1])
	}
}
