package sched

import (
	"context"
	"time"
)

// A Slot is one task's right to work. When its lease ends before it is released, its context is cancelled with
// ErrLeaseExpired and the slot is another's at once, whether the task takes notice or not. Until it is released,
// the task then counts as a runaway.
type Slot struct {
	sched  *Scheduler
	req    *request
	ctx    context.Context
	cancel context.CancelCauseFunc

	// These belong to sched.mu.
	state slotState
	timer *time.Timer // the end of the lease, then of the grace; nil without a lease
}

type slotState int

const (
	slotHeld  slotState = iota
	slotLost            // its lease has expired, its task has not ended
	slotEnded           // it was released
)

func (s *Scheduler) newSlot(ctx context.Context, r *request) *Slot {
	slot := &Slot{sched: s, req: r}
	slot.ctx, slot.cancel = context.WithCancelCause(ctx)
	if lease := s.opts.lease(r.task.Cost); lease > 0 {
		s.mu.Lock()
		defer s.mu.Unlock()
		left := lease - (s.now() - r.start)
		if deadline, ok := ctx.Deadline(); ok {
			left = min(left, time.Until(deadline)+s.opts.Patience) // it is of no use to anybody then
		}
		slot.timer = time.AfterFunc(left, slot.expire)
	}
	return slot
}

// Context ends when the lease expires, the slot is released, or the context ends that it was acquired with.
func (s *Slot) Context() context.Context { return s.ctx }

// Moved tells that the task is getting on, for the watch over progress. It is cheap, and does not lengthen the lease.
// Once the context has ended it tells nothing.
func (s *Slot) Moved() {
	if s.ctx.Err() == nil {
		s.sched.progress.made(s.sched.now())
	}
}

// Release gives the slot back and ends its context; calling it again does nothing.
func (s *Slot) Release() {
	s.end()
	s.cancel(nil)
}

func (s *Slot) cause() error { return context.Cause(s.ctx) }

// end frees the slot, or takes a runaway off the count.
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
		c.backlog.done(s.req)
	case slotLost:
		c.runaways--
		if c.runaways == c.opts.Runaways-1 {
			c.tripped = make(chan struct{})
		}
	case slotEnded:
		return
	}
	s.state = slotEnded
	if s.timer != nil {
		s.timer.Stop()
	}
	c.dispatch(now)
}

// expire is the end of the lease, or of the wait for work whose context has ended.
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
	if c.runaways == c.opts.Runaways { // more may follow: those that had their slots by then
		close(c.tripped)
	}
	if c.opts.Grace > 0 {
		s.timer = time.AfterFunc(c.opts.Grace, s.remind)
	}
	c.backlog.done(s.req)
	c.progress.lose()
	c.dispatch(c.now())
	return true
}

// remind is the end of the grace.
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
