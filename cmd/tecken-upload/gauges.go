package main

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"tecken-upload/internal/health"
	"tecken-upload/internal/probe"
	"tecken-upload/internal/sched"
	"tecken-upload/internal/spool"
	"tecken-upload/internal/upload"
)

// gauges registers what is measured anew at each scrape.
func (in *instance) gauges(ctx context.Context) {
	in.queueGauges()
	in.gateGauges(ctx)
	in.spoolGauges(ctx)
	in.uploadGauges()
	in.diskGauges()
	in.fetchGauges()
	in.headerGauges()
}

// headerGauges registers the gauges of requests whose header is still arriving.
func (in *instance) headerGauges() {
	in.metrics.Gauge("tecken_http_headers_unfinished_bytes", "Memory held by requests whose header is still arriving, and by their connections.",
		func() float64 { return float64(in.headers.Stats().Held) })
	in.metrics.Counter("tecken_http_headers_cut_total", "Connections closed before their request's header was complete, because such headers held too much memory.",
		func() float64 { return float64(in.headers.Stats().Cut) })
}

// queueGauges tell of the work in progress, and of what waits.
func (in *instance) queueGauges() {
	for _, q := range in.queues.all() {
		for name, g := range map[string]struct {
			help  string
			value func(sched.Stats) float64
		}{
			"slots":            {"slots there are.", func(s sched.Stats) float64 { return float64(s.Slots) }},
			"slots_busy":       {"slots in use; more than there are where some are stuck.", func(s sched.Stats) float64 { return float64(s.Busy) }},
			"slots_busy_ratio": {"share of the slots in use and not stuck, over the last minute.", func(s sched.Stats) float64 { return s.Busyness }},
			"waiting":          {"tasks that wait for a slot.", func(s sched.Stats) float64 { return float64(s.Waiting) }},
			"wait_p50_seconds": {"how long half of the tasks waited at most, over the last minute.", func(s sched.Stats) float64 { return s.WaitP50.Seconds() }},
			"wait_p95_seconds": {"how long 95 % of them waited at most.", func(s sched.Stats) float64 { return s.WaitP95.Seconds() }},
			"stalled_seconds":  {"for how long tasks have waited with none getting on.", func(s sched.Stats) float64 { return s.Stalled.Seconds() }},
			"runaways":         {"tasks that lost their slots and have not ended.", func(s sched.Stats) float64 { return float64(s.Runaways) }},
		} {
			in.metrics.Gauge("tecken_"+q.name+"_"+name, "To "+q.name+": "+g.help, func() float64 { return g.value(q.Stats()) })
		}
		in.metrics.Counter("tecken_"+q.name+"_leases_expired_total", "To "+q.name+": tasks that held a slot for too long, and lost it.",
			func() float64 { return float64(q.Stats().Expired) })
	}
	in.metrics.Gauge("tecken_publish_slots_stuck", "To publish: slots in use whose calls to storage have not moved for 5 seconds.",
		func() float64 { return float64(in.queues.publish.Stats().Stuck) })
	in.metrics.Gauge("tecken_publish_hanging_seconds", "To publish: for how long a tenant's calls to storage have hung, of the tenant where that is longest.",
		func() float64 {
			longest := time.Duration(0)
			for _, h := range in.queues.publish.Stats().Hanging {
				longest = max(longest, h.Lasts)
			}
			return longest.Seconds()
		})
}

// spoolGauges tell what the spool's file system has, and what live uploads have of it.
func (in *instance) spoolGauges(ctx context.Context) {
	for name, g := range map[string]struct {
		help  string
		value func(spool.Usage) int64
	}{
		"tecken_spool_free_bytes":     {"Bytes free on the spool's file system.", func(u spool.Usage) int64 { return u.Free }},
		"tecken_spool_used_bytes":     {"Bytes used on the spool's file system, by whatever.", func(u spool.Usage) int64 { return u.Total - u.Free }},
		"tecken_spool_inodes":         {"Files that the spool's file system can hold; 0 where there is no such bound.", func(u spool.Usage) int64 { return u.Inodes }},
		"tecken_spool_free_inodes":    {"Files that it can still take.", func(u spool.Usage) int64 { return u.FreeInodes }},
		"tecken_spool_total_bytes":    {"Bytes of the spool's file system.", func(u spool.Usage) int64 { return u.Total }},
		"tecken_spool_limit_bytes":    {"Bytes that one upload could have, were the spool empty: TECKEN_SPOOL_MAX, or the file system less the headroom.", func(u spool.Usage) int64 { return max(0, u.Limit()) }},
		"tecken_spool_held_bytes":     {"Bytes that live uploads hold; du does not see them.", func(u spool.Usage) int64 { return u.Held }},
		"tecken_spool_reserved_bytes": {"Bytes promised to live uploads beyond those they hold.", func(u spool.Usage) int64 { return u.Reserved }},
		"tecken_spool_workspaces":     {"Uploads that have a workspace.", func(u spool.Usage) int64 { return int64(u.Live) }},
		"tecken_spool_waiting":        {"Requests that wait for room in the spool.", func(u spool.Usage) int64 { return int64(u.Waiting) }},
	} {
		in.metrics.Gauge(name, g.help, func() float64 {
			return figure(ctx, in.usage, func(u spool.Usage) float64 { return float64(g.value(u)) })
		})
	}
	in.metrics.Gauge("tecken_spool_oldest_orphan_seconds", "Age of the oldest workspace that a dead server left; 0 where there is none.",
		func() float64 { return figure(ctx, in.orphan, time.Duration.Seconds) })
}

// figure returns a figure of the spool, or -1 where it can't be looked at.
func figure[T any](ctx context.Context, look *probe.Probe[T], value func(T) float64) float64 {
	seen, err := look.Ask(ctx)
	if err != nil {
		return -1
	}
	return value(seen)
}

// uploadGauges tell where uploads are, and how late.
func (in *instance) uploadGauges() {
	for _, phase := range []upload.Phase{upload.PhaseReceive, upload.PhaseVerify, upload.PhasePublish, upload.PhaseRecord} {
		in.metrics.Gauge("tecken_uploads_in_"+string(phase), "Uploads in the phase "+string(phase)+".",
			func() float64 { return float64(in.uploads.Phases()[phase]) })
	}
	in.metrics.Counter("tecken_uploads_past_half_deadline_total", "Uploads that passed 50 % of their deadline.",
		func() float64 { half, _ := in.uploads.Late(); return float64(half) })
	in.metrics.Counter("tecken_uploads_past_most_deadline_total", "Uploads that passed 90 % of their deadline.",
		func() float64 { _, most := in.uploads.Late(); return float64(most) })
}

// diskGauges tell how the disk is doing, as far as this kernel says.
func (in *instance) diskGauges() {
	in.metrics.Register(&diskErrors{in.disks, prometheus.NewDesc("tecken_disk_full_errors_total",
		"Errors of disks that uploads are written to, by disk (spool, records, storage) and fault (full, quota, read_only, io).", []string{"disk", "fault"}, nil)})
	in.metrics.Gauge("tecken_disk_full", "1 while errors of a disk turn the heartbeats red.", func() float64 {
		if in.disks.Full() {
			return 1
		}
		return 0
	})
	if device, err := health.DeviceOf(in.config.SpoolDir); err == nil {
		in.metrics.Counter("tecken_disk_read_bytes_total", "Bytes read from the spool's device.",
			func() float64 { read, _ := device.Traffic(); return float64(read) })
		in.metrics.Counter("tecken_disk_written_bytes_total", "Bytes written to the spool's device.",
			func() float64 { _, written := device.Traffic(); return float64(written) })
	}
	if _, err := health.IOPressure(); err == nil {
		in.metrics.Counter("tecken_io_pressure_some_seconds_total", "Time in which some task of this machine waited for a disk.",
			func() float64 { p, _ := health.IOPressure(); return p.Some.Seconds() })
		in.metrics.Counter("tecken_io_pressure_full_seconds_total", "Time in which all of them did.",
			func() float64 { p, _ := health.IOPressure(); return p.Full.Seconds() })
	}
}
