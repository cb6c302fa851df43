package sched

import (
	"context"
	"sync/atomic"
	"time"

	"tecken-upload/internal/background"
)

// A Slot is one task's right to work. If it expires before its release, its context is cancelled with ErrLeaseExpired and the slot is free
// at once, even if the task goes on. Until the release the task then counts as a runaway.
type Slot struct {
	sched  *Scheduler
	req    *request
	ctx    context.Context
	cancel context.CancelCauseFunc

	moved atomic.Int64 // time of the work's last movement

	// These belong to sched.mu.
	state slotState
	timer *time.Timer // the end of the lease, then of the grace; nil without a lease
	watch *time.Timer // when it will be stuck; nil if that is not watched
}

type slotState int

const (
	slotHeld  slotState = iota
	slotLost            // it has expired, its task has not ended
	slotEnded           // it was released
)

func (s *Scheduler) newSlot(ctx context.Context, r *request) *Slot {
	slot := &Slot{sched: s, req: r}
	slot.ctx, slot.cancel = context.WithCancelCause(ctx)
	slot.moved.Store(int64(r.start))
	s.mu.Lock()
	defer s.mu.Unlock()
	held := s.now() - r.start
	if lease := s.opts.lease(r.task); lease > 0 {
		left := lease - held
		if deadline, ok := ctx.Deadline(); ok {
			left = min(left, time.Until(deadline)+s.opts.Patience) // useless afterwards
		}
		slot.timer = background.After(left, "slot expired", slot.expire)
	}
	if s.opts.Stuck > 0 {
		slot.watch = background.After(s.opts.Stuck-held, "slot stuck", slot.still)
	}
	return slot
}

// Context ends when the slot expires or is released, or Acquire's context ends.
func (s *Slot) Context() context.Context { return s.ctx }

// Moved reports that the task moves, so its slot is not stuck. It is cheap, does not lengthen the lease, and has no effect once the context
// has ended. counts tells whether it was progress of the whole queue too: if stuck slots are watched, not before one could have been stuck,
// since sent bytes may only have gone into buffers.
func (s *Slot) Moved() (counts bool) {
	if s.ctx.Err() != nil {
		return false
	}
	now := s.sched.now()
	s.moved.Store(int64(now))
	if s.req.stuck.Load() {
		s.goesOn()
	}
	if now-s.req.start < s.sched.opts.Stuck {
		return false
	}
	s.sched.progress.made(now)
	return true
}

// Release gives the slot back and ends its context. A second call does nothing.
func (s *Slot) Release() {
	s.end()
	s.cancel(nil)
}

func (s *Slot) cause() error { return context.Cause(s.ctx) }

// end frees the slot, or uncounts a runaway.
func (s *Slot) end() {
	inTime := s.ctx.Err() == nil
	c := s.sched
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.now()
	switch s.state {
	case slotHeld:
		if inTime {
			c.progress.made(now)
		}
		c.backlog.done(s.req, inTime, now)
	case slotLost:
		c.runaways--
		if c.runaways == c.opts.Runaways-1 {
			c.tripped = make(chan struct{})
		}
	case slotEnded:
		return
	}
	s.state = slotEnded
	for _, timer := range []*time.Timer{s.timer, s.watch} {
		if timer != nil {
			timer.Stop()
		}
	}
	c.dispatch(now)
}

// expire is called at the end of the lease, or of the wait for work after its context.
func (s *Slot) expire() {
	if s.lose() {
		s.cancel(ErrLeaseExpired)
		s.tell(Loss{})
	}
}

// lose frees the slot unless its task has ended.
func (s *Slot) lose() bool {
	c := s.sched
	c.mu.Lock()
	defer c.mu.Unlock()
	if s.state != slotHeld {
		return false
	}
	s.state = slotLost
	c.expired++
	c.runaways++
	if c.runaways == c.opts.Runaways { // more may follow: those that had slots by then
		close(c.tripped)
	}
	if c.opts.Grace > 0 {
		s.timer = background.After(c.opts.Grace, "slot expired", s.remind)
	}
	now := c.now()
	if c.opts.Stuck > 0 && !s.req.stuck.Load() { // it was slow, or its lease is as short
		c.backlog.stick(s.req, time.Duration(s.moved.Load()), now)
	}
	c.backlog.done(s.req, false, now)
	c.progress.lose()
	c.dispatch(now)
	return true
}

// remind is called at the end of the grace.
func (s *Slot) remind() {
	s.sched.mu.Lock()
	ended := s.state == slotEnded
	s.sched.mu.Unlock()
	if !ended {
		s.tell(Loss{Again: true})
	}
}

// tell reports a loss, in the goroutine of a timer or of abandoned work.
func (s *Slot) tell(l Loss) {
	if s.sched.opts.Lost != nil {
		l.Task, l.Held = s.req.task, s.sched.now()-s.req.start
		s.sched.opts.Lost(l)
	}
}
