package sched

import (
	"errors"
	"math/rand/v2"
	"testing"
	"time"
)

// popped takes out the next request and gives its slot back at once.
func popped(b *backlog) *request {
	r := b.pop(0)
	if r != nil {
		b.done(r, true, 0)
	}
	return r
}

func push(t *testing.T, b *backlog, task Task) *request {
	t.Helper()
	return pushAt(t, b, task, 0)
}

func pushAt(t *testing.T, b *backlog, task Task, now time.Duration) *request {
	t.Helper()
	r := &request{task: task}
	if err := b.push(r, now); err != nil {
		t.Fatal(err)
	}
	return r
}

// A spread is how far a tenant's bytes were from its share, at the least and at the most: their distance is
// the largest deviation over any interval between two dispatches.
type spread struct{ low, high float64 }

func (s *spread) add(x float64) { s.low, s.high = min(s.low, x), max(s.high, x) }

// shares sums up the work of tenants that always have tasks waiting.
type shares struct {
	weights []int64
	weight  int64
	bytes   []int64
	total   int64
	largest int64
	spreads []spread
}

func newShares(weights ...int64) *shares {
	s := &shares{weights: weights, bytes: make([]int64, len(weights)), spreads: make([]spread, len(weights))}
	for _, w := range weights {
		s.weight += w
	}
	return s
}

// add counts a task that was begun.
func (s *shares) add(tenant int, cost int64) {
	s.bytes[tenant] += cost
	s.total += cost
	s.largest = max(s.largest, cost)
	for i, w := range s.weights {
		s.spreads[i].add(float64(s.bytes[i]) - float64(s.total)*float64(w)/float64(s.weight))
	}
}

// worst returns the largest deviation over any interval as a part of what is guaranteed.
func (s *shares) worst() float64 {
	var worst float64
	for i, w := range s.weights {
		part := float64(w) / float64(s.weight)
		bound := (1 + part*float64(len(s.weights))) * float64(s.largest)
		worst = max(worst, (s.spreads[i].high-s.spreads[i].low)/bound)
	}
	return worst
}

// TestBytesAreWithinTheBoundOfTheShare has tenants that always have tasks waiting, in several uploads, of costs that
// differ by tenant, and looks at every interval between two dispatches.
func TestBytesAreWithinTheBoundOfTheShare(t *testing.T) {
	for seed := range uint64(40) {
		rng := rand.New(rand.NewPCG(seed, 3))
		weights := make([]int64, 2+rng.IntN(9))
		sizes := make([]int64, len(weights)) // the largest of each tenant
		for i := range weights {
			weights[i] = 1 + rng.Int64N(1+int64(seed%4))
			sizes[i] = int64(minCost) << rng.IntN(12)
		}
		b := newBacklog(Options{Slots: 1 << 20, PerTenant: 8, Queue: 1 << 20})
		queue := func(tenant int) {
			push(t, b, Task{Tenant: int64(tenant), Weight: int(weights[tenant]), Upload: rng.Int64N(3), Cost: rng.Int64N(sizes[tenant])})
		}
		for i := range weights {
			for range 10 {
				queue(i)
			}
		}
		got := newShares(weights...)
		for range 5_000 {
			r := popped(b)
			got.add(int(r.task.Tenant), int64(r.cost))
			queue(int(r.task.Tenant))
		}
		if worst := got.worst(); worst > 1 {
			t.Errorf("seed %d: %.2f times the bound", seed, worst)
		}
	}
}

func TestUploadsOfATenantAreEqual(t *testing.T) {
	b := newBacklog(Options{Slots: 1 << 20, PerTenant: 1, Queue: 1 << 20})
	for range 1_000 {
		push(t, b, Task{Upload: 1, Cost: 1 << 20})
	}
	for range 100 {
		push(t, b, Task{Upload: 2, Cost: 1 << 20})
	}
	count := make(map[int64]int)
	for range 200 {
		count[popped(b).task.Upload]++
	}
	if count[1] != 100 || count[2] != 100 {
		t.Errorf("uploads got %v of 200 tasks", count)
	}
}

func TestATaskWithoutBytesPaysForItsSlot(t *testing.T) {
	b := newBacklog(Options{Slots: 1 << 20, PerTenant: 1, Queue: 1 << 20})
	for range 1_000 {
		push(t, b, Task{Tenant: 1})
		push(t, b, Task{Tenant: 2, Cost: 1 << 20})
	}
	count := make(map[int64]int)
	for range 170 {
		count[popped(b).task.Tenant]++
	}
	if count[1] != 160 || count[2] != 10 {
		t.Errorf("tenants got %v tasks, want 16 to 1", count)
	}
}

func TestATenantAtItsBoundIsSetAside(t *testing.T) {
	b := newBacklog(Options{Slots: 1 << 20, PerTenant: 2, Queue: 10})
	for range 3 {
		push(t, b, Task{Tenant: 1})
	}
	first, second := b.pop(0), b.pop(0)
	if r := b.pop(0); r != nil {
		t.Errorf("a tenant got a third slot of two")
	}
	push(t, b, Task{Tenant: 2})
	if r := b.pop(0); r == nil || r.task.Tenant != 2 {
		t.Errorf("got %+v, want the other tenant's", r)
	}
	b.done(first, true, 0)
	if r := b.pop(0); r == nil || r.task.Tenant != 1 {
		t.Errorf("got %+v, want the first tenant's after it gave one back", r)
	}
	b.done(second, true, 0)
}

// A task that takes several slots waits until they are free, and none is served before it meanwhile.
func TestATaskOfSeveralSlots(t *testing.T) {
	b := newBacklog(Options{Slots: 4, PerTenant: 3, Queue: 10})
	push(t, b, Task{Tenant: 1, Slots: 2})
	first := b.pop(0)
	push(t, b, Task{Tenant: 2, Slots: 3})
	push(t, b, Task{Tenant: 3})
	if r := b.pop(0); r != nil {
		t.Errorf("tenant %d got slots before the one that waits for more", r.task.Tenant)
	}
	b.done(first, true, 0)
	second := b.pop(0)
	if second == nil || second.task.Tenant != 2 || b.busy != 3 {
		t.Fatalf("got %+v, %d slots in use", second, b.busy)
	}
	push(t, b, Task{Tenant: 2})
	third := b.pop(0)
	if third == nil || third.task.Tenant != 3 || b.pop(0) != nil {
		t.Errorf("got %+v, want the third tenant's and no other", third)
	}
	b.done(second, true, 0)
	b.done(third, true, 0)
	b.done(b.pop(0), true, 0)
	// One that takes more than its tenant may have, or than there are, gets them alone.
	push(t, b, Task{Tenant: 1, Slots: 9})
	if r := b.pop(0); r == nil || b.busy != 4 {
		t.Errorf("got %+v, %d slots in use", r, b.busy)
	}
}

func TestAQueueHasALength(t *testing.T) {
	b := newBacklog(Options{Slots: 1 << 20, PerTenant: 1, Queue: 2})
	push(t, b, Task{Tenant: 1})
	r := push(t, b, Task{Tenant: 1, Upload: 1})
	if err := b.push(&request{task: Task{Tenant: 1, Upload: 2}}, 0); !errors.Is(err, ErrQueueFull) {
		t.Errorf("a third task of two: %v", err)
	}
	push(t, b, Task{Tenant: 2}) // the length is each tenant's
	b.leave(r, 0)
	push(t, b, Task{Tenant: 1, Upload: 2})
}

func TestATaskThatLeavesCostsNothing(t *testing.T) {
	b := newBacklog(Options{Slots: 1 << 20, PerTenant: 4, Queue: 1 << 20})
	waits := push(t, b, Task{Tenant: 1, Cost: 1 << 40})
	push(t, b, Task{Tenant: 2, Cost: 1 << 20})
	b.leave(waits, 0)
	push(t, b, Task{Tenant: 1, Cost: 1 << 40})
	push(t, b, Task{Tenant: 1, Cost: 1 << 20})
	popped(b) // of tenant 2
	granted := b.pop(0)
	if granted.task.Cost != 1<<40 {
		t.Fatalf("got %+v", granted.task)
	}
	b.undo(granted, 0)
	push(t, b, Task{Tenant: 2, Cost: 1 << 20})
	push(t, b, Task{Tenant: 2, Cost: 1 << 20})
	first, second := popped(b), popped(b)
	if first.task.Tenant == second.task.Tenant {
		t.Errorf("tenant %d was served twice", first.task.Tenant)
	}
}

func TestATaskThatLeavesCostsItsUploadNothing(t *testing.T) {
	b := newBacklog(Options{Slots: 1 << 20, PerTenant: 4, Queue: 1 << 20})
	for _, cost := range []int64{1 << 40, 1 << 20} {
		push(t, b, Task{Upload: 1, Cost: cost})
	}
	for range 3 {
		push(t, b, Task{Upload: 2, Cost: 1 << 20})
	}
	b.undo(b.pop(0), 0)
	if first, second := popped(b), popped(b); first.task.Upload == second.task.Upload {
		t.Errorf("upload %d was served twice", first.task.Upload)
	}
}
