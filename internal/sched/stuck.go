package sched

import "time"

// MostInUse is how many times Options.Slots may be in use where slots are watched for being stuck: those, as many beside stuck ones,
// and as many once more for tenants that hold none.
const MostInUse = 3

// modestPart is the part of the slots, 1 / modestPart, that a tenant may hold beside others while it hangs.
const modestPart = 4

// The ranks of tenants that wait. Where slots are not watched for being stuck, all are trusted.
const (
	trusted = iota // no slot of it is stuck, and a task has ended well since one was; or it holds none
	modest         // it hangs, and holds less than its part
	greedy         // it hangs, holds its part, and gets more only where no other waits
)

// A Hang is a tenant that hangs: a slot of it is stuck, or one was and no task has ended well since.
type Hang struct {
	Task  Task          // the first that was stuck
	Stuck int           // slots that are stuck
	Lasts time.Duration // since that task moved last

	since time.Duration
}

func (b *backlog) rank(t *flow[tenant]) int {
	switch {
	case !b.watched || t.held == 0 || !t.queue.hung && t.queue.stuck == 0:
		return trusted
	case t.held < max(1, b.slots/modestPart):
		return modest
	default:
		return greedy
	}
}

// room reports whether so many more slots of t may be in use. Beside those that are stuck as many may be again, of tenants that are
// trusted, and as many once more of those that hold none.
func (b *backlog) room(t *flow[tenant], slots int) bool {
	free := b.slots - b.busy
	switch {
	case t.held == 0:
		free += min(b.stuck, (MostInUse-1)*b.slots)
	case t.rank == trusted:
		free += min(b.stuck, b.slots)
	case t.rank == greedy && (b.busy > t.held || b.waiting > t.queue.waiting):
		return false
	}
	return slots <= free
}

// emptyHanded returns the tenant that is to be served next of those that hold no slots, or nil. It is for when some are stuck: it goes
// through all that wait.
func (b *backlog) emptyHanded() (first *flow[tenant]) {
	ready := b.tenants.ready
	for i, t := range ready {
		if t.held == 0 && (first == nil || ready.Less(i, first.place)) {
			first = t
		}
	}
	return first
}

// stick marks the slot of r as stuck, whose work has not moved since then.
func (b *backlog) stick(r *request, since, now time.Duration) {
	t := r.tenant
	r.stuck.Store(true)
	t.queue.hung = true
	t.queue.stuck += r.slots
	b.stuck += r.slots
	if b.hanging[t.id] == nil {
		b.hanging[t.id] = t
		t.queue.hang = Hang{Task: r.task, since: since}
	}
	b.move(t, now)
}

// unstick is for a slot that moves, or ends.
func (b *backlog) unstick(r *request) {
	if r.stuck.Swap(false) {
		r.tenant.queue.stuck -= r.slots
		b.stuck -= r.slots
	}
}

// hangs describes the tenants that are hanging.
func (b *backlog) hangs(now time.Duration) (hangs []Hang) {
	for _, t := range b.hanging {
		h := t.queue.hang
		h.Stuck, h.Lasts = t.queue.stuck, now-h.since
		hangs = append(hangs, h)
	}
	return hangs
}

// still is called when the work may not have moved for Options.Stuck.
func (s *Slot) still() {
	c := s.sched
	c.mu.Lock()
	defer c.mu.Unlock()
	if s.state != slotHeld {
		return
	}
	now, moved := c.now(), time.Duration(s.moved.Load())
	if left := moved + c.opts.Stuck - now; left > 0 {
		s.watch.Reset(left)
		return
	}
	c.backlog.stick(s.req, moved, now)
	c.dispatch(now)
}

// goesOn takes back that the slot is stuck.
func (s *Slot) goesOn() {
	c := s.sched
	c.mu.Lock()
	defer c.mu.Unlock()
	if s.state != slotHeld || !s.req.stuck.Load() {
		return
	}
	now := c.now()
	c.backlog.unstick(s.req)
	c.backlog.move(s.req.tenant, now)
	s.watch.Reset(c.opts.Stuck)
	c.dispatch(now)
}
