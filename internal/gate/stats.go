package gate

import "time"

// Stats describes a Gate at one moment.
type Stats struct {
	ReceivingSlots, Receiving int // all, and those taken
	FetchSlots, Fetching      int // the same of fetch slots
	FetchWaiting              int // admitted uploads that wait for a fetch slot
	Waiting                   int // uploads that wait for room on this instance
	Limited                   int // uploads that wait for their tenant's limit
	Admitted                  int // uploads admitted that have not ended
	Tenants                   int // tenants with an upload admitted, or waiting for room
	Leases                    int // leases held by uploads here
	Unfinished                int64
	// Rate is the bytes of uploads finished in a second, measured while work waited for slots; 0 if too little was measured.
	Rate float64
	// Drain is how long the unfinished bytes take at that rate, at most an hour; 0 if unknown.
	Drain time.Duration
	// Ratio is the taken part of the receiving slots, of the fetch slots, or of the allowed time, whichever is most: from 0 to 1. The gate
	// may refuse below 1: an upload that needs more than is left, or of a tenant that has its share.
	Ratio float64
	// Short reports that an upload waits for room on this instance.
	Short bool
	// TurnedAway is when an upload was last refused for what this instance lacks, not for its tenant's limit of uploads or fetch slots;
	// zero: never.
	TurnedAway time.Time
}

// Stats returns the present state.
func (g *Gate) Stats() Stats {
	now, saturated := g.config.Now(), g.config.Saturated()
	g.mu.Lock()
	defer g.mu.Unlock()
	g.work.advance(now, saturated)
	g.refresh()
	st := Stats{
		ReceivingSlots: g.config.ReceivingSlots, Receiving: len(g.in[receiving]),
		FetchSlots: g.config.FetchSlots, Fetching: len(g.in[fetching]), FetchWaiting: len(g.in[fetchWaiting]),
		Waiting: len(g.in[waiting]), Limited: len(g.in[leasing]), Admitted: len(g.in[inside]), Leases: len(g.in[leased]),
		Unfinished: g.unfinished, Short: g.short(), TurnedAway: g.turnedAway,
	}
	for _, t := range g.tenants {
		if t.present() {
			st.Tenants++
		}
	}
	st.Ratio = max(ratio(st.Receiving, st.ReceivingSlots), ratio(st.Fetching, st.FetchSlots))
	if rate, known := g.work.perSecond(); known {
		st.Rate = rate
		st.Drain = time.Duration(min(float64(g.unfinished)/rate, time.Hour.Seconds()) * float64(time.Second))
		if g.config.Timeout > 0 {
			st.Ratio = max(st.Ratio, min(1, st.Drain.Seconds()/g.allowed().Seconds()))
		}
	}
	return st
}

func ratio(taken, of int) float64 { return float64(taken) / float64(max(1, of)) }
