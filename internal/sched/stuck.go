package sched

import "time"

// MostInUse times Options.Slots may be in use if stuck slots are watched: those, as many beside stuck ones, and as many once more for
// tenants without any.
const MostInUse = 3

// modestPart: a tenant that hangs may hold 1 / modestPart of the slots beside others.
const modestPart = 4

// The ranks of waiting tenants. If stuck slots are not watched, all are trusted.
const (
	trusted = iota // none of its slots is stuck, and a task has ended well since one was; or it holds none
	modest         // it hangs, and holds less than its part
	greedy         // it hangs, holds its part, and gets more only when no other waits
)

// A Hang is a tenant that hangs: one of its slots is stuck, or one was and no task has ended well since.
type Hang struct {
	Task  Task          // the first that was stuck
	Stuck int           // number of stuck slots
	Lasts time.Duration // time since that task's last movement

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

// room reports whether t may use more slots. Beside stuck ones there may be as many again, of trusted tenants, and as many once more of
// tenants without any.
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

// emptyHanded returns the next tenant of those without slots, or nil. It is for when some are stuck: it goes through all that wait.
func (b *backlog) emptyHanded() (first *flow[tenant]) {
	ready := b.tenants.ready
	for i, t := range ready {
		if t.held == 0 && (first == nil || ready.Less(i, first.place)) {
			first = t
		}
	}
	return first
}

// stick marks r's slot as stuck, without movement since then.
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

// unstick is called for a slot that moves, or ends.
func (b *backlog) unstick(r *request) {
	if r.stuck.Swap(false) {
		r.tenant.queue.stuck -= r.slots
		b.stuck -= r.slots
	}
}

// hangs returns the tenants that hang.
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

// goesOn ends a slot's being stuck.
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
