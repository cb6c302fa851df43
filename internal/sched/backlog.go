package sched

import (
	"container/list"
	"sync/atomic"
	"time"
)

const (
	// minCost is what a task pays at least: one without bytes takes a slot all the same.
	minCost = 64 << 10
	// maxCost and maxWeight are beyond any archive and any sensible weight: tags keep single bytes apart.
	maxCost   = 1 << 50
	maxWeight = 1 << 10
)

// A backlog holds the tasks that wait, in two levels of fair queues, and the number of slots in use, in all and by tenant.
// It knows no locks, and time only as far as it is told.
type backlog struct {
	slots     int  // in all
	perTenant int  // most slots of one tenant, but for a single task
	limit     int  // most waiting tasks of one tenant
	watched   bool // slots may be stuck

	waiting int
	busy    int // slots in use
	stuck   int // of these, those that are stuck
	tenants *fairQueue[tenant]
	hanging map[int64]*flow[tenant]
}

// A tenant has uploads with tasks. Its flow is ready while a task of it waits and may be served; aside while it waits
// for one of its own slots, or has slots in use and nothing to serve; and idle when it has neither.
type tenant struct {
	waiting int
	stuck   int                   // slots
	hung    bool                  // a slot of it was stuck, and no task has ended well since
	hang    Hang                  // where it hangs
	uploads *fairQueue[list.List] // of *request
}

// A request is a task that wants a slot, and then one that has it. Its fields belong to the Scheduler's mutex, but
// for those that are fixed from the start.
type request struct {
	task    Task
	cost    float64         // what it pays
	slots   int             // what it takes
	passed  float64         // by how much that moved its tenant's uploads on
	since   time.Duration   // when it was queued
	granted chan struct{}   // closed when it has a slot
	tripped <-chan struct{} // closed when nothing is begun any more

	tenant *flow[tenant]
	upload *flow[list.List]
	place  *list.Element // nil once it has a slot, or has left
	start  time.Duration // when it got its slot
	stuck  atomic.Bool   // its slot is; changed with the mutex held
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
	b.tenants.next(now) // virtual time goes on with the time of those who wait already
	b.count(r, 1, 0, now)
	return nil
}

// pop takes out the request that is to be served next, which has its slots from then on; nil when none may be.
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

// first returns the tenant that is to be served now, or nil. None goes before one that waits for several slots to be free; but where
// slots are stuck, one that holds none goes before those for which there is no room.
func (b *backlog) first(now time.Duration) *flow[tenant] {
	t := b.tenants.next(now)
	for t != nil && !b.fits(t, t.queue.next(now)) { // another of its uploads has come first meanwhile
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

// fits reports whether t may hold what r takes.
func (b *backlog) fits(t *flow[tenant], r *request) bool {
	return t.held == 0 || t.held+r.slots <= b.perTenant
}

// next returns the request of the tenant that is to be served next; there must be one.
func (t *tenant) next(now time.Duration) *request {
	return t.uploads.next(now).queue.Front().Value.(*request)
}

// leave takes out a request that waits.
func (b *backlog) leave(r *request, now time.Duration) {
	b.unlink(r)
	b.count(r, -1, 0, now)
}

// done takes the slot back from a request that was popped. well says that its task ended by itself.
func (b *backlog) done(r *request, well bool, now time.Duration) {
	b.unstick(r)
	if well {
		r.tenant.queue.hung = false
	}
	b.count(r, 0, -r.slots, now)
}

// undo is done for a request that made no use of its slot.
func (b *backlog) undo(r *request, now time.Duration) {
	b.tenants.refund(r.tenant, r.cost, 0)
	r.tenant.queue.uploads.refund(r.upload, r.cost, r.passed)
	b.done(r, false, now)
}

func (b *backlog) unlink(r *request) {
	r.upload.queue.Remove(r.place)
	r.place = nil
}

// count changes what r's tenant has waiting and in use, and moves it and the upload to where they then belong.
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

// move puts t where it belongs.
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
