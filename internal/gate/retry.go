package gate

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	"tecken-upload/internal/upload"
)

// Bounds of Retry-After: neither too soon, nor too late.
const (
	leastRetry = 5 * time.Second
	mostRetry  = 2 * time.Minute
	// unknownRetry is for what none has given back yet: about the time that a median upload has its slot.
	unknownRetry = 15 * time.Second
	// retryJitter is how much longer Retry-After may be, so that clients refused together don't come back together.
	retryJitter = 1.0 / 3
	// recentHolds is the number of holders in a median.
	recentHolds = 20
)

// sentences tell clients what the instance lacks.
var sentences = map[upload.Lack]string{
	upload.LackReceiving: "This server is receiving as many uploads as it can. Try again later.",
	upload.LackSpool:     "This server's disk is taken up by other uploads. Try again later.",
	upload.LackTime:      "This server has as much work as it can do in time. Try again later.",
	upload.LackQueue:     "Too many uploads are waiting for this server. Try again later.",
	upload.LackFetch:     "This server is downloading as many archives as it can. Try again later.",
}

// holders are the states with what others lack.
var holders = map[upload.Lack]state{
	upload.LackLimit:     leased,
	upload.LackReceiving: receiving,
	upload.LackSpool:     inside,
	upload.LackTime:      inside,
	upload.LackQueue:     waiting,
	upload.LackFetch:     fetching,
}

// A hold is a time for which an amount was held: bytes, or one slot.
type hold struct {
	lasted time.Duration
	amount int64
}

// recent are the last ended holds of one kind.
type recent []hold

func (r *recent) add(h hold) {
	if len(*r) >= recentHolds {
		*r = slices.Delete(*r, 0, len(*r)-recentHolds+1)
	}
	*r = append(*r, h)
}

// median is weighted by amount: half of the bytes, or of the slots, were held for at most that long.
func median(holds []hold) time.Duration {
	holds = slices.SortedFunc(slices.Values(holds), func(a, b hold) int { return cmp.Compare(a.lasted, b.lasted) })
	total := int64(0)
	for _, h := range holds {
		total += h.amount
	}
	sum := int64(0)
	for _, h := range holds {
		if sum += h.amount; 2*sum >= total {
			return h.lasted
		}
	}
	return 0
}

// keeps estimates how long the thing that p lacks is kept: as long as by the last holders, or twice as long as the present ones have had
// it, if that is longer, since they are half way on average. Called with mu held.
func (p *Pass) keeps(of upload.Lack, now time.Time) time.Duration {
	s := holders[of]
	var present []hold
	for other := range p.gate.in[s] {
		if s != leased || other.tenant == p.tenant {
			present = append(present, other.hold(s, now))
		}
	}
	past := unknownRetry
	if ended := *p.recent(s); len(ended) > 0 {
		past = median(ended)
	}
	return max(past, 2*median(present))
}

// A row is a series of refusals that doubles Retry-After. A tenant has two: for want of a lease or of room, until an upload of its is
// admitted; and for want of a fetch slot, until one gets it, for an upload by URL is admitted before.
type row struct {
	tenant int64
	fetch  bool
}

// refusals are those of one row so far.
type refusals struct {
	rounds int       // those within the first one's Retry-After are one
	until  time.Time // end of that time
}

// retryAfter returns p's Retry-After for what it lacks: doubled each time that its tenant is refused in a row. Called with mu held.
func (p *Pass) retryAfter(of upload.Lack, now time.Time) time.Duration {
	g := p.gate
	maps.DeleteFunc(g.refusals, func(_ row, r *refusals) bool { return now.Sub(r.until) > mostRetry })
	in := row{p.tenant.id, of == upload.LackFetch}
	r := g.refusals[in]
	if r == nil {
		r = new(refusals)
		g.refusals[in] = r
	}
	again := !now.Before(r.until)
	if again {
		r.rounds++
	}
	wait := float64(max(p.keeps(of, now), leastRetry)) * float64(uint64(1)<<min(r.rounds-1, 10))
	least := min(wait, float64(mostRetry)/(1+retryJitter))
	if again {
		r.until = now.Add(time.Duration(least))
	}
	return time.Duration(least * (1 + retryJitter*g.config.Jitter()))
}

// refusal counts a refusal of p for what it lacks, and makes its error. Called with mu held.
func (g *Gate) refusal(p *Pass, l lack, now time.Time) *upload.BusyError {
	err := &upload.BusyError{Lack: l.of, Reason: sentences[l.of], RetryAfter: p.retryAfter(l.of, now)}
	switch {
	case l.of == upload.LackLimit:
		err.OverLimit = true
		err.Reason = fmt.Sprintf("You have %d uploads in progress, as many as your token may have. Try again later.", p.limit)
		if p.limit == 1 {
			err.Reason = "You have an upload in progress, and your token may have one at a time. Try again later."
		}
		return err
	case l.of == upload.LackFetch && l.own:
		err.OverLimit = true
		err.Reason = "This server is downloading as many archives for you as it does at a time. Try again later."
		return err
	case l.of == upload.LackFetch:
		g.refused[fetching] = now
	case l.of != upload.LackQueue:
		g.refused[inside], p.tenant.refused = now, now
	}
	g.turnedAway = now
	return err
}

// refuseLine makes the error of an upload for which the line has no place. If the tenant's leases, and its uploads that wait for one, are as
// many as its limit, the limit is the reason. Called with mu held.
func (g *Gate) refuseLine(p *Pass, now time.Time) error {
	t := p.tenant
	if g.config.Leases != nil && !t.idle(now) && t.count[leased]+t.count[leasing] >= p.limit {
		return g.refusal(p, lack{of: upload.LackLimit}, now)
	}
	return g.refusal(p, lack{of: upload.LackQueue}, now)
}

// refuseLease makes the error of an upload without a lease. If leases are idle, with uploads that wait for room, the instance is the
// reason.
func (g *Gate) refuseLease(p *Pass) error {
	now := g.config.Now()
	g.mu.Lock()
	defer g.mu.Unlock()
	if p.tenant.idle(now) {
		return g.refusal(p, lack{of: upload.LackQueue}, now)
	}
	return g.refusal(p, lack{of: upload.LackLimit}, now)
}

// refuseFetch makes the error of an upload that may not even wait for a fetch slot, or returns nil. Called with mu held.
func (g *Gate) refuseFetch(p *Pass, now time.Time) error {
	t, line := p.tenant, g.config.FetchLine
	most := g.config.FetchSlots + line
	open := most - min(line, max(1, most/4))
	held, own := len(g.in[fetching])+len(g.in[fetchWaiting]), t.count[fetching]+t.count[fetchWaiting]
	if held < most && (held < open || own == 0) && t.count[fetchWaiting] < max(1, line/2) {
		return nil
	}
	return g.refusal(p, lack{of: upload.LackFetch, own: !g.fetchesFull()}, now)
}
