package sched

import (
	"context"
	"errors"
	"math"
	"sync"
	"time"
)

// What keeps a task from a slot, or ends its slot.
var (
	// ErrLeaseExpired: the task's slot expired. It is the cause of the slot's context.
	ErrLeaseExpired = errors.New("the slot's lease expired")
	// ErrQueueFull: too many of the tenant's tasks wait already.
	ErrQueueFull = errors.New("too many tasks are waiting")
	// ErrRunaways: so many tasks have not ended after their slots expired that none gets a slot any more.
	ErrRunaways = errors.New("too many tasks have not come back")
)

// A Task is a piece of work that wants a slot, or several at once.
type Task struct {
	Tenant int64 // the work is this tenant's
	Weight int   // the tenant's share, relative to other tenants, from 1 to 1,024; the latest value counts
	Upload int64 // its upload; a tenant's uploads have equal shares
	Cost   int64 // bytes it works on; charged are at least 64 KiB and at most 1 PiB
	Slots  int   // slots it takes; 1 unless positive, at most all

	Lease time.Duration // bound for holding its slot, if below that of Options; theirs alone unless positive
}

// Options of a Scheduler. All may be zero.
type Options struct {
	Slots     int           // simultaneous tasks of one slot; 1 unless positive
	Queue     int           // waiting tasks of one tenant; 65,536 unless positive
	PerTenant int           // slots of one tenant, except a larger task's alone; all unless positive
	Lease     time.Duration // how long a task may hold its slot, without its bytes; for ever unless positive
	MinRate   int64         // bytes a second that add to that; none unless positive
	Stuck     time.Duration // time without movement until a slot is stuck, and up to MostInUse times Slots may be in use; for ever unless positive
	Grace     time.Duration // how long a task may take to end once its slot has expired, before Lost is called again; never unless positive
	Patience  time.Duration // time for work to return after its context has ended; 5 s unless positive

	// Runaways is how many tasks may go on after their slot has expired; with that many, no task gets a slot
	// until one ends, and tasks that wait or come get ErrRunaways. It is a circuit breaker: a task that is stuck in a
	// system call holds a thread, and a Go program dies of its 10,001st. No bound unless positive.
	Runaways int

	// Waited is called with how long a task waited for its slot, by the goroutine that asked for that. It may be nil.
	Waited func(time.Duration)

	// Lost is called for each slot that expires, once more if the task has not ended after Grace, and for a panic in
	// work that Run had abandoned. It is called in a goroutine of its own, and must not panic. It may be nil.
	Lost func(Loss)
}

// A Loss is an expired slot and its task.
type Loss struct {
	Task  Task
	Held  time.Duration // since it got its slot
	Again bool          // this is the second report: the task has not ended Grace after its slot expired
	Panic error         // a *background.PanicError of work that Run had abandoned, or nil
}

const (
	defaultQueue    = 1 << 16
	defaultPatience = 5 * time.Second
	// longestLease keeps the sum of a floor and a huge task's bytes from overflowing.
	longestLease = 10 * 365 * 24 * time.Hour
)

func (o Options) withDefaults() Options {
	o.Slots = max(o.Slots, 1)
	if o.Queue <= 0 {
		o.Queue = defaultQueue
	}
	if o.PerTenant <= 0 {
		o.PerTenant = math.MaxInt
	}
	if o.Patience <= 0 {
		o.Patience = defaultPatience
	}
	if o.Runaways <= 0 {
		o.Runaways = math.MaxInt
	}
	if o.Waited == nil {
		o.Waited = func(time.Duration) {}
	}
	return o
}

// lease returns how long a task may hold its slot; 0 is for ever.
func (o Options) lease(t Task) time.Duration {
	d := float64(o.Lease)
	if o.Lease > 0 && o.MinRate > 0 {
		d += float64(max(t.Cost, 0)) / float64(o.MinRate) * float64(time.Second)
	}
	lease := time.Duration(min(d, float64(longestLease)))
	if t.Lease > 0 && (lease <= 0 || t.Lease < lease) {
		return t.Lease
	}
	return max(lease, 0)
}

// A Scheduler shares its slots. It is safe for concurrent use.
type Scheduler struct {
	opts  Options
	epoch time.Time // time zero

	progress progress

	mu       sync.Mutex // taken last; nothing blocks under it
	backlog  *backlog
	tripped  chan struct{} // closed while there are too many runaways; then a new one
	runaways int
	expired  int64
	usage    usage
}

// New makes a Scheduler. It starts no goroutine and needs no end.
func New(o Options) *Scheduler {
	o = o.withDefaults()
	return &Scheduler{
		opts:    o,
		epoch:   time.Now(),
		backlog: newBacklog(o),
		tripped: make(chan struct{}),
	}
}

// Acquire waits for a slot; the caller releases it. It fails with the cause of ctx, ErrQueueFull or ErrRunaways. A failed task costs its
// tenant nothing.
func (s *Scheduler) Acquire(ctx context.Context, t Task) (*Slot, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	r, err := s.enqueue(t)
	if err != nil {
		return nil, err
	}
	select {
	case <-r.granted:
	case <-r.tripped:
	case <-ctx.Done():
	}
	// A slot and the end of the context may have come together: a task that is no longer waited for must not get it.
	if ctx.Err() != nil {
		s.withdraw(r)
		return nil, context.Cause(ctx)
	}
	select {
	case <-r.granted:
		s.opts.Waited(r.start - r.since)
		return s.newSlot(ctx, r), nil
	default:
		s.withdraw(r)
		return nil, ErrRunaways
	}
}

func (s *Scheduler) now() time.Duration { return time.Since(s.epoch) }

func (s *Scheduler) enqueue(t Task) (*request, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.broken() {
		return nil, ErrRunaways
	}
	now := s.now()
	r := &request{task: t, since: now, granted: make(chan struct{}), tripped: s.tripped}
	if err := s.backlog.push(r, now); err != nil {
		return nil, err
	}
	s.dispatch(now)
	return r, nil
}

// dispatch grants free slots after a change. s.mu is held.
func (s *Scheduler) dispatch(now time.Duration) {
	for !s.broken() {
		r := s.backlog.pop(now)
		if r == nil {
			break
		}
		r.start = now
		close(r.granted)
	}
	s.usage.set(now, min(s.backlog.busy-s.backlog.stuck, s.opts.Slots))
	s.progress.observe(now, s.backlog.waiting, s.backlog.busy)
}

// broken reports whether no work may start. s.mu is held.
func (s *Scheduler) broken() bool { return s.runaways >= s.opts.Runaways }

// withdraw takes back a request that is no longer waited for, and the slot that it may have been granted just now.
func (s *Scheduler) withdraw(r *request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	if r.place != nil {
		s.backlog.leave(r, now)
	} else {
		s.backlog.undo(r, now)
	}
	s.dispatch(now)
}
