package gate

import (
	"time"

	"tecken-upload/internal/spool"
	"tecken-upload/internal/upload"
)

// room is what there is for those who wait, at one look.
type room struct {
	now          time.Time
	usage        *spool.Usage // nil: the spool could not be measured
	free, budget int64        // bytes: what can be promised, what could be with no upload there
	growing      bool         // workspaces wait for room; they come first
	weights      int          // of the tenants present, and one for a newcomer
	rate         float64
	rateKnown    bool
	capacity     float64 // the rate, if no files were tiny
	returning    float64 // receiving places that come back in a second; 0: unknown
	leaving      float64 // bytes that leave the spool in a second; 0: unknown
}

// look gathers what there is. promised is what was about to be reserved before the spool was measured: it may be in usage, or
// not yet. Called with mu held.
func (g *Gate) look(usage *spool.Usage, promised int64) *room {
	r := &room{now: g.config.Now(), weights: 1}
	if usage != nil {
		r.usage = usage
		r.free, r.budget, r.growing = usage.Room-promised, usage.Budget, usage.Waiting > 0
	}
	for _, t := range g.tenants {
		if t.present() {
			r.weights += t.weight
		}
	}
	r.rate, r.rateKnown = g.work.perSecond()
	r.capacity = g.work.capacity()
	r.returning, r.leaving = g.places.perSecond(r.now), g.bytes.perSecond(r.now)
	return r
}

// need is what v takes of the spool at first.
func (r *room) need(v *visit) int64 {
	if v.declared < 0 && r.usage != nil && r.budget < unknownSize {
		return leastUnknown
	}
	return v.size
}

// below reports whether t, which has so much of a total, is below its share.
func (r *room) below(t *tenant, has, total int64) bool {
	return float64(has)*float64(r.weights) < float64(total)*float64(t.weight)
}

// open is the part of a total that is open to all tenants.
func open(total int64) int64 { return total - total/4 }

// A lack is what keeps an upload out. The zero value is none.
type lack struct {
	of   upload.Lack
	own  bool          // others may have it: the tenant has its share
	wait time.Duration // until there is enough, as far as is known; 0: unknown
}

// lacks tells what keeps v out. Where that is several things, it is what takes longest; and
// where one of them is of its tenant's share, it is so of all. Called with mu held.
func (g *Gate) lacks(v *visit, r *room) (worst lack) {
	own := false
	for _, l := range [...]lack{g.lacksPlace(v, r), g.lacksSpool(v, r), g.lacksTime(v, r)} {
		own = own || l.own
		if worst.of == "" || l.wait > worst.wait {
			worst = l
		}
		g.timely = g.timely || l.of == upload.LackTime
	}
	worst.own = own
	return worst
}

func (g *Gate) lacksPlace(v *visit, r *room) lack {
	total, used := int64(g.config.Places), int64(g.places.held)
	switch {
	case used >= total:
		return lack{of: upload.LackReceiving, wait: after(1, r.returning)}
	case used >= open(total) && !r.below(v.tenant, int64(v.tenant.places), total):
		return lack{of: upload.LackReceiving, own: true, wait: after(1, r.returning)}
	}
	return lack{}
}

func (g *Gate) lacksSpool(v *visit, r *room) lack {
	need := r.need(v)
	if r.usage == nil || need == 0 {
		return lack{} // the spool itself says what is wrong
	}
	used := r.budget - r.free
	switch {
	case need > r.free:
		return lack{of: upload.LackSpool, wait: after(float64(need-r.free), r.leaving)}
	case r.growing:
		// They take what is free, and nobody knows how much they will: as if it were all of it.
		return lack{of: upload.LackSpool, wait: after(float64(need), r.leaving)}
	case used+need > open(r.budget) && !r.below(v.tenant, v.tenant.bytes, r.budget):
		return lack{of: upload.LackSpool, own: true, wait: after(float64(used+need-open(r.budget)), r.leaving)}
	}
	return lack{}
}

func (g *Gate) lacksTime(v *visit, r *room) lack {
	if g.inside.held == 0 || !r.rateKnown || g.config.Timeout <= 0 {
		return lack{}
	}
	rate := r.rate
	if len(v.tenant.inside) == 0 {
		rate = r.capacity // what others send may be tiny files
	}
	within := rate * g.allowed().Seconds()
	over := float64(g.unfinished+v.size) - within
	if over < 0 {
		return lack{}
	}
	// Slots are shared: whatever the others have, and however slowly it arrives, a tenant's own work gets its share of them.
	share := float64(v.tenant.weight) / float64(r.weights)
	overShare := float64(v.tenant.left()+v.size) - within*share
	if overShare < 0 {
		return lack{}
	}
	return lack{of: upload.LackTime, own: true, wait: min(after(max(over, 1), rate), after(max(overShare, 1), rate*share))}
}

// allowed is how long the work admitted may take.
func (g *Gate) allowed() time.Duration { return g.config.Timeout / 2 }

// after returns how long so much takes at a rate per second, at most an hour; 0 where the rate is not known.
func after(much, rate float64) time.Duration {
	if rate <= 0 {
		return 0
	}
	return max(1, time.Duration(min(much/rate, time.Hour.Seconds())*float64(time.Second)))
}
