package gate

import (
	"fmt"
	"time"

	"tecken-upload/internal/upload"
)

// What a refused client is told to wait: neither to hammer, nor to go home.
const (
	leastRetry   = time.Second
	mostRetry    = 2 * time.Minute
	unknownRetry = 15 * time.Second // where nothing was measured: about as long as a median upload holds its place
	// retryJitter is how far Retry-After is spread to both sides, so that those refused together don't come back together.
	retryJitter = 0.25
)

// sentences tell clients of what there is no room for.
var sentences = map[upload.Lack]string{
	upload.LackReceiving: "This server is receiving as many uploads as it can. Try again later.",
	upload.LackSpool:     "This server's disk is taken up by other uploads. Try again later.",
	upload.LackTime:      "This server has as much work as it can do in time. Try again later.",
	upload.LackQueue:     "Too many uploads are waiting for this server. Try again later.",
	upload.LackFetch:     "This server is downloading as many archives as it can. Try again later.",
}

// busy counts a refusal for what this instance lacks, and makes its error. wait is 0 where it is not known. Called with mu held.
func (g *Gate) busy(now time.Time, of upload.Lack, wait time.Duration) *upload.BusyError {
	g.turnedAway = now
	return g.refusal(of, wait)
}

// refusal does the same whosever limit it is. Called with mu held.
func (g *Gate) refusal(of upload.Lack, wait time.Duration) *upload.BusyError {
	return &upload.BusyError{Lack: of, Reason: sentences[of], RetryAfter: g.retryAfter(wait)}
}

// retryAfter spreads and bounds a wait. Called with mu held.
func (g *Gate) retryAfter(wait time.Duration) time.Duration {
	if wait <= 0 {
		wait = unknownRetry
	}
	spread := 1 + retryJitter*(2*g.config.Jitter()-1)
	return min(max(time.Duration(float64(min(wait, time.Hour))*spread), leastRetry), mostRetry)
}

// refuse makes the error of an upload that lacks room. Called with mu held.
func (g *Gate) refuse(r *room, l lack) *upload.BusyError {
	g.refused = r.now
	wait := l.wait
	if l.of == upload.LackReceiving {
		// Those who wait now have a place before one who comes back.
		wait = after(float64(g.waiting), r.returning)
	}
	return g.busy(r.now, l.of, wait)
}

// refuseAfterAll makes the error of an upload that was let in, and found its room in the spool taken.
func (g *Gate) refuseAfterAll(v *visit) error {
	now := g.config.Now()
	g.mu.Lock()
	defer g.mu.Unlock()
	g.refused = now
	return g.busy(now, upload.LackSpool, after(float64(v.size), g.bytes.perSecond(now)))
}

// refuseQueue makes the error of an upload for which there is no place in line: where those in progress and before it are enough to
// reach its tenant's limit, that is why. Called with mu held.
func (g *Gate) refuseQueue(t *tenant, now time.Time) error {
	if g.config.Leases != nil && !t.idle(now) && t.leases+t.taking >= t.limit {
		return g.overLimit(t, now)
	}
	return g.busy(now, upload.LackQueue, after(float64(t.taking+len(t.waiting)), g.inside.perSecond(now)))
}

// refuseLimited makes the error of an upload for which its tenant has no lease to spare. Where the tenant's leases are idle, it is
// for what this one itself would have lacked, at a look that is not long ago.
func (g *Gate) refuseLimited(v *visit) error {
	now := g.config.Now()
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case !v.tenant.idle(now):
	case !g.measuring.IsZero() && now.Sub(g.measuring) >= patience:
		return errMeasuring
	case g.seen != nil && now.Sub(g.seen.now) < patience:
		l := g.lacks(v, g.seen)
		if l.of == "" {
			l = g.blocked
		}
		if l.of != "" {
			return g.refuse(g.seen, l)
		}
	}
	return g.overLimit(v.tenant, now)
}

// overLimit makes the error of an upload whose tenant is over its limit. Called with mu held.
func (g *Gate) overLimit(t *tenant, now time.Time) *upload.BusyError {
	err := g.refusal(upload.LackLimit, g.untilLease(t, now))
	err.OverLimit = true
	err.Reason = fmt.Sprintf("You have %d uploads in progress, as many as your token may have. Try again later.", t.limit)
	if t.limit == 1 {
		err.Reason = "You have an upload in progress, and your token may have one at a time. Try again later."
	}
	return err
}

// untilLease estimates when t has a lease to spare, beyond those that its other uploads wait for: from how fast its uploads
// have been ending; where none has, from what is left to do of the one that is nearest to its end. Called with mu held.
func (g *Gate) untilLease(t *tenant, now time.Time) time.Duration {
	ahead := float64(max(1, t.taking))
	if ending := t.ends.perSecond(now); ending > 0 {
		return after(ahead, ending)
	}
	rate, known := g.work.perSecond()
	if !known || len(t.inside) == 0 {
		return 0
	}
	least := int64(-1)
	for v := range t.inside {
		if least < 0 || v.left < least {
			least = v.left
		}
	}
	weights := 0
	for _, other := range g.tenants {
		if len(other.inside) > 0 {
			weights += other.weight
		}
	}
	own := rate * float64(t.weight) / float64(weights) / float64(len(t.inside))
	return after(float64(max(least, 1)), own)
}
