package gate

import (
	"time"

	"tecken-upload/internal/spool"
	"tecken-upload/internal/upload"
)

// room is the room for those in line, at one look.
type room struct {
	now          time.Time
	usage        *spool.Usage // nil: the spool could not be measured
	free, budget int64        // bytes that can be promised, and that could be without uploads
	growing      bool         // workspaces wait for room; they come first
	weights      int          // of the tenants present, and one for a newcomer
	rate         float64      // of work, in bytes a second
	rateKnown    bool
	keeps        time.Duration // how long uploads keep their room; 0: not asked yet
}

// look gathers the room. promised is what was about to be reserved before the spool was measured: it may be in usage, or not yet. Called
// with mu held.
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
	g.refresh()
	r.rate, r.rateKnown = g.work.perSecond()
	return r
}

// refresh makes archives of unknown size that are arriving count as what the spool has reserved for them. Called with mu held.
func (g *Gate) refresh() {
	for p := range g.in[receiving] {
		if p.declared < 0 && p.workspace != nil {
			p.resize(max(p.size, p.workspace.Reserved()))
		}
	}
}

// need is p's first reservation in the spool.
func (r *room) need(p *Pass) int64 {
	if p.declared < 0 && r.usage != nil && r.budget < unknownSize {
		return leastUnknown
	}
	return p.size
}

// below reports whether t, which has that much of a total, is below its share.
func (r *room) below(t *tenant, has, total int64) bool {
	return float64(has)*float64(r.weights) < float64(total)*float64(t.weight)
}

// open is the part of a total that is open to all tenants.
func open(total int64) int64 { return total - total/4 }

// A lack is what keeps an upload out. The zero value is none.
type lack struct {
	of    upload.Lack
	own   bool  // others may have it: the tenant has its share
	bytes int64 // of the spool, that must come back first
}

// lacks returns what keeps p out: the first of several things. If one of them is of its tenant's share, all count as that. Called with mu
// held.
func (g *Gate) lacks(p *Pass, r *room) (first lack) {
	if p.in(fetchWaiting) {
		return g.lacksFetch(p)
	}
	own := false
	for _, l := range [...]lack{g.lacksSlot(p, r), g.lacksSpool(p, r), g.lacksTime(p, r)} {
		own = own || l.own
		if first.of == "" {
			first = l
		}
	}
	first.own = own
	return first
}

// full returns what every waiting upload lacks. Called with mu held.
func (g *Gate) full(what state) lack {
	switch {
	case what == waiting && len(g.in[receiving]) >= g.config.ReceivingSlots:
		return lack{of: upload.LackReceiving}
	case what == fetchWaiting && g.fetchesFull():
		return lack{of: upload.LackFetch}
	}
	return lack{}
}

func (g *Gate) fetchesFull() bool { return len(g.in[fetching]) >= g.config.FetchSlots }

func (g *Gate) lacksFetch(p *Pass) lack {
	if p.tenant.count[fetching] >= (g.config.FetchSlots+1)/2 && !g.fetchesFull() {
		return lack{of: upload.LackFetch, own: true}
	}
	return g.full(fetchWaiting)
}

func (g *Gate) lacksSlot(p *Pass, r *room) lack {
	total, used := int64(g.config.ReceivingSlots), int64(len(g.in[receiving]))
	if used >= open(total) && used < total && !r.below(p.tenant, int64(p.tenant.count[receiving]), total) {
		return lack{of: upload.LackReceiving, own: true}
	}
	return g.full(waiting)
}

func (g *Gate) lacksSpool(p *Pass, r *room) lack {
	need := r.need(p)
	if r.usage == nil || need == 0 {
		return lack{} // the spool itself returns the error
	}
	used := r.budget - r.free
	switch {
	case r.now.Before(p.notBefore):
		return lack{of: upload.LackSpool}
	case need > r.free:
		return lack{of: upload.LackSpool, bytes: need - r.free}
	case r.growing:
		// They take what is free, and may need more: as if it were all of it.
		return lack{of: upload.LackSpool, bytes: need}
	case used+need > open(r.budget) && !r.below(p.tenant, p.tenant.bytes, r.budget):
		return lack{of: upload.LackSpool, own: true}
	}
	return lack{}
}

// hopeless reports whether the room that p lacks clearly comes back too late: at the pace of the uploads that had and have some, it would
// take twice p's time. Unknown is not hopeless. Called with mu held.
func (g *Gate) hopeless(p *Pass, l lack, r *room) bool {
	if l.bytes == 0 || g.bytes == 0 || len(g.kept[inside]) == 0 {
		return false
	}
	if r.keeps == 0 {
		r.keeps = p.keeps(l.of, r.now)
	}
	return float64(r.keeps)*float64(l.bytes)/float64(g.bytes) > 2*float64(p.deadline.Sub(r.now))
}

func (g *Gate) lacksTime(p *Pass, r *room) lack {
	if len(g.in[inside]) == 0 || !r.rateKnown || g.config.Timeout <= 0 {
		return lack{}
	}
	within := r.rate * g.allowed().Seconds()
	// Slots are shared: whatever the others have, and however slowly it arrives, a tenant's own work gets its share of them.
	share := float64(p.tenant.weight) / float64(r.weights)
	if float64(g.unfinished+p.size) < within || float64(p.tenant.left()+p.size) < within*share {
		return lack{}
	}
	return lack{of: upload.LackTime, own: true}
}

// allowed bounds the time of the admitted work.
func (g *Gate) allowed() time.Duration { return g.config.Timeout / 2 }
