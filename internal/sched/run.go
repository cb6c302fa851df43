package sched

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"tecken-upload/internal/background"
)

// errExited is returned for work that called runtime.Goexit.
var errExited = errors.New("the work ended its goroutine")

// Run waits for a slot like [Scheduler.Acquire], with the same errors. It calls work in a goroutine of its own, with a slot that is
// released when work returns, and returns work's error. If the slot has expired, that is wrapped with ErrLeaseExpired.
//
// Work that has not returned Options.Patience after the end of its context is abandoned: its slot expires, and Run returns the cause. So
// after the end of its context work must touch nothing of its caller's: it closes over its own values, and passes results through a channel
// or a variable that the caller reads only when Run returned nil.
//
// A panic in work is raised again in the caller, as a *background.PanicError, or reported to Options.Lost if work had been abandoned.
func (s *Scheduler) Run(ctx context.Context, t Task, work func(ctx context.Context, slot *Slot) error) error {
	slot, err := s.Acquire(ctx, t)
	if err != nil {
		return err
	}
	j := &job{slot: slot, done: make(chan struct{}), err: errExited}
	background.Go("task", func() { j.run(work) })
	if !j.wait(s.opts.Patience) {
		slot.expire()
		return slot.cause()
	}
	if j.panic != nil {
		panic(j.panic)
	}
	if j.err != nil && !errors.Is(j.err, ErrLeaseExpired) && errors.Is(slot.cause(), ErrLeaseExpired) {
		return fmt.Errorf("%w: %w", ErrLeaseExpired, j.err)
	}
	return j.err
}

// A job is work in its goroutine, with its waiting caller.
type job struct {
	slot  *Slot
	over  atomic.Bool   // set by the first: work that has ended, or the caller that abandons it
	done  chan struct{} // closed by work that ended first
	err   error
	panic *background.PanicError
}

func (j *job) run(work func(context.Context, *Slot) error) {
	defer func() {
		if v := recover(); v != nil {
			j.panic = background.Caught(v)
		}
		j.slot.Release()
		if j.over.CompareAndSwap(false, true) {
			close(j.done)
		} else if j.panic != nil {
			j.slot.tell(Loss{Panic: j.panic})
		}
	}()
	j.err = work(j.slot.ctx, j.slot)
}

// wait returns false when it has abandoned work.
func (j *job) wait(patience time.Duration) bool {
	select {
	case <-j.done:
		return true
	case <-j.slot.ctx.Done():
	}
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-j.done:
		return true
	case <-timer.C:
	}
	if j.over.CompareAndSwap(false, true) {
		return false
	}
	<-j.done
	return true
}
