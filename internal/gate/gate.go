// Package gate admits uploads before a byte of their bodies is read, and keeps what each of them holds.
//
// An upload needs a lease of its tenant's limit, and then room on the instance: a receiving slot until its body has arrived, its bytes in
// the spool, and time. Time is short when the admitted, unfinished bytes take, at the measured rate of work, half of an upload's deadline
// or longer, and the tenant's own do so at its share of the rate. An upload by URL also needs a fetch slot, once admitted. All waits share
// one budget, Config.Wait: clients in the field give up early and ignore Retry-After.
//
// # Order
//
// Each tenant has one line, in order of arrival. The next to be admitted is of the tenant with the fewest admitted bytes for its weight;
// the next to fetch, of the tenant with the fewest fetch slots for its weight. The head of the line is never overtaken: free room is kept
// for it, however much it needs. There are two exceptions. A tenant that has its share does not block others. And an upload that is
// hopeless, because the room it lacks comes back far too slowly, blocks none.
//
// # Shares
//
// The last quarter of the receiving slots, and of the spool, is open only to tenants below their share: the whole, divided by weight among
// the present tenants and one more, so that a tenant alone leaves room for the next (docs/adr/0010). A tenant has at most half of the fetch
// slots, and half of the slots to wait for one; the last quarter of both together is for tenants without any (docs/adr/0012). At most 1,024
// uploads wait. A tenant may have no more of them than there are places left in line: alone, at most 512.
//
// # Not promised
//
// A tenant's share is of this instance alone; its limit is as wide as the Leases are. The rate of work is measured, so the gate notices a
// change of it only after a while.
package gate

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"tecken-upload/internal/spool"
	"tecken-upload/internal/upload"
)

const (
	// maxWaiting bounds the uploads that wait: each is a connection with its buffers.
	maxWaiting = 1024
	// tick is the interval between looks at the line without an event: for room from other programs, and a fading rate.
	tick = 250 * time.Millisecond
	// returning is how long a refused upload's lease may be on its way back.
	returning = 500 * time.Millisecond
	// leastCreate is the least time for making a workspace. Its room is there by then: rather late than refused.
	leastCreate = 5 * time.Second
	// leastFetch is the least time of an admitted upload to find a free fetch slot: its own time may have passed.
	leastFetch = 100 * time.Millisecond
	// patience is how long an upload waits for its answer beyond its time, when the spool's disk hangs.
	patience = 2 * time.Second
	// refusalMemory is how long a refusal makes slow uploads give way: the client comes back after seconds.
	refusalMemory = 10 * time.Second
	// unknownSize is the first count of an upload of unknown size: what the spool reserves for it.
	unknownSize = 16 << 20
	// leastUnknown is the same in a smaller spool.
	leastUnknown = 256 << 10
)

var (
	// errWaited ends a wait at the gate.
	errWaited = errors.New("waited long enough to be admitted")
	// errMeasuring ends a wait while the spool's disk hangs.
	errMeasuring = fmt.Errorf("%w: measuring the spool takes too long", upload.ErrUnavailable)
)

// Leases limits the number of a tenant's uploads. Implementations are safe for concurrent use.
type Leases interface {
	// Take waits for one of the tenant's leases, at most limit, until ctx ends; then it returns its cause. It looks for one at least once,
	// even if ctx has ended, however long that takes. release gives the lease back, and is called once.
	Take(ctx context.Context, tenant int64, limit int) (release func(), err error)
}

// Spool reserves uploads' room on disk; a [spool.Spool] does.
type Spool interface {
	// Create makes a workspace with room for size bytes, or -1. It does not wait for room.
	Create(ctx context.Context, size int64) (*spool.Workspace, error)
	// Usage returns the room.
	Usage(ctx context.Context) (spool.Usage, error)
	// Contended reports whether live workspaces wait for more room.
	Contended() bool
}

// Config configures a Gate.
type Config struct {
	Leases         Leases        // nil: tenants have no limit
	TenantUploads  int           // simultaneous uploads of a tenant, times its weight; at least 1
	Spool          Spool         // for bodies
	ReceivingSlots int           // bodies received at once; at least 1
	FetchSlots     int           // archives fetched at once, for uploads by URL
	FetchLine      int           // uploads that may wait for a fetch slot
	Wait           time.Duration // how long an upload waits in all; 0: as long as a lease takes
	Timeout        time.Duration // an upload's deadline after its body; 0: time is never short
	// Saturated reports whether work waits for slots: only then does the work done measure capacity. It is called often, and returns at
	// once. Nil: never.
	Saturated func() bool
	// Now is the clock; nil: time.Now.
	Now func() time.Time
	// Jitter returns numbers from 0 to 1 that spread Retry-After. Calls are not concurrent. Nil: rand.Float64.
	Jitter func() float64
}

// Gate admits uploads. It is safe for concurrent use.
type Gate struct {
	config Config
	wake   chan struct{} // one token when something has changed for those in line

	mu         sync.Mutex // guards the fields below, tenants and passes
	tenants    map[int64]*tenant
	ushering   bool // an usher is at work
	arrivals   int64
	in         [states]map[*Pass]struct{}
	kept       [states]recent
	bytes      int64 // sizes of the admitted uploads
	promised   int64 // bytes of those about to get their workspace
	unfinished int64 // admitted, unfinished bytes
	work       workRate
	refused    [states]time.Time // when an upload was last refused what others have: room, as inside, or a fetch slot
	turnedAway time.Time         // when one was last refused for what the instance lacks, for Stats
	refusals   map[row]*refusals
}

// New makes a Gate.
func New(c Config) *Gate {
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Jitter == nil {
		c.Jitter = rand.Float64
	}
	if c.Saturated == nil {
		c.Saturated = func() bool { return false }
	}
	g := &Gate{config: c, wake: make(chan struct{}, 1), tenants: make(map[int64]*tenant), refusals: make(map[row]*refusals)}
	for s := range g.in {
		g.in[s] = make(map[*Pass]struct{})
	}
	return g
}

// Enter admits an upload of size bytes, or -1, by the token's bearer. It waits for up to Config.Wait.
//
// The error is, or wraps, an *upload.BusyError if there is no room: OverLimit if the tenant's limit is reached. It is a *spool.FullError,
// and not busy, if the upload would not fit into the spool alone; wraps upload.ErrUnavailable if the spool is unusable; or is the cause of
// ctx. Nothing is held after an error.
func (g *Gate) Enter(ctx context.Context, token upload.Token, size int64) (*Pass, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	p, err := g.arrive(&token, size)
	if err != nil {
		return nil, err
	}
	defer func() {
		if p.workspace == nil { // even after a panic
			_ = p.Close() // there is no workspace to close
		}
	}()
	if err := g.lease(ctx, p); err != nil {
		return nil, err
	}
	for p.workspace == nil {
		if err := g.await(ctx, p, waiting); err != nil {
			return nil, err
		}
		if err := g.create(ctx, p); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// lease waits for a lease of p's tenant.
func (g *Gate) lease(ctx context.Context, p *Pass) error {
	if g.config.Leases == nil {
		return nil
	}
	limited, cancel := context.WithTimeoutCause(ctx, p.deadline.Sub(g.config.Now()), errWaited)
	defer cancel()
	release, err := g.config.Leases.Take(limited, p.tenant.id, p.limit)
	if err == nil {
		p.update(func(now time.Time) {
			p.release = release
			p.enter(leased, now)
		})
	}
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.Is(err, errWaited):
		return g.refuseLease(p)
	case err != nil:
		return unavailable(fmt.Errorf("take a lease of tenant %d: %w", p.tenant.id, err))
	}
	return nil
}

// create makes the workspace of an admitted upload. If its room went to a growing workspace, p must wait on.
func (g *Gate) create(ctx context.Context, p *Pass) error {
	limited, cancel := context.WithTimeoutCause(ctx, max(p.deadline.Sub(g.config.Now()), leastCreate), errWaited)
	defer cancel()
	workspace, err := g.config.Spool.Create(limited, p.declared)
	p.update(func(time.Time) {
		p.workspace = workspace
		g.promised -= p.promised
		p.promised = 0
		if err == nil {
			delete(g.refusals, row{tenant: p.tenant.id})
		}
	})
	full := (*spool.FullError)(nil)
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.Is(err, errWaited), errors.As(err, &full) && full.Busy:
		return g.goBack(p, err)
	case full != nil:
		return err
	}
	return unavailable(err)
}

// goBack takes back what p was admitted with. It returns nil if p has time to wait on, else the error for its lack of room.
func (g *Gate) goBack(p *Pass, why error) error {
	now := g.config.Now()
	g.mu.Lock()
	defer g.mu.Unlock()
	p.exit(now)
	if now.Before(p.deadline) {
		p.notBefore = now.Add(tick)
		return nil
	}
	return fmt.Errorf("%w: %w", g.refusal(p, lack{of: upload.LackSpool}, now), why)
}

// unavailable gives an error a kind, if it has none: what is unusable is as good as down.
func unavailable(err error) error {
	if upload.OutcomeOf(err) == upload.Failed && !errors.Is(err, upload.ErrUnavailable) {
		return fmt.Errorf("%w: %w", upload.ErrUnavailable, err)
	}
	return err
}
