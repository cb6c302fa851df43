package main

import (
	"context"
	"time"
)

// refusalWindow is for how long one upload that was refused for room counts as saturation: longer than between two
// scrapes, which else would see nothing of it.
const refusalWindow = time.Minute

// saturation tells how near this instance is to having enough, from 0 to 1. It is 1 while uploads are refused, or wait, for what
// this instance lacks; otherwise the worst of the shares of slots in use, of work, receiving and fetching, of the spool, and of the time that
// what is admitted will take. It returns when ctx ends at the latest.
func (in *instance) saturation(ctx context.Context) float64 {
	gate := in.gate.Stats()
	if gate.Short || time.Since(gate.TurnedAway) < refusalWindow || in.disks.Full() {
		return 1
	}
	worst := max(gate.Ratio, in.spoolRatio(ctx))
	for _, q := range in.queues.all() {
		s := q.Stats()
		if in.stalled(q.name, s) != nil {
			return 1
		}
		worst = max(worst, s.Busyness)
	}
	return min(1, worst)
}

// spoolRatio returns the part of what uploads may have of the disk that is promised to them; 1 where that can't be told, or
// is not enough for those that grow.
func (in *instance) spoolRatio(ctx context.Context) float64 {
	u, err := in.usage.Ask(ctx)
	if err != nil || u.Budget <= 0 || u.Waiting > 0 {
		return 1
	}
	return min(1, float64(u.Held+u.Reserved)/float64(u.Budget))
}
