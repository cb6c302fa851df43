package main

import (
	"context"
	"time"

	"tecken-upload/internal/gate"
)

const (
	// waitShare is the part of an upload's deadline that a queue's wait may take (its p95) before the instance counts as
	// saturated: a member is waited for more than once.
	waitShare = 10
	// refusalWindow is for how long one upload that was refused for room counts as saturation: longer than between two
	// scrapes, which else would see nothing of it.
	refusalWindow = time.Minute
)

// saturation tells how near this instance is to having enough, from 0 to 1. It is 1 while uploads are refused, or wait, for what
// this instance lacks; otherwise the worst of the shares of slots in use, the waits for them, the receiving places, the turns to
// download, the spool, and the time that what is admitted will take. It returns when ctx ends at the latest.
func (in *instance) saturation(ctx context.Context) float64 {
	gate := in.gate.Stats()
	if gate.Short || lately(gate.TurnedAway) || in.disks.Full() {
		return 1
	}
	worst := max(gate.PlacesRatio, gate.TimeRatio, in.spoolRatio(ctx), in.fetches().Busyness)
	most := in.config.UploadTimeout / waitShare
	for _, q := range in.queues.all() {
		s := q.Stats()
		if in.stalled(q.name, s) != nil {
			return 1
		}
		worst = max(worst, s.Busyness, s.WaitP95.Seconds()/most.Seconds())
	}
	return min(1, worst)
}

// lately reports whether a refusal is recent enough to count.
func lately(refused time.Time) bool { return time.Since(refused) < refusalWindow }

// spoolRatio returns the part of what uploads may have of the disk that is promised to them; 1 where that can't be told, or
// was not enough for those that grow.
func (in *instance) spoolRatio(ctx context.Context) float64 {
	u, err := in.usage.Ask(ctx)
	if err != nil || u.Budget <= 0 || u.Waiting > 0 || lately(u.Refused) {
		return 1
	}
	return min(1, float64(u.Held+u.Reserved)/float64(u.Budget))
}

// gateGauges tell who is in, who waits, and who was refused.
func (in *instance) gateGauges(ctx context.Context) {
	for name, g := range map[string]struct {
		help  string
		value func(gate.Stats) float64
	}{
		"tecken_receiving":             {"Uploads whose bodies arrive.", func(s gate.Stats) float64 { return float64(s.PlacesUsed) }},
		"tecken_receiving_places":      {"Uploads whose bodies may arrive at once.", func(s gate.Stats) float64 { return float64(s.Places) }},
		"tecken_admission_waiting":     {"Uploads that wait for room on this instance.", func(s gate.Stats) float64 { return float64(s.Waiting) }},
		"tecken_admission_limited":     {"Uploads that wait for another of their tenant to end.", func(s gate.Stats) float64 { return float64(s.Limited) }},
		"tecken_admitted":              {"Uploads that were let in and have not ended.", func(s gate.Stats) float64 { return float64(s.Admitted) }},
		"tecken_admitted_tenants":      {"Tenants that have an upload here, or wait for room.", func(s gate.Stats) float64 { return float64(s.Tenants) }},
		"tecken_unfinished_bytes":      {"Bytes of archives that were let in and are not dealt with.", func(s gate.Stats) float64 { return float64(s.Unfinished) }},
		"tecken_work_bytes_per_second": {"Bytes of archives dealt with in a second, as measured while work waited; 0 where that is not known.", func(s gate.Stats) float64 { return s.Rate }},
		"tecken_drain_seconds":         {"How long the unfinished bytes take at that rate; 0 where it is not known.", func(s gate.Stats) float64 { return s.Drain.Seconds() }},
	} {
		in.metrics.Gauge(name, g.help, func() float64 { return g.value(in.gate.Stats()) })
	}
	in.metrics.Gauge("tecken_tenant_leases", "Leases of tenants' limits that uploads here hold.",
		func() float64 { return float64(len(in.leases.Held())) })
	in.metrics.Gauge("tecken_tenant_limits_local", "1 while the leases shared with other instances are away, and limits are this one's own.", func() float64 {
		if in.leases.Away() {
			return 1
		}
		return 0
	})
	in.metrics.Gauge("tecken_saturation_ratio", "How near this instance is to having enough: 0 to 1, for autoscalers.",
		func() float64 { return in.saturation(ctx) })
}
