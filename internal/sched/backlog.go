package sched

import (
	"container/list"
	"time"
)

const (
	// minCost is what a task pays at least: one without bytes takes a slot all the same, and would be served
	// before all others for ever if it were free.
	minCost = 64 << 10
	// maxCost and maxWeight keep sums within 63 bits: they are beyond any archive and any sensible weight.
	maxCost   = 1 << 50
	maxWeight = 1 << 10
)

// A backlog holds the tasks that wait, in two levels of rings, and the number of slots in use, in all and by tenant.
// It knows neither time nor locks.
type backlog struct {
	quantum   int64
	slots     int // in all
	perTenant int // most slots of one tenant, but for a single task
	limit     int // most waiting tasks of one tenant

	waiting int
	busy    int
	tenants *ring[tenant]
}

// A tenant has uploads with tasks. Its flow is ready while a task of it waits and may be served; aside while it waits
// for one of its own slots, or has slots in use and nothing to serve; and idle when it has neither.
type tenant struct {
	waiting int
	busy    int
	uploads *ring[list.List] // of *request; ready while not empty, idle otherwise
}

// A request is a task that wants a slot, and then one that has it. Its fields belong to the Scheduler's mutex, but
// for those that are fixed from the start.
type request struct {
	task    Task
	cost    int64           // what it pays
	slots   int             // what it takes
	passed  int64           // by how much that moved its tenant's uploads on
	since   time.Duration   // when it was queued
	granted chan struct{}   // closed when it has a slot
	tripped <-chan struct{} // closed when nothing is begun any more

	tenant *flow[tenant]
	upload *flow[list.List]
	place  *list.Element // nil once it has a slot, or has left
	start  time.Duration // when it got its slot
}

func newBacklog(o Options) *backlog {
	return &backlog{quantum: o.Quantum, slots: o.Slots, perTenant: o.PerTenant, limit: o.Queue, tenants: newRing[tenant](o.Quantum)}
}

// push queues r. It fails with ErrQueueFull.
func (b *backlog) push(r *request) error {
	t := b.tenants.flow(r.task.Tenant, min(max(int64(r.task.Weight), 1), maxWeight))
	if t.queue.waiting >= b.limit {
		return ErrQueueFull
	}
	if t.queue.uploads == nil {
		t.queue.uploads = newRing[list.List](b.quantum)
		t.queue.uploads.passing = true
	}
	u := t.queue.uploads.flow(r.task.Upload, 1)
	r.tenant, r.upload, r.place = t, u, u.queue.PushBack(r)
	r.cost = min(max(r.task.Cost, minCost), maxCost)
	r.slots = min(max(r.task.Slots, 1), b.slots)
	t.queue.uploads.wake(u)
	b.count(t, 1, 0)
	return nil
}

// pop takes out the request that is to be served next, which has its slots from then on; nil when none may be. None goes before
// one that waits for several slots to be free.
func (b *backlog) pop() *request {
	t := b.tenants.next()
	if t == nil {
		return nil
	}
	r := t.queue.next()
	if r.slots > b.slots-b.busy {
		return nil
	}
	b.tenants.pay(t, r.cost)
	r.passed = t.queue.uploads.pay(r.upload, r.cost)
	b.unlink(r)
	b.count(t, -1, r.slots)
	return r
}

// next returns the request of the tenant that is to be served next; there must be one.
func (t *tenant) next() *request { return t.uploads.next().queue.Front().Value.(*request) }

// leave takes out a request that waits.
func (b *backlog) leave(r *request) {
	b.unlink(r)
	b.count(r.tenant, -1, 0)
}

// done takes the slot back from a request that was popped.
func (b *backlog) done(r *request) { b.count(r.tenant, 0, -r.slots) }

// undo is done for a request that made no use of its slot.
func (b *backlog) undo(r *request) {
	b.tenants.refund(r.tenant, r.cost, 0)
	r.tenant.queue.uploads.refund(r.upload, r.cost, r.passed)
	b.done(r)
}

func (b *backlog) unlink(r *request) {
	r.upload.queue.Remove(r.place)
	r.place = nil
	if r.upload.queue.Len() == 0 {
		r.tenant.queue.uploads.rest(r.upload)
	}
}

// count changes what t has waiting and in use, and moves it to where it then belongs.
func (b *backlog) count(t *flow[tenant], waiting, busy int) {
	t.queue.waiting += waiting
	t.queue.busy += busy
	b.waiting += waiting
	b.busy += busy
	switch {
	case t.queue.waiting > 0 && (t.queue.busy == 0 || t.queue.busy+t.queue.next().slots <= b.perTenant):
		b.tenants.wake(t)
	case t.queue.waiting > 0 || t.queue.busy > 0:
		b.tenants.aside(t)
	default:
		b.tenants.rest(t)
	}
	if b.waiting == 0 && b.busy == 0 {
		b.tenants.reset()
	}
}
