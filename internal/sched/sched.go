// Package sched shares a fixed number of slots among tenants.
package sched

import (
	"context"
	"errors"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"
)

// Why a task gets no slot, or loses the one it has.
var (
	// ErrLeaseExpired: the task held its slot for longer than its lease. It is the cause of the slot's context.
	ErrLeaseExpired = errors.New("the slot's lease expired")
	// ErrQueueFull: too many of the tenant's tasks wait already.
	ErrQueueFull = errors.New("too many tasks are waiting")
	// ErrRunaways: so many tasks have not ended after losing their slots that none is begun any more.
	ErrRunaways = errors.New("too many tasks have not come back")
)

// A Task is a piece of work that wants one slot.
type Task struct {
	Tenant int64 // whose work it is
	Weight int   // the tenant's share, relative to other tenants; less than 1 counts as 1
	Upload int64 // which of the tenant's uploads it belongs to; they have equal shares
	Cost   int64 // bytes it works on
}

// Options of a Scheduler. All but Slots may be zero.
type Options struct {
	Slots     int           // tasks at a time; at least 1
	Quantum   int64         // bytes that a tenant of weight 1 may spend in a round; 4 MiB unless positive
	Queue     int           // most tasks of one tenant that wait; 65,536 unless positive
	PerTenant int           // most slots of one tenant; all unless positive
	Lease     time.Duration // how long a task may hold its slot, besides its bytes; for ever unless positive
	MinRate   int64         // bytes a second that it may count on in addition; none unless positive
	Grace     time.Duration // how long a task that lost its slot may take to end before Lost is told again
	Runaways  int           // most tasks that lost their slots and have not ended; no bound unless positive
	// Lost is told, in a goroutine of its own, of each task that lost its slot, and once more if the task has not
	// ended after Grace. It may be nil.
	Lost func(Loss)
}

// A Loss is a task that held its slot for too long.
type Loss struct {
	Task  Task
	Held  time.Duration // since it got its slot
	Ended bool          // always false in the first report of a task
	Again bool          // this is the second report: the task has not ended Grace after it lost its slot
}

// A Scheduler shares its slots. It is safe for concurrent use.
type Scheduler struct {
	opts Options
	sem  *semaphore.Weighted

	mu       sync.Mutex
	busy     int
	waiting  int
	progress time.Time
}

// New makes a Scheduler.
func New(o Options) *Scheduler {
	return &Scheduler{opts: o, sem: semaphore.NewWeighted(int64(o.Slots)), progress: time.Now()}
}

// A Slot is one task's right to work.
type Slot struct {
	ctx     context.Context //nolint:containedctx // it is the slot's
	release func()
	moved   func()
}

// Context ends when the lease expires, or the context that the slot was acquired with.
func (s *Slot) Context() context.Context { return s.ctx }

// Moved tells that the task is getting on, for the watch over progress. It does not lengthen the lease.
func (s *Slot) Moved() { s.moved() }

// Release gives the slot back; calling it again does nothing.
func (s *Slot) Release() { s.release() }

// Acquire waits for a slot. It fails with the cause of ctx, ErrQueueFull or ErrRunaways.
func (s *Scheduler) Acquire(ctx context.Context, _ Task) (*Slot, error) {
	s.enqueue()
	if err := s.sem.Acquire(ctx, 1); err != nil {
		s.leave(0)
		return nil, context.Cause(ctx)
	}
	s.leave(1)
	ctx, cancel := context.WithCancel(ctx)
	return &Slot{ctx: ctx, moved: func() {}, release: sync.OnceFunc(func() {
		cancel()
		s.mu.Lock()
		s.busy--
		s.progress = time.Now()
		s.mu.Unlock()
		s.sem.Release(1)
	})}, nil
}

// Run calls work in a goroutine of its own, with a slot that it gives back once work returns.
func (s *Scheduler) Run(ctx context.Context, t Task, work func(ctx context.Context, slot *Slot) error) error {
	slot, err := s.Acquire(ctx, t)
	if err != nil {
		return err
	}
	defer slot.Release()
	return work(slot.Context(), slot) //nolint:contextcheck // it descends from ctx
}

func (s *Scheduler) enqueue() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.waiting == 0 {
		s.progress = time.Now()
	}
	s.waiting++
}

func (s *Scheduler) leave(started int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.waiting--
	s.busy += started
	if started > 0 {
		s.progress = time.Now()
	}
}

// Stats describes a Scheduler at one moment.
type Stats struct {
	Slots    int           // slots there are
	Busy     int           // slots in use
	Waiting  int           // tasks that wait
	Stalled  time.Duration // for how long tasks have been waiting with none ended or moved; 0 when none waits
	Expired  int64         // tasks that lost their slots, so far
	Runaways int           // of these, those that have not ended
	// Busyness is the share of slots that were in use over the last minute, from 0 to 1.
	Busyness float64
	// WaitP50 and WaitP95 are what 50 % and 95 % of the tasks that were started in the last minute, or wait
	// still, had to wait at most.
	WaitP50, WaitP95 time.Duration
}

// Stats returns the present state.
func (s *Scheduler) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := Stats{Slots: s.opts.Slots, Busy: s.busy, Waiting: s.waiting}
	if s.waiting > 0 {
		st.Stalled = time.Since(s.progress)
	}
	return st
}
