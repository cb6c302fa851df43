package sched

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// A trace is what became of the tasks of one random run.
type trace struct {
	mu     sync.Mutex
	starts map[[2]int64]map[int]time.Duration // by tenant and upload, then by the order in which they were queued
}

func (tr *trace) add(t Task, n int, start time.Duration) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	key := [2]int64{t.Tenant, t.Upload}
	if tr.starts[key] == nil {
		tr.starts[key] = make(map[int]time.Duration)
	}
	tr.starts[key][n] = start
}

// TestWhateverComes lets tasks come, give up, end, and not end, at random, and looks at the invariants after each step.
func TestWhateverComes(t *testing.T) {
	for seed := range uint64(12) {
		synctest.Test(t, func(t *testing.T) { randomRun(t, rand.New(rand.NewPCG(seed, 4))) })
	}
}

// maxRandomSlots is how many slots a task of a random run takes at most.
const maxRandomSlots = 3

func randomRun(t *testing.T, rng *rand.Rand) {
	s := New(Options{
		Slots: 1 + rng.IntN(6), PerTenant: rng.IntN(4), Queue: 20, Stuck: time.Duration(rng.IntN(2)) * time.Second,
		Lease: 5 * time.Second, Grace: time.Second, Runaways: 1 + rng.IntN(8), Lost: func(Loss) {},
	})
	tr := &trace{starts: make(map[[2]int64]map[int]time.Duration)}
	var wg sync.WaitGroup
	steps := 400
	for n := range steps {
		task := Task{Tenant: rng.Int64N(6), Weight: rng.IntN(4), Upload: rng.Int64N(3), Cost: rng.Int64N(32 << 20), Slots: rng.IntN(4)}
		ctx, cancel := context.WithCancel(t.Context())
		if rng.IntN(3) == 0 {
			time.AfterFunc(time.Duration(rng.Int64N(int64(4*time.Second))), cancel)
		}
		hold := time.Duration(rng.Int64N(int64(time.Second)))
		if rng.IntN(20) == 0 {
			hold = 20 * time.Second // beyond its lease
		}
		wg.Go(func() {
			defer cancel()
			slot, err := s.Acquire(ctx, task)
			if err != nil {
				if !errors.Is(err, ErrQueueFull) && !errors.Is(err, ErrRunaways) && !errors.Is(err, context.Canceled) {
					t.Errorf("acquire: %v", err)
				}
				return
			}
			defer slot.Release()
			tr.add(task, n, slot.req.start)
			<-time.After(hold / 2)
			slot.Moved()
			<-time.After(hold / 2)
		})
		synctest.Wait()
		expectInvariants(t, s)
		if rng.IntN(3) > 0 {
			<-time.After(time.Duration(rng.Int64N(int64(300 * time.Millisecond))))
		}
	}
	wg.Wait()
	expectIdle(t, s)
	expectOrder(t, tr, steps)
}

// expectInvariants tells of a slot too many, of a free one that a task waits for, and of sums and heaps that are wrong.
func expectInvariants(t *testing.T, s *Scheduler) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	b, now := s.backlog, s.now()
	if b.busy > s.opts.Slots && s.opts.Stuck == 0 || b.busy > MostInUse*s.opts.Slots {
		t.Errorf("%d of %d slots are in use", b.busy, s.opts.Slots)
	}
	if next := b.first(now); next != nil && !s.broken() {
		t.Errorf("%d slots of %d are in use, %d stuck, and tenant %+v waits", b.busy, s.opts.Slots, b.stuck, next)
	}
	waiting, busy, stuck := 0, 0, 0
	for _, f := range b.tenants.known {
		waiting += f.queue.waiting
		busy += f.held
		stuck += f.queue.stuck
		ready := f.in == &b.tenants.ready
		if ready && (f.queue.waiting == 0 || f.rank != b.rank(f)) || f.in == &b.tenants.idle && (f.queue.waiting > 0 || f.held > 0) {
			t.Errorf("tenant %+v is in the wrong place", f)
		}
		if f.held > max(s.opts.PerTenant, maxRandomSlots) || f.in != nil && f.rank == trusted && f.tag < b.tenants.virtual {
			t.Errorf("tenant %+v, at virtual time %v", f, b.tenants.virtual)
		}
		tasks := 0
		for _, u := range f.queue.uploads.known {
			tasks += u.queue.Len()
		}
		if tasks != f.queue.waiting {
			t.Errorf("tenant %d has %d tasks in its uploads, and counts %d", f.id, tasks, f.queue.waiting)
		}
	}
	if waiting != b.waiting || busy != b.busy || stuck != b.stuck {
		t.Errorf("counted %d waiting, %d busy and %d stuck, want %d, %d and %d", b.waiting, b.busy, b.stuck, waiting, busy, stuck)
	}
}

// expectOrder tells of tasks that overtook another of their upload.
func expectOrder(t *testing.T, tr *trace, tasks int) {
	t.Helper()
	for key, starts := range tr.starts {
		last := time.Duration(0)
		for n := range tasks {
			start, ok := starts[n]
			if ok && start < last {
				t.Errorf("task %d of upload %v was begun before one that came first", n, key)
			}
			last = max(last, start)
		}
	}
}
