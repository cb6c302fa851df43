package gate

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"tecken-upload/internal/background"
	"tecken-upload/internal/spool"
	"tecken-upload/internal/upload"
)

// await waits in line until v is let in or refused. Lets in, and refuses, the usher: one goroutine, which is there while
// anybody waits. So there is one order, and a disk that hangs holds up nobody who leaves.
func (g *Gate) await(ctx context.Context, v *visit) error {
	g.mu.Lock()
	v.queue()
	if g.ushering {
		g.changed()
	} else {
		g.ushering = true
		ctx := context.WithoutCancel(ctx)
		background.Go("gate", func() { _ = background.Loop(ctx, "gate", g.usher) })
	}
	g.mu.Unlock()
	hung := time.NewTimer(max(0, v.deadline.Sub(g.config.Now())) + patience)
	defer hung.Stop()
	select {
	case <-v.answered:
		return v.err
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-hung.C:
		return errMeasuring
	}
}

// changed tells the usher that somebody may fit now, or that nobody waits any more. Called with mu held.
func (g *Gate) changed() {
	if !g.ushering {
		return
	}
	select {
	case g.wake <- struct{}{}:
	default:
	}
}

// usher lets in who fits and refuses those whose time is over, until nobody waits.
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

// round is one look at the line. It returns after what time to look again at the latest, and whether anybody waits still.
func (g *Gate) round(ctx context.Context) (next time.Duration, more bool) {
	promised := g.beginRound()
	usage := g.measure(ctx)
	saturated := g.config.Saturated()
	g.mu.Lock()
	defer g.mu.Unlock()
	g.work.advance(g.config.Now(), saturated)
	g.measuring = time.Time{}
	g.seen = g.look(usage, promised)
	next, g.ushering = g.serve(g.seen)
	return next, g.ushering
}

// beginRound notes that the spool is being measured, and returns what is about to be reserved in it.
func (g *Gate) beginRound() (promised int64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.measuring = g.config.Now()
	return g.promised
}

// measure measures the spool; nil where that can't be done. Not called with mu held: the disk may hang.
func (g *Gate) measure(ctx context.Context) *spool.Usage {
	usage, err := g.config.Spool.Usage(ctx)
	if err != nil {
		return nil
	}
	return &usage
}

// serve lets in whom there is room for, and refuses those whose time is over. It returns after what time to look
// again at the latest, and whether anybody waits still. Called with mu held.
func (g *Gate) serve(r *room) (next time.Duration, more bool) {
	g.timely = false
	g.refuseImpossible(r)
	for refused := true; refused; { // who was refused makes way for others
		var v *visit
		var blocked lack
		for v, blocked = g.next(r); v != nil; v, blocked = g.next(r) {
			need := r.need(v)
			v.admit(r.now, need)
			r.free -= need
		}
		g.blocked = blocked
		next, refused = g.refuseLate(r, blocked)
	}
	return next, g.waiting > 0
}

// refuseLate refuses those whose time is over. It returns after what time to do so again. Called with mu held.
func (g *Gate) refuseLate(r *room, blocked lack) (next time.Duration, refused bool) {
	next = tick
	var heldUp []*visit
	for _, v := range g.inLine() {
		v.seen = true
		left := v.deadline.Sub(r.now)
		if left > 0 {
			next = min(next, left)
			continue
		}
		if l := g.lacks(v, r); l.of != "" {
			v.refuse(g.refuse(r, l))
			v.tenant.refused = r.now
			refused = true
		} else {
			heldUp = append(heldUp, v)
		}
	}
	if refused {
		return next, true // it may have been those who held the others up
	}
	for _, v := range heldUp {
		v.refuse(g.refuse(r, blocked))
		v.tenant.refused = r.now
	}
	return next, len(heldUp) > 0
}

// next returns who is to be let in next. Where it is nobody, it returns what keeps those out who lack nothing themselves. Called
// with mu held.
func (g *Gate) next(r *room) (v *visit, blocked lack) {
	if int(g.places.held) >= g.config.Places {
		return nil, lack{of: upload.LackReceiving} // what the first in line lacks
	}
	for _, t := range g.inOrder() {
		for _, v := range t.waiting {
			l := g.lacks(v, r)
			if l.of == "" {
				return v, l
			}
			if !l.own && hopeless(v, l, r.now) {
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

// hopeless reports whether what v lacks clearly won't be there before its time is over. What is not known is hoped for.
func hopeless(v *visit, l lack, now time.Time) bool {
	return l.wait > 2*v.deadline.Sub(now)
}

// inOrder returns the tenants that wait for room, the one to be served first first. Called with mu held.
func (g *Gate) inOrder() []*tenant {
	var tenants []*tenant
	for _, t := range g.tenants {
		if len(t.waiting) > 0 {
			tenants = append(tenants, t)
		}
	}
	slices.SortFunc(tenants, func(a, b *tenant) int {
		return cmp.Or(cmp.Compare(a.load(), b.load()), cmp.Compare(a.waiting[0].order, b.waiting[0].order))
	})
	return tenants
}

// inLine returns all who wait for room. Called with mu held.
func (g *Gate) inLine() []*visit {
	var all []*visit
	for _, t := range g.tenants {
		all = append(all, t.waiting...)
	}
	return all
}

// refuseImpossible refuses those who would not fit into the spool alone. Called with mu held.
func (g *Gate) refuseImpossible(r *room) {
	if r.usage == nil {
		return
	}
	for _, v := range g.inLine() {
		need := r.need(v)
		if need == 0 {
			continue
		}
		if err := r.usage.Impossible(need); err != nil {
			v.refuse(fmt.Errorf("reserve room: %w", err))
		}
	}
}
