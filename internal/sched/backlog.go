package sched

import (
	"container/list"
	"sync/atomic"
	"time"
)

const (
	// minCost is the least charge of a task: one without bytes also takes a slot.
	minCost = 64 << 10
	// maxCost and maxWeight are above any archive and any sensible weight: tags keep single bytes apart.
	maxCost   = 1 << 50
	maxWeight = 1 << 10
)

// A backlog holds the waiting tasks, in two levels of fair queues, and the number of slots in use, in all and by tenant. It has no locks,
// and no clock of its own.
type backlog struct {
	slots     int  // in all
	perTenant int  // slots of one tenant, except a single larger task's
	limit     int  // waiting tasks of one tenant
	watched   bool // slots may be stuck

	waiting int
	busy    int // slots in use
	stuck   int // of these, stuck ones
	tenants *fairQueue[tenant]
	hanging map[int64]*flow[tenant]
}

// A tenant has uploads with tasks. Its flow is ready while one of its tasks waits and may be served; aside while it waits for one of its
// own slots, or has slots in use and nothing to serve; and idle when it has neither.
type tenant struct {
	waiting int
	stuck   int                   // slots
	hung    bool                  // one of its slots was stuck, and no task has ended well since
	hang    Hang                  // the first stuck task
	uploads *fairQueue[list.List] // of *request
}

// A request is a task that wants a slot, then has one. Its fields belong to the Scheduler's mutex, except the constant ones.
type request struct {
	task    Task
	cost    float64         // its charge
	slots   int             // slots it takes
	passed  float64         // how far that moved its tenant's uploads on
	since   time.Duration   // when it was queued
	granted chan struct{}   // closed when it has a slot
	tripped <-chan struct{} // closed when no more work starts

	tenant *flow[tenant]
	upload *flow[list.List]
	place  *list.Element // nil once it has a slot, or has left
	start  time.Duration // when it got its slot
	stuck  atomic.Bool   // its slot is stuck; changed with the mutex held
}

func newBacklog(o Options) *backlog {
	return &backlog{
		slots: o.Slots, perTenant: o.PerTenant, limit: o.Queue, watched: o.Stuck > 0,
		tenants: newFairQueue[tenant](), hanging: make(map[int64]*flow[tenant]),
	}
}

// push queues r. It fails with ErrQueueFull.
func (b *backlog) push(r *request, now time.Duration) error {
	t := b.tenants.flow(r.task.Tenant, float64(min(max(r.task.Weight, 1), maxWeight)))
	if t.queue.waiting >= b.limit {
		return ErrQueueFull
	}
	if t.queue.uploads == nil {
		t.queue.uploads = newFairQueue[list.List]()
		t.queue.uploads.passing = true
	}
	u := t.queue.uploads.flow(r.task.Upload, 1)
	r.tenant, r.upload, r.place = t, u, u.queue.PushBack(r)
	r.cost = float64(min(max(r.task.Cost, minCost), maxCost))
	r.slots = min(max(r.task.Slots, 1), b.slots)
	b.tenants.next(now) // virtual time includes the time of those already waiting
	b.count(r, 1, 0, now)
	return nil
}

// pop removes the request to serve next, which has its slots from then on; nil if none may be served.
func (b *backlog) pop(now time.Duration) *request {
	t := b.first(now)
	if t == nil {
		return nil
	}
	r := t.queue.next(now)
	b.tenants.charge(t, r.cost)
	r.passed = t.queue.uploads.charge(r.upload, r.cost)
	b.unlink(r)
	b.count(r, -1, r.slots, now)
	return r
}

// first returns the tenant to serve now, or nil. No tenant passes one that waits for several slots to be free; but while slots are stuck, a
// tenant without slots passes those that do not fit.
func (b *backlog) first(now time.Duration) *flow[tenant] {
	t := b.tenants.next(now)
	for t != nil && !b.fits(t, t.queue.next(now)) { // another of its uploads may have come first meanwhile
		b.tenants.aside(t)
		t = b.tenants.next(now)
	}
	if t != nil && b.stuck > 0 && !b.room(t, t.queue.next(now).slots) {
		t = b.emptyHanded()
	}
	if t != nil && b.room(t, t.queue.next(now).slots) {
		return t
	}
	return nil
}

// fits reports whether t may hold r's slots.
func (b *backlog) fits(t *flow[tenant], r *request) bool {
	return t.held == 0 || t.held+r.slots <= b.perTenant
}

// next returns the tenant's next request; there must be one.
func (t *tenant) next(now time.Duration) *request {
	return t.uploads.next(now).queue.Front().Value.(*request)
}

// leave removes a waiting request.
func (b *backlog) leave(r *request, now time.Duration) {
	b.unlink(r)
	b.count(r, -1, 0, now)
}

// done takes the slot back from a popped request. well means that its task ended by itself.
func (b *backlog) done(r *request, well bool, now time.Duration) {
	b.unstick(r)
	if well {
		r.tenant.queue.hung = false
	}
	b.count(r, 0, -r.slots, now)
}

// undo takes the slot back from a request that did not use it.
func (b *backlog) undo(r *request, now time.Duration) {
	b.tenants.refund(r.tenant, r.cost, 0)
	r.tenant.queue.uploads.refund(r.upload, r.cost, r.passed)
	b.done(r, false, now)
}

func (b *backlog) unlink(r *request) {
	r.upload.queue.Remove(r.place)
	r.place = nil
}

// count changes the waiting tasks and slots in use of r's tenant, and moves tenant and upload to their new states.
func (b *backlog) count(r *request, waiting, slots int, now time.Duration) {
	t := r.tenant
	t.queue.waiting += waiting
	b.waiting += waiting
	b.busy += slots
	b.tenants.hold(t, slots, now)
	t.queue.uploads.hold(r.upload, slots, now)
	if r.upload.queue.Len() > 0 {
		t.queue.uploads.wake(r.upload, 0)
	} else {
		t.queue.uploads.rest(r.upload)
	}
	b.move(t, now)
	if b.waiting == 0 && b.busy == 0 {
		b.tenants.reset()
	}
}

// move puts t into its state.
func (b *backlog) move(t *flow[tenant], now time.Duration) {
	if t.queue.stuck == 0 && (!t.queue.hung || t.queue.waiting == 0 && t.held == 0) {
		delete(b.hanging, t.id)
	}
	switch {
	case t.queue.waiting == 0:
		b.tenants.rest(t)
	case b.fits(t, t.queue.next(now)):
		b.tenants.wake(t, b.rank(t))
	default:
		b.tenants.aside(t)
	}
}
