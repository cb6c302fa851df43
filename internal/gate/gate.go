// Package gate admits uploads, before a byte of their bodies is read, and keeps what each of them holds.
//
// An upload needs a lease of its tenant's limit, and then room on the instance: a receiving slot until its body has arrived, its bytes
// in the spool, and time. Time is short when the bytes admitted and not yet finished take, at the measured rate of work, half of
// an upload's deadline or longer, and the tenant's own do so at its share of the rate. An upload by URL also needs a fetch slot, once it is
// admitted. All of this is waited for within one budget, Config.Wait: clients in the field give up early and ignore Retry-After.
//
// # Order
//
// Each tenant has one line, in order of arrival. The next to be admitted is of the tenant with the fewest bytes admitted for its weight; the
// next to fetch, of the tenant with the fewest fetch slots for its weight. The head of the line is never overtaken: what comes free is
// kept for it, however much it needs. There are two exceptions. A tenant that has its share does not hold up others. And an upload that
// is hopeless, because the room it lacks comes back far too slowly, holds up none.
//
// # Shares
//
// The last quarter of the receiving slots, and of the spool, is open only to tenants below their share: the whole, divided by weight among
// the tenants that are here and one more, so that a tenant that is alone leaves something to the next (docs/adr/0010). A tenant has
// at most half of the fetch slots, and half of the places to wait for one; the last quarter of both together is for tenants that have
// none (docs/adr/0012). At most 1,024 uploads wait, and a tenant's at most as many as could still come.
//
// # Not promised
//
// A tenant's share is of this instance alone; its limit is as wide as the Leases are. The rate of work is measured, so a change of it is known
// only after a while.
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
	// tick is how often the line is looked at where no event tells of a change: room that other programs left, a rate that fades.
	tick = 250 * time.Millisecond
	// returning is how long a lease of an upload that was refused may be on its way back.
	returning = 500 * time.Millisecond
	// leastCreate is how long making a workspace may take at least. Its room is there by then: rather late than refused.
	leastCreate = 5 * time.Second
	// leastFetch is what an admitted upload has at least to find a fetch slot that is free: its time may have passed by then.
	leastFetch = 100 * time.Millisecond
	// patience is how long an upload waits for its answer beyond its time, when the spool's disk hangs.
	patience = 2 * time.Second
	// refusalMemory is for how long a refusal makes slow uploads give way: the client comes back after seconds.
	refusalMemory = 10 * time.Second
	// unknownSize is what an upload of unknown size counts as at first: what the spool reserves for it.
	unknownSize = 16 << 20
	// leastUnknown is the same in a spool that has less.
	leastUnknown = 256 << 10
)

var (
	// errWaited ends a wait at the gate.
	errWaited = errors.New("waited long enough to be admitted")
	// errMeasuring ends one while the spool's disk hangs.
	errMeasuring = fmt.Errorf("%w: measuring the spool takes too long", upload.ErrUnavailable)
)

// Leases keeps the number of a tenant's uploads within its limit. Implementations are safe for concurrent use.
type Leases interface {
	// Take waits for one of the tenant's leases, of which there are limit, until ctx ends; then it returns its cause. It looks for one
	// once at least, though ctx has ended: that takes as long as it takes.
	// release gives the lease back, and is called once.
	Take(ctx context.Context, tenant int64, limit int) (release func(), err error)
}

// Spool has the uploads' room on disk; a [spool.Spool] does.
type Spool interface {
	// Create makes a workspace with room for so many bytes, or -1. It does not wait for room.
	Create(ctx context.Context, size int64) (*spool.Workspace, error)
	// Usage tells what room there is.
	Usage(ctx context.Context) (spool.Usage, error)
	// Contended reports whether live workspaces wait for more room.
	Contended() bool
}

// Config is what a Gate works with and within.
type Config struct {
	Leases         Leases        // nil: tenants have no limit
	TenantUploads  int           // uploads of a tenant at once, times its weight; at least 1
	Spool          Spool         // where bodies go
	ReceivingSlots int           // bodies received at once; at least 1
	FetchSlots     int           // archives downloaded at once, for uploads by URL
	FetchLine      int           // uploads that may wait for a fetch slot
	Wait           time.Duration // how long an upload waits for all it needs; 0: no longer than a lease takes
	Timeout        time.Duration // an upload's deadline, once its body has arrived; 0: time is never short
	// Saturated reports whether work waits for slots: only then does what is done show what can be done. It is called
	// often, and returns at once. Nil: never.
	Saturated func() bool
	// Now is the clock; nil: time.Now.
	Now func() time.Time
	// Jitter returns numbers from 0 to 1, by which Retry-After is spread. It is not called concurrently. Nil: rand.Float64.
	Jitter func() float64
}

// Gate admits uploads. It is safe for concurrent use.
type Gate struct {
	config Config
	wake   chan struct{} // holds a token when something has changed for those in line

	mu         sync.Mutex // guards what follows, tenants and passes
	tenants    map[int64]*tenant
	ushering   bool // an usher is at work
	arrivals   int64
	in         [states]map[*Pass]struct{}
	kept       [states]recent
	bytes      int64 // sizes of the uploads admitted
	promised   int64 // bytes of those that are about to get their workspace
	unfinished int64 // bytes admitted and not dealt with
	work       workRate
	refused    [states]time.Time   // when an upload was last refused what others have: room, as inside, or a fetch slot
	turnedAway time.Time           // when one was last refused for what the instance lacks: Stats tells it
	refusals   map[int64]*refusals // of tenants, since an upload of theirs was last admitted
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
	g := &Gate{config: c, wake: make(chan struct{}, 1), tenants: make(map[int64]*tenant), refusals: make(map[int64]*refusals)}
	for s := range g.in {
		g.in[s] = make(map[*Pass]struct{})
	}
	return g
}

// Enter admits an upload of size bytes by the token's bearer; -1 says that its size is not known. It waits for up to Config.Wait.
//
// The error is, or wraps, an *upload.BusyError where there is no room: OverLimit where it is the tenant's limit that
// is reached. It is a *spool.FullError, and not busy, where the upload would not fit into the spool alone; wraps upload.ErrUnavailable where the spool can't be used;
// or is the cause of ctx. Nothing is held after an error.
func (g *Gate) Enter(ctx context.Context, token upload.Token, size int64) (*Pass, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	p, err := g.arrive(&token, size)
	if err != nil {
		return nil, err
	}
	defer func() {
		if p.workspace == nil { // also after a panic
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

// create makes the workspace of an upload that has been admitted. Where its room went to a workspace that grew, p is to wait on.
func (g *Gate) create(ctx context.Context, p *Pass) error {
	limited, cancel := context.WithTimeoutCause(ctx, max(p.deadline.Sub(g.config.Now()), leastCreate), errWaited)
	defer cancel()
	workspace, err := g.config.Spool.Create(limited, p.declared)
	p.update(func(time.Time) {
		p.workspace = workspace
		g.promised -= p.promised
		p.promised = 0
		if err == nil {
			delete(g.refusals, p.tenant.id)
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

// goBack takes from p what it was admitted with. It returns nil where p has time to wait on, and else the error for want of its room.
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

// unavailable gives an error its kind, where it has none: what can't be used at all is as good as down.
func unavailable(err error) error {
	if upload.OutcomeOf(err) == upload.Failed && !errors.Is(err, upload.ErrUnavailable) {
		return fmt.Errorf("%w: %w", upload.ErrUnavailable, err)
	}
	return err
}
