package gate

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"tecken-upload/internal/background"
	"tecken-upload/internal/spool"
)

// await waits in line until p is served or refused. The usher decides both, one goroutine that exists while anything is in line. So there
// is one order, and a hung disk delays no client that leaves.
func (g *Gate) await(ctx context.Context, p *Pass, what state) error {
	answered, left, err := g.queue(ctx, p, what)
	if err != nil {
		return err
	}
	hung := time.NewTimer(max(0, left) + patience)
	defer hung.Stop()
	select {
	case <-answered:
		return p.err
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-hung.C:
		return errMeasuring
	}
}

// queue puts p in line, and starts an usher if needed. It returns a channel that is closed when p is answered, and how long p may wait.
func (g *Gate) queue(ctx context.Context, p *Pass, what state) (answered <-chan struct{}, left time.Duration, err error) {
	now := g.config.Now()
	g.mu.Lock()
	defer g.mu.Unlock()
	if what == fetchWaiting {
		if err := g.refuseFetch(p, now); err != nil {
			return nil, 0, err
		}
		p.deadline = later(p.deadline, now.Add(leastFetch))
	}
	p.queue(what, now)
	if g.ushering {
		g.changed()
	} else {
		g.ushering = true
		ctx := context.WithoutCancel(ctx)
		background.Go("gate", func() { _ = background.Loop(ctx, "gate", g.usher) })
	}
	return p.answered, p.deadline.Sub(now), nil
}

// changed wakes the usher because an upload may fit now, or the line is empty. Called with mu held.
func (g *Gate) changed() {
	if !g.ushering {
		return
	}
	select {
	case g.wake <- struct{}{}:
	default:
	}
}

// usher serves what fits, and refuses what has waited long enough, until the line is empty.
func (g *Gate) usher(ctx context.Context) error {
	timer := time.NewTimer(tick)
	defer timer.Stop()
	for {
		next, more := g.round(ctx)
		if !more {
			return nil
		}
		timer.Reset(next)
		select {
		case <-g.wake:
		case <-timer.C:
		}
	}
}

// round is one look at the line. It returns the longest time until the next look, and whether anything is still in line.
func (g *Gate) round(ctx context.Context) (next time.Duration, more bool) {
	g.mu.Lock()
	promised := g.promised
	g.mu.Unlock()
	usage := g.measure(ctx)
	saturated := g.config.Saturated()
	g.mu.Lock()
	defer g.mu.Unlock()
	g.work.advance(g.config.Now(), saturated)
	next, g.ushering = g.scan(g.look(usage, promised))
	return next, g.ushering
}

// measure measures the spool, or returns nil. Called without mu: the disk may hang.
func (g *Gate) measure(ctx context.Context) *spool.Usage {
	usage, err := g.config.Spool.Usage(ctx)
	if err != nil {
		return nil
	}
	return &usage
}

// scan serves what there is room for, and refuses what has waited long enough. It returns the longest time until the next scan, and whether
// anything is still in line. Called with mu held.
func (g *Gate) scan(r *room) (next time.Duration, more bool) {
	g.refuseImpossible(r)
	for refused := true; refused; { // a refusal makes room for others
		blocked := g.serve(r, waiting)
		g.serve(r, fetchWaiting)
		next, refused = g.refuseLate(r, blocked)
	}
	return next, len(g.in[waiting])+len(g.in[fetchWaiting]) > 0
}

// serve serves waiting passes as far as the room goes. It returns what the head of the line lacks. Called with mu held.
func (g *Gate) serve(r *room, what state) (blocked lack) {
	for {
		p, lacks := g.next(r, what)
		if p == nil {
			return lacks
		}
		need := r.need(p)
		p.serve(r.now, need)
		if what == waiting {
			r.free -= need
		}
	}
}

// next returns the next pass to serve, or what blocks those that lack nothing themselves. Called with mu held.
func (g *Gate) next(r *room, what state) (p *Pass, blocked lack) {
	if l := g.full(what); l.of != "" {
		return nil, l
	}
	for _, t := range g.inOrder(what) {
		for _, p := range t.line {
			if !p.in(what) {
				continue
			}
			l := g.lacks(p, r)
			if l.of == "" {
				return p, l
			}
			if !l.own && g.hopeless(p, l, r) {
				continue
			}
			blocked = l
			break
		}
		if blocked.of != "" && !blocked.own {
			break
		}
	}
	return nil, blocked
}

// inOrder returns the tenants with uploads in line, the first to serve first. Called with mu held.
func (g *Gate) inOrder(what state) []*tenant {
	var tenants []*tenant
	for _, t := range g.tenants {
		if t.count[what] > 0 {
			tenants = append(tenants, t)
		}
	}
	slices.SortFunc(tenants, func(a, b *tenant) int {
		return cmp.Or(cmp.Compare(a.load(what), b.load(what)), cmp.Compare(a.first(what).order, b.first(what).order))
	})
	return tenants
}

// refuseLate refuses what has waited long enough. It returns the time until the next refusal. Called with mu held.
func (g *Gate) refuseLate(r *room, blocked lack) (next time.Duration, refused bool) {
	next = tick
	var heldUp []*Pass
	for _, what := range [...]state{waiting, fetchWaiting} {
		for p := range g.in[what] {
			p.seen = true
			left := p.deadline.Sub(r.now)
			if left > 0 {
				next = min(next, left)
			} else if l := g.lacks(p, r); l.of != "" {
				p.refuse(r.now, g.refusal(p, l, r.now))
				refused = true
			} else {
				heldUp = append(heldUp, p)
			}
		}
	}
	if refused {
		return next, true // they may have blocked the others
	}
	for _, p := range heldUp {
		p.refuse(r.now, g.refusal(p, blocked, r.now))
	}
	return next, len(heldUp) > 0
}

// refuseImpossible refuses what would not fit into the spool alone. Called with mu held.
func (g *Gate) refuseImpossible(r *room) {
	if r.usage == nil {
		return
	}
	for p := range g.in[waiting] {
		need := r.need(p)
		if need == 0 {
			continue
		}
		if err := r.usage.Impossible(need); err != nil {
			p.refuse(r.now, fmt.Errorf("reserve room: %w", err))
		}
	}
}

// short reports whether an upload waits for room. Called with mu held.
func (g *Gate) short() bool {
	for p := range g.in[waiting] {
		if p.seen {
			return true
		}
	}
	return false
}
