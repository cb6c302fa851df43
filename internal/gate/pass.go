package gate

import (
	"context"
	"slices"
	"time"

	"tecken-upload/internal/spool"
	"tecken-upload/internal/upload"
)

// A state is what a pass waits for, or has. A pass may be in several at once.
type state int

const (
	leasing      state = iota // waits for a lease
	leased                    // has one
	waiting                   // in line for room
	receiving                 // has a receiving slot
	inside                    // admitted
	fetchWaiting              // in line for a fetch slot
	fetching                  // has one
	states
)

// A tenant is known while it has passes. Gate.mu guards its fields, except id.
type tenant struct {
	id      int64
	weight  int
	passes  map[*Pass]struct{}
	line    []*Pass // those waiting for room or for a fetch slot, in order of arrival
	count   [states]int
	bytes   int64     // sizes of the admitted uploads
	leases  recent    // how long they were kept
	refused time.Time // when an upload with a lease was last refused for room
}

// present reports whether the tenant has a share of the instance.
func (t *tenant) present() bool { return t.count[inside]+t.count[waiting] > 0 }

// idle reports whether t has leases without an upload in progress: of uploads that wait for room, or were just refused it.
func (t *tenant) idle(now time.Time) bool {
	return t.count[leased] > t.count[inside] || now.Sub(t.refused) < returning
}

// load is what the tenant has for its weight: admitted bytes, or fetch slots, by what is waited for.
func (t *tenant) load(of state) float64 {
	if of == fetchWaiting {
		return float64(t.count[fetching]) / float64(t.weight)
	}
	return float64(t.bytes) / float64(t.weight)
}

// first returns the first in line that waits for what; there must be one.
func (t *tenant) first(what state) *Pass {
	return t.line[slices.IndexFunc(t.line, func(p *Pass) bool { return p.in(what) })]
}

// left returns the unfinished bytes of the tenant's admitted uploads.
func (t *tenant) left() (sum int64) {
	for p := range t.passes {
		sum += p.left
	}
	return sum
}

// A Pass is what one upload holds of the instance, from Enter until Close. Its methods are safe for concurrent use.
type Pass struct {
	gate      *Gate
	tenant    *tenant
	limit     int   // of the tenant's uploads
	declared  int64 // bytes; -1 while unknown
	deadline  time.Time
	order     int64            // of arrival
	workspace *spool.Workspace // changed by Enter alone, with Gate.mu held

	// Gate.mu guards the fields below.
	since     [states]time.Time // when it entered each state; zero: not in it
	notBefore time.Time         // not admitted until then: its room was taken before it had it
	answered  chan struct{}     // closed once it is served or refused
	err       error             // why it was refused
	seen      bool              // was found to lack something
	release   func()            // gives the lease back; may be nil
	size      int64             // bytes it counts as
	left      int64             // unfinished bytes of these
	promised  int64             // bytes it is about to reserve in the spool
}

var _ upload.Pass = (*Pass)(nil)

// arrive makes a pass that waits for its lease, unless too many wait already.
func (g *Gate) arrive(token *upload.Token, size int64) (*Pass, error) {
	now := g.config.Now()
	g.mu.Lock()
	defer g.mu.Unlock()
	t := g.tenants[token.ID]
	if t == nil {
		t = &tenant{id: token.ID, passes: make(map[*Pass]struct{})}
	}
	t.weight = max(1, token.Weight)
	p := &Pass{
		gate: g, tenant: t, limit: max(1, g.config.TenantUploads) * t.weight, declared: size, deadline: now.Add(g.config.Wait), order: g.arrivals, size: size,
	}
	if size < 0 {
		p.size = unknownSize
	}
	if t.count[leasing]+t.count[waiting] >= maxWaiting-len(g.in[leasing])-len(g.in[waiting]) {
		return nil, g.refuseLine(p, now)
	}
	g.arrivals++
	g.tenants[t.id] = t
	t.passes[p] = struct{}{}
	p.enter(leasing, now)
	return p, nil
}

// enter puts p into a state. Called with mu held.
func (p *Pass) enter(s state, now time.Time) {
	p.since[s] = now
	p.tenant.count[s]++
	p.gate.in[s][p] = struct{}{}
}

// in reports whether p is in a state. Called with mu held.
func (p *Pass) in(s state) bool { return !p.since[s].IsZero() }

// leave takes p out of a state, if it is in it. Called with mu held.
func (p *Pass) leave(s state, now time.Time) {
	if !p.in(s) {
		return
	}
	if p.workspace != nil || s == waiting { // else it was not used
		p.recent(s).add(p.hold(s, now))
	}
	p.since[s] = time.Time{}
	p.tenant.count[s]--
	delete(p.gate.in[s], p)
}

// recent returns how long others were in a state: for a lease, others of p's tenant. Called with mu held.
func (p *Pass) recent(s state) *recent {
	if s == leased {
		return &p.tenant.leases
	}
	return &p.gate.kept[s]
}

// hold tells for how long p has been in a state, and with how much. Called with mu held.
func (p *Pass) hold(s state, now time.Time) hold {
	if s == inside {
		return hold{now.Sub(p.since[s]), max(1, p.size)}
	}
	return hold{now.Sub(p.since[s]), 1}
}

// queue puts p in line, by its arrival. Called with mu held.
func (p *Pass) queue(what state, now time.Time) {
	p.leave(leasing, now)
	p.enter(what, now)
	p.seen, p.err, p.answered = false, nil, make(chan struct{})
	at, _ := slices.BinarySearchFunc(p.tenant.line, p.order, func(other *Pass, order int64) int { return int(other.order - order) })
	p.tenant.line = slices.Insert(p.tenant.line, at, p)
}

// out takes p out of the line. Called with mu held.
func (p *Pass) out(now time.Time) {
	p.leave(leasing, now)
	p.leave(waiting, now)
	p.leave(fetchWaiting, now)
	p.tenant.line = slices.DeleteFunc(p.tenant.line, func(other *Pass) bool { return other == p })
}

// serve gives p what it waits for, and need bytes of the spool. Called with mu held.
func (p *Pass) serve(now time.Time, need int64) {
	if p.in(fetchWaiting) {
		p.enter(fetching, now)
		delete(p.gate.refusals, row{p.tenant.id, true})
	} else {
		p.enter(inside, now)
		p.enter(receiving, now)
		p.left, p.promised = p.size, need
		p.tenant.bytes += p.size
		p.gate.bytes += p.size
		p.gate.unfinished += p.left
		p.gate.promised += need
	}
	p.out(now)
	close(p.answered)
}

// refuse ends p's wait with err. Called with mu held.
func (p *Pass) refuse(now time.Time, err error) {
	p.out(now)
	p.err = err
	close(p.answered)
}

// exit takes back what p was admitted with. Called with mu held.
func (p *Pass) exit(now time.Time) {
	g, t := p.gate, p.tenant
	if !p.in(inside) {
		return
	}
	p.leave(receiving, now)
	p.leave(fetching, now)
	p.leave(inside, now)
	p.finish(p.left)
	g.promised -= p.promised
	p.promised = 0
	t.bytes -= p.size
	g.bytes -= p.size
}

// resize makes p count as size bytes. Called with mu held.
func (p *Pass) resize(size int64) {
	more := size - p.size
	p.size += more
	p.tenant.bytes += more
	p.gate.bytes += more
	p.finish(p.left - max(0, p.left+more))
}

// finish subtracts finished bytes. Called with mu held.
func (p *Pass) finish(bytes int64) {
	p.left -= bytes
	p.gate.unfinished -= bytes
}

// Workspace returns the upload's workspace.
func (p *Pass) Workspace() *spool.Workspace { return p.workspace }

// Grow reports the size of the archive, if it becomes known while the archive arrives.
func (p *Pass) Grow(size int64) {
	p.update(func(time.Time) {
		if p.in(receiving) {
			p.declared = size
			p.resize(size)
		}
	})
}

// Received reports the whole archive in the workspace, with its size. It gives back the receiving slot and the fetch slot.
func (p *Pass) Received(size int64) {
	p.update(func(now time.Time) {
		if p.in(receiving) {
			p.leave(receiving, now)
			p.leave(fetching, now)
			p.resize(size)
		}
	})
}

// update changes p, and has the line looked at.
func (p *Pass) update(change func(now time.Time)) {
	g := p.gate
	now, saturated := g.config.Now(), g.config.Saturated()
	g.mu.Lock()
	defer g.mu.Unlock()
	g.work.advance(now, saturated)
	change(now)
	g.changed()
}

// Done reports a finished piece of processing, with the bytes of the archive finished since the last call.
func (p *Pass) Done(bytes int64) {
	g := p.gate
	now, saturated := g.config.Now(), g.config.Saturated()
	g.mu.Lock()
	defer g.mu.Unlock()
	g.work.worked(now, saturated, bytes)
	if p.in(inside) {
		p.finish(min(bytes, p.left)) // what waits for time is looked at each tick
	}
}

// FetchSlot waits in line for a fetch slot, until Config.Wait after Enter began. Received or Close gives it back. The error is an
// *upload.BusyError, OverLimit if slots are free but not for this tenant; wraps upload.ErrUnavailable; or is the cause of ctx. After an error
// the pass is unchanged. FetchSlot is not called again once the pass has its slot.
func (p *Pass) FetchSlot(ctx context.Context) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	err := p.gate.await(ctx, p, fetchWaiting)
	if err != nil {
		p.update(func(now time.Time) {
			p.out(now)
			p.leave(fetching, now) // it may have come with the end of ctx
		})
	}
	return err
}

// Contended reports whether others wait for what p holds, or were just refused it: then a slow upload is in the way.
func (p *Pass) Contended() bool {
	g := p.gate
	if g.config.Spool.Contended() {
		return true
	}
	now := g.config.Now()
	g.mu.Lock()
	defer g.mu.Unlock()
	lately := func(s state) bool { return now.Sub(g.refused[s]) < refusalMemory }
	return lately(inside) || g.short() || p.in(fetching) && (lately(fetching) || len(g.in[fetchWaiting]) > 0 && g.fetchesFull())
}

// Close closes the workspace and gives back all that p has. A second call does nothing. The error is the workspace's.
func (p *Pass) Close() (err error) {
	short := false
	if p.workspace != nil {
		err = p.workspace.Close()
		short = p.workspace.Refused()
	}
	var release func()
	p.update(func(now time.Time) {
		g := p.gate
		p.out(now)
		if short && p.in(inside) {
			g.refused[inside], g.turnedAway = now, now
		}
		p.exit(now)
		p.leave(leased, now)
		release, p.release = p.release, nil
		delete(p.tenant.passes, p)
		if len(p.tenant.passes) == 0 && g.tenants[p.tenant.id] == p.tenant {
			delete(g.tenants, p.tenant.id)
		}
	})
	if release != nil {
		release()
	}
	return err
}
