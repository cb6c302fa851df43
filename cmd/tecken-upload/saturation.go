package main

import (
	"context"
	"time"
)

// refusalWindow is how long a refusal for room counts as saturation: longer than the time between two scrapes, so that one sees it.
const refusalWindow = time.Minute

// saturation returns how full this instance is, from 0 to 1. It is 1 while uploads wait, or are refused, for what this instance lacks;
// otherwise the highest of the shares of slots in use, of work, receiving and fetching, of the spool, and of the time for the admitted
// work. It returns when ctx ends at the latest.
func (in *instance) saturation(ctx context.Context) float64 {
	gate := in.gate.Stats()
	if gate.Short || time.Since(gate.TurnedAway) < refusalWindow || in.disks.Full() {
		return 1
	}
	worst := max(gate.Ratio, in.spoolRatio(ctx))
	for _, q := range in.queues.needed() {
		s := q.Stats()
		if in.stalled(q.name, s) != nil {
			return 1
		}
		worst = max(worst, s.Busyness)
	}
	return min(1, worst)
}

// spoolRatio returns the promised part of the disk that uploads may have; 1 if it can't be measured, or is not enough for growing uploads.
func (in *instance) spoolRatio(ctx context.Context) float64 {
	u, err := in.usage.Ask(ctx)
	if err != nil || u.Budget <= 0 || u.Waiting > 0 {
		return 1
	}
	return min(1, float64(u.Held+u.Reserved)/float64(u.Budget))
}
