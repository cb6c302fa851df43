package lease

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	mrand "math/rand/v2"
	"slices"
	"sync"
	"time"

	"tecken-upload/internal/background"
)

const (
	// defaultStale is the default stale cut-off.
	defaultStale = 60 * time.Second
	// callTimeout bounds each call to the shared table: we would rather have a local limit for a while than an upload that waits for a hung
	// table.
	callTimeout = time.Second
	// pollInterval is how often the head of a tenant's queue looks for a lease freed on another instance. We would rather be a quarter of a
	// second late than poll all the time.
	pollInterval = 250 * time.Millisecond
	// leastTurn is the time of a call without waiting to become the head of its queue: calls before it may be asking the shared table.
	leastTurn = 500 * time.Millisecond
)

// Options adjust a Keeper. The zero Options are for one instance alone.
type Options struct {
	Shared   Table           // shared by all instances; without it limits are this process's own
	Instance string          // this process's name in its leases
	Stale    time.Duration   // the shared table's stale cut-off; 60 s unless positive
	Logger   *slog.Logger    // nil: no log
	Told     func(err error) // called once each time the shared table goes away; must not block. May be nil
}

// A Keeper takes, renews and releases the leases of one process. It is safe for concurrent use.
type Keeper struct {
	shared   Table // may be nil
	instance string
	stale    time.Duration
	log      *slog.Logger
	told     func(err error)
	local    *Memory       // what this process holds
	turns    chan struct{} // one element per call to the shared table in progress
	left     chan struct{} // one element if the shared table went away and Run has not seen it

	mu      sync.Mutex
	queues  map[int64][]*waiter // by tenant, in order; never empty
	away    time.Time           // when the shared table went away; zero while it answers
	episode int                 // number of its returns
	owed    map[string]debt     // by id
}

// A waiter is one unfinished Take.
type waiter struct {
	first chan struct{} // closed once it is the head of its queue
	nudge chan struct{} // one element if a lease may have been freed since the last look
}

// NewKeeper returns a keeper without leases. Call its Run once.
func NewKeeper(opts Options) *Keeper {
	k := &Keeper{
		shared:   opts.Shared,
		instance: opts.Instance,
		stale:    opts.Stale,
		log:      opts.Logger,
		told:     opts.Told,
		local:    NewMemory(0), // a local lease lives as long as the process
		turns:    make(chan struct{}, maxCalls),
		left:     make(chan struct{}, 1),
		queues:   map[int64][]*waiter{},
		owed:     map[string]debt{},
	}
	if k.stale <= 0 {
		k.stale = defaultStale
	}
	k.log = cmp.Or(k.log, slog.New(slog.DiscardHandler))
	if k.told == nil {
		k.told = func(error) {}
	}
	return k
}

// Take takes a lease for tenant, which may hold at most limit (from 1). A tenant at its limit waits, in the order of calls, until a lease
// is released or ctx ends; then Take returns ctx's cause. Take looks for a lease at least once, even if ctx has ended: within half a
// second, or at once without a shared table, unless others wait. A hung shared table adds up to a second.
//
// release gives the lease back. It may be called more than once, and never blocks.
func (k *Keeper) Take(ctx context.Context, tenant int64, limit int) (release func(), err error) {
	w := k.join(tenant)
	defer k.leave(tenant, w)
	for turn := w.turn(ctx); turn; turn = ctx.Err() == nil {
		if l, ok := k.attempt(ctx, tenant, limit); ok {
			return sync.OnceFunc(func() { k.release(context.WithoutCancel(ctx), l) }), nil
		}
		select {
		case <-w.nudge:
		case <-time.After(jitter(pollInterval)):
		case <-ctx.Done():
		}
	}
	return nil, context.Cause(ctx)
}

// Held returns this process's leases, by tenant and age.
func (k *Keeper) Held() []Lease { return k.local.held() }

// attempt takes a lease if the limit allows it. Only the head of a tenant's queue calls it.
func (k *Keeper) attempt(ctx context.Context, tenant int64, limit int) (Lease, bool) {
	// A shared table that lost its memory would grant too many.
	if k.local.count(tenant) >= limit {
		return Lease{}, false
	}
	l := Lease{Tenant: tenant, ID: rand.Text(), Instance: k.instance, Since: time.Now().Truncate(time.Millisecond)}
	take := func(ctx context.Context) error { return k.shared.Take(ctx, l, limit) }
	// Not cut short by ctx: a hung table must be noticed, however short the callers' contexts.
	if k.shared != nil && errors.Is(k.call(context.WithoutCancel(ctx), take), ErrLimit) {
		return Lease{}, false
	}
	k.local.add(l)
	return l, true
}

// release gives l back here at once, and to the shared table in the background.
func (k *Keeper) release(ctx context.Context, l Lease) {
	k.local.drop(l)
	if k.shared == nil {
		k.wake(l.Tenant)
		return
	}
	k.owe(l)
	if k.Away() {
		k.wake(l.Tenant)
		return
	}
	background.Go("lease release", func() {
		// Only now can the next waiter see the free lease in the shared table.
		defer k.wake(l.Tenant)
		k.settle(ctx, []Lease{l}, k.call)
	})
}

// join adds a waiter to the end of a tenant's queue.
func (k *Keeper) join(tenant int64) *waiter {
	w := &waiter{first: make(chan struct{}), nudge: make(chan struct{}, 1)}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.queues[tenant] = append(k.queues[tenant], w)
	if len(k.queues[tenant]) == 1 {
		close(w.first)
	}
	return w
}

// leave removes a waiter from a tenant's queue. If it was the head, the next one tries.
func (k *Keeper) leave(tenant int64, w *waiter) {
	k.mu.Lock()
	defer k.mu.Unlock()
	queue := k.queues[tenant]
	i := slices.Index(queue, w)
	queue = slices.Delete(queue, i, i+1)
	if len(queue) == 0 {
		delete(k.queues, tenant)
		return
	}
	k.queues[tenant] = queue
	if i == 0 {
		close(queue[0].first)
	}
}

// turn waits until w is the head of its queue, and reports whether it is.
func (w *waiter) turn(ctx context.Context) bool {
	least := time.NewTimer(leastTurn)
	defer least.Stop()
	select {
	case <-w.first:
		return true
	case <-ctx.Done():
	}
	select {
	case <-w.first:
		return true
	case <-least.C:
		return false
	}
}

// wake makes the head of a tenant's queue look for a lease.
func (k *Keeper) wake(tenant int64) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if queue := k.queues[tenant]; len(queue) > 0 {
		select {
		case queue[0].nudge <- struct{}{}:
		default: // it has not seen the last one yet
		}
	}
}

// jitter returns between half of d and one and a half of it.
func jitter(d time.Duration) time.Duration { return d/2 + mrand.N(d) }
