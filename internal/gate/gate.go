// Package gate decides, before a byte of a body is read, whether this instance takes an upload now.
//
// An upload needs, in this order, a lease of its tenant's limit, and then room on the instance: a receiving place until its
// body has arrived, its bytes in the spool, and time. Time is short when the bytes admitted and not yet finished would, at the
// measured rate of work, take half of an upload's deadline or longer, and the tenant's own would at its share of
// the rate: work that is accepted only to time out is thrown away. For a tenant that has nothing admitted the rate is reckoned as if nobody
// sent tiny files: of those, which cost a call each, storage does few bytes in a second. An instance that has admitted nothing
// has time for anything.
//
// Field clients do not honour Retry-After and give up early, so a caller is rather kept waiting for a while than
// refused. All of that is within one budget, Config.Wait.
//
// # Order
//
// The next to be let in is of the tenant whose admitted uploads have the least bytes for its weight; within a tenant, and between
// equals, it is who came first. Nobody passes the first for whom there is no room: what comes free is kept for it, however much
// it needs. There are two exceptions. One whose tenant has its share, below, is passed by other tenants. And one
// that is clearly hopeless, because what it lacks would at the measured rates take twice the time that it has left, is passed by all: holding
// them up would not let it in.
//
// The last quarter of the receiving places, and of the spool, is open only to tenants below their share: the
// whole, divided by weight among the tenants that have an admitted upload or wait for room, and one more, so that even a
// tenant that is alone leaves something to whoever comes next. Of fewer than four places none is kept.
//
// At most 1,024 uploads wait, and a tenant's at most as many as could still come: 512 of one tenant, when no other is there. Whoever
// comes beyond that is refused at once.
//
// # Truth
//
// Nothing remembers that the instance was busy: every change lets in who fits, at once, and what changes without telling is looked
// at four times a second. Retry-After is calculated from what was measured: see retry.go.
//
// # Not promised
//
// Rates are measured, so a change of them is known only after a while: rate.go has the half-lives. A tenant's share is of this
// instance alone; its limit is as wide as the Leases are. An upload that waits for room has its lease: an instance says then what there
// is no room for, and not that the tenant is over its limit, but of those that wait on other instances it does not know.
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
	// tick is how often the line is looked at where nothing is told: room that other programs left, a rate that
	// is forgotten.
	tick = 250 * time.Millisecond
	// returning is how long a lease may be on its way back from one that was refused.
	returning = 500 * time.Millisecond
	// leastCreate is how long making a workspace may take at least. Its room is there by then: rather late than
	// refused.
	leastCreate = 5 * time.Second
	// patience is how long a caller waits for its answer beyond its time, when the spool's disk hangs.
	patience = 2 * time.Second
	// refusalMemory is for how long a refusal keeps the gate contended: clients come back after seconds.
	refusalMemory = 10 * time.Second
	// unknownSize is what an upload of unknown size counts as at first: what the spool reserves for it.
	unknownSize = 16 << 20
	// leastUnknown is the same in a spool that has not as much.
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
	// Take waits for one of the tenant's places, of which there are limit, until ctx ends; then it returns its cause. It looks for one
	// once at least, though ctx has ended: that takes as long as it takes.
	// release gives the place back, and is called once.
	Take(ctx context.Context, tenant int64, limit int) (release func(), err error)
}

// Spool has the uploads' room on disk; a [spool.Spool] does.
type Spool interface {
	// Create makes a workspace with room for so many bytes, or -1. It is called when there is room, and yet is to wait for it a moment:
	// bytes that are being allocated may count twice.
	Create(ctx context.Context, size int64) (*spool.Workspace, error)
	// Usage tells what room there is.
	Usage(ctx context.Context) (spool.Usage, error)
	// Contended reports whether live workspaces wait for more room, or were refused it a moment ago.
	Contended() bool
}

// Config is what a Gate works with and within.
type Config struct {
	Leases        Leases        // nil: tenants have no limit
	TenantUploads int           // uploads of a tenant at once, times its weight; at least 1
	Spool         Spool         // where bodies go
	Places        int           // bodies received at once; at least 1
	Wait          time.Duration // how long a caller is kept waiting; 0: no longer than a lease takes
	Timeout       time.Duration // an upload's deadline, once its body has arrived; 0: time is never short
	// Saturated reports whether work waits for slots: only then does what is done tell what can be done. It is called
	// often, from whatever works, and returns at once. Nil: never.
	Saturated func() bool
	// Now is the clock; nil: time.Now.
	Now func() time.Time
	// Jitter returns numbers from 0 to 1, by which Retry-After is spread. It is not called concurrently. Nil: rand.Float64.
	Jitter func() float64
}

// Gate lets uploads in. It is safe for concurrent use.
type Gate struct {
	config Config
	wake   chan struct{} // holds a token when something has changed for those who wait

	mu         sync.Mutex // guards what follows, tenants and visits
	tenants    map[int64]*tenant
	ushering   bool      // an usher is at work
	measuring  time.Time // since when it measures the spool; zero while it does not
	seen       *room     // at the last look
	blocked    lack      // then: what kept those out who lacked nothing themselves
	timely     bool      // then somebody lacked time: work that is done may let them in
	taking     int       // visits that wait for a lease
	waiting    int       // visits that wait for room
	leases     int       // leases held
	arrivals   int64
	inside     turnover // uploads admitted
	places     turnover // receiving places taken
	bytes      turnover // sizes of the uploads admitted
	fetching   turnover // turns to be fetched from elsewhere
	promised   int64    // bytes of those that are about to get their workspace
	unfinished int64    // bytes admitted and not dealt with
	work       workRate
	refused    time.Time // when an upload was last refused for room
	turnedAway time.Time // the same, or because too many waited: Stats tells it, and nothing here heeds it
}

// NewGate makes a gate.
func NewGate(c Config) *Gate {
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Jitter == nil {
		c.Jitter = rand.Float64
	}
	if c.Saturated == nil {
		c.Saturated = func() bool { return false }
	}
	return &Gate{config: c, wake: make(chan struct{}, 1), tenants: make(map[int64]*tenant)}
}

// Enter admits an upload of size bytes by the token's bearer; -1 says that its size is not known. It waits for up to Config.Wait.
//
// The error is, or wraps, an *upload.BusyError where there is no room: OverLimit where it is the tenant's limit that
// is reached. It is a *spool.FullError, and not busy, where the upload would not fit into the spool alone; wraps upload.ErrUnavailable where the spool can't be used;
// or is the cause of ctx. Nothing is held after an error.
func (g *Gate) Enter(ctx context.Context, token upload.Token, size int64) (upload.Place, error) {
	if ctx.Err() != nil {
		return upload.Place{}, context.Cause(ctx)
	}
	v, err := g.arrive(&token, size)
	if err != nil {
		return upload.Place{}, err
	}
	admitted := false
	defer func() {
		if !admitted { // also after a panic
			v.leave()
		}
	}()
	if err := g.take(ctx, v); err != nil {
		return upload.Place{}, err
	}
	if err := g.await(ctx, v); err != nil {
		return upload.Place{}, err
	}
	workspace, err := g.create(ctx, v)
	if err != nil {
		return upload.Place{}, err
	}
	admitted = true
	return upload.Place{Workspace: workspace, Sized: v.sized, Arrived: v.arrived, Worked: v.worked, Leave: v.leave}, nil
}

// Contended reports whether uploads wait, or were refused a moment ago, for room that others hold.
func (g *Gate) Contended() bool {
	if g.config.Spool.Contended() {
		return true
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.config.Now().Sub(g.refused) < refusalMemory || g.short()
}

// short reports whether somebody waits for whom there is no room. Called with mu held.
func (g *Gate) short() bool {
	for _, t := range g.tenants {
		if len(t.waiting) > 0 && t.waiting[0].seen {
			return true
		}
	}
	return false
}

// take waits for a lease of v's tenant.
func (g *Gate) take(ctx context.Context, v *visit) error {
	if g.config.Leases == nil {
		return nil
	}
	limited, cancel := context.WithTimeoutCause(ctx, v.deadline.Sub(g.config.Now()), errWaited)
	defer cancel()
	release, err := g.config.Leases.Take(limited, v.tenant.id, v.limit)
	if err == nil {
		v.hold(release)
	}
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.Is(err, errWaited):
		return g.refuseLimited(v)
	case err != nil:
		return unavailable(fmt.Errorf("take a lease of tenant %d: %w", v.tenant.id, err))
	}
	return nil
}

// create makes the workspace of an upload that has been let in.
func (g *Gate) create(ctx context.Context, v *visit) (*spool.Workspace, error) {
	limited, cancel := context.WithTimeoutCause(ctx, max(v.deadline.Sub(g.config.Now()), leastCreate), errWaited)
	defer cancel()
	workspace, err := g.config.Spool.Create(limited, v.declared)
	v.created()
	if err == nil {
		workspace.Watch(v.grown)
		return workspace, nil
	}
	full := (*spool.FullError)(nil)
	switch {
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case errors.Is(err, errWaited), errors.As(err, &full) && full.Busy:
		// Room that was there when v was let in went to a workspace that grew.
		return nil, fmt.Errorf("%w: %w", g.refuseAfterAll(v), err)
	case full != nil:
		return nil, err
	}
	return nil, unavailable(err)
}

// unavailable gives an error its kind, where it has none: what can't be used at all is as good as down.
func unavailable(err error) error {
	if upload.OutcomeOf(err) == upload.Failed && !errors.Is(err, upload.ErrUnavailable) {
		return fmt.Errorf("%w: %w", upload.ErrUnavailable, err)
	}
	return err
}
