package gate

import (
	"time"
)

// Stats describes a Gate at one moment.
type Stats struct {
	Places, PlacesUsed int // receiving places there are, and that are taken
	Waiting            int // uploads that wait for room on this instance
	Limited            int // uploads that wait for one of their tenant's own to end
	Admitted           int // uploads admitted that have not left
	Tenants            int // tenants that have an upload admitted, or waiting for room
	Leases             int // leases held by uploads here
	Unfinished         int64
	// Rate is how many bytes of uploads are dealt with in a second, as measured while work waited for slots; 0 where
	// too little was measured.
	Rate float64
	// Drain is how long the unfinished bytes take at that rate, at most an hour; 0 where it is not known.
	Drain time.Duration
	// PlacesRatio and TimeRatio tell what part of the receiving places is taken, and how much of the time that what is admitted may
	// take it will: from 0 to 1. The gate may refuse below 1: one that needs more than is left, or a tenant that has its share.
	PlacesRatio, TimeRatio float64
	// Short reports that somebody waits for whom this instance has no room.
	Short bool
	// TurnedAway is when an upload was last refused for what this instance lacks, and not for its tenant's limit, of uploads or of turns
	// to be fetched; zero: never.
	TurnedAway time.Time
}

// Stats returns the present state.
func (g *Gate) Stats() Stats {
	now, saturated := g.config.Now(), g.config.Saturated()
	g.mu.Lock()
	defer g.mu.Unlock()
	g.work.advance(now, saturated)
	st := Stats{
		Places: g.config.Places, PlacesUsed: int(g.places.held),
		Waiting: g.waiting, Limited: g.taking, Admitted: int(g.inside.held), Leases: g.leases,
		Unfinished: g.unfinished, Short: g.short(), TurnedAway: g.turnedAway,
	}
	for _, t := range g.tenants {
		if t.present() {
			st.Tenants++
		}
	}
	st.PlacesRatio = float64(st.PlacesUsed) / float64(max(1, st.Places))
	if rate, known := g.work.perSecond(); known {
		st.Rate, st.Drain = rate, after(float64(g.unfinished), rate)
		if g.config.Timeout > 0 {
			st.TimeRatio = min(1, st.Drain.Seconds()/g.allowed().Seconds())
		}
	}
	return st
}
