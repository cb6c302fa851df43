package main

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"tecken-upload/internal/gate"
	"tecken-upload/internal/headers"
	"tecken-upload/internal/health"
	"tecken-upload/internal/sched"
	"tecken-upload/internal/spool"
	"tecken-upload/internal/telemetry"
	"tecken-upload/internal/upload"
)

// gauges registers the figures measured at each scrape.
func (in *instance) gauges(ctx context.Context) {
	in.queueGauges()
	in.gateGauges(ctx)
	in.spoolGauges(ctx)
	in.uploadGauges()
	in.diskGauges()
	in.storageGauges()
	telemetry.Figures(in.metrics, in.headers.Stats,
		telemetry.Number("tecken_http_headers_unfinished_bytes", "Bytes of unfinished request headers and their connections.", func(s headers.Stats) float64 { return float64(s.Held) }),
		telemetry.Number("tecken_http_headers_cut_total", "Connections closed because unfinished request headers held too much memory.", func(s headers.Stats) float64 { return float64(s.Cut) }),
	)
}

// queueGauges register the work in progress, and the waiting work.
func (in *instance) queueGauges() {
	for _, q := range in.queues.all() {
		name, help := "tecken_"+q.name+"_", "Queue "+q.name+": "
		figures := []telemetry.Figure[sched.Stats]{
			telemetry.Number(name+"slots", help+"slots.", func(s sched.Stats) float64 { return float64(s.Slots) }),
			telemetry.Number(name+"slots_busy", help+"slots in use; may exceed the slots while some are stuck.", func(s sched.Stats) float64 { return float64(s.Busy) }),
			telemetry.Number(name+"slots_busy_ratio", help+"share of slots in use and not stuck, over the last minute.", func(s sched.Stats) float64 { return s.Busyness }),
			telemetry.Number(name+"waiting", help+"tasks waiting for a slot.", func(s sched.Stats) float64 { return float64(s.Waiting) }),
			telemetry.Number(name+"stalled_seconds", help+"how long tasks have waited while none ended or moved.", func(s sched.Stats) float64 { return s.Stalled.Seconds() }),
			telemetry.Number(name+"runaways", help+"tasks that still run after their slot expired.", func(s sched.Stats) float64 { return float64(s.Runaways) }),
			telemetry.Number(name+"leases_expired_total", help+"tasks whose slot expired.", func(s sched.Stats) float64 { return float64(s.Expired) }),
		}
		if q.name == in.queues.publish.name || q.name == in.queues.stage.name {
			figures = append(figures,
				telemetry.Number(name+"slots_stuck", help+"slots whose calls to storage have not moved for 5 seconds.", func(s sched.Stats) float64 { return float64(s.Stuck) }),
				telemetry.Number(name+"hanging_seconds", help+"how long a tenant's calls to storage have hung, the longest of all tenants.", hanging))
		}
		telemetry.Figures(in.metrics, q.Stats, figures...)
	}
}

// hanging returns how long the calls of a tenant have hung, in seconds.
func hanging(s sched.Stats) float64 {
	longest := time.Duration(0)
	for _, h := range s.Hanging {
		longest = max(longest, h.Lasts)
	}
	return longest.Seconds()
}

// gateGauges register the gate's figures.
func (in *instance) gateGauges(ctx context.Context) {
	telemetry.Figures(in.metrics, in.gate.Stats,
		telemetry.Number("tecken_receiving", "Receiving slots in use.", func(s gate.Stats) float64 { return float64(s.Receiving) }),
		telemetry.Number("tecken_receiving_places", "Receiving slots.", func(s gate.Stats) float64 { return float64(s.ReceivingSlots) }),
		telemetry.Number("tecken_fetch_places", "Fetch slots, for uploads by URL.", func(s gate.Stats) float64 { return float64(s.FetchSlots) }),
		telemetry.Number("tecken_fetch_places_busy", "Fetch slots in use.", func(s gate.Stats) float64 { return float64(s.Fetching) }),
		telemetry.Number("tecken_fetch_waiting", "Admitted uploads by URL waiting for a fetch slot.", func(s gate.Stats) float64 { return float64(s.FetchWaiting) }),
		telemetry.Number("tecken_admission_waiting", "Uploads waiting for room on this instance.", func(s gate.Stats) float64 { return float64(s.Waiting) }),
		telemetry.Number("tecken_admission_limited", "Uploads waiting for their tenant's limit.", func(s gate.Stats) float64 { return float64(s.Limited) }),
		telemetry.Number("tecken_admitted", "Admitted uploads that have not ended.", func(s gate.Stats) float64 { return float64(s.Admitted) }),
		telemetry.Number("tecken_admitted_tenants", "Tenants with an upload here, or waiting for room.", func(s gate.Stats) float64 { return float64(s.Tenants) }),
		telemetry.Number("tecken_unfinished_bytes", "Admitted, unfinished bytes of archives.", func(s gate.Stats) float64 { return float64(s.Unfinished) }),
		telemetry.Number("tecken_work_bytes_per_second", "Bytes of archives finished in a second, measured while work waited, at least 32 KiB for each file; 0 if unknown.", func(s gate.Stats) float64 { return s.Rate }),
		telemetry.Number("tecken_drain_seconds", "How long the unfinished bytes take at that rate; 0 if unknown.", func(s gate.Stats) float64 { return s.Drain.Seconds() }),
	)
	in.metrics.Gauge("tecken_tenant_leases", "Leases held by uploads here.",
		func() float64 { return float64(len(in.leases.Held())) })
	in.metrics.Gauge("tecken_tenant_limits_local", "1 while the leases shared with other instances are away, and limits are this one's own.", func() float64 {
		if in.leases.Away() {
			return 1
		}
		return 0
	})
	in.metrics.Gauge("tecken_saturation_ratio", "How full this instance is, 0 to 1, for autoscalers.",
		func() float64 { return in.saturation(ctx) })
}

// spoolGauges register the spool's figures; -1 if it can't be measured.
func (in *instance) spoolGauges(ctx context.Context) {
	telemetry.Figures(in.metrics, func() *spool.Usage {
		usage, err := in.usage.Ask(ctx)
		if err != nil {
			return nil
		}
		return &usage
	},
		telemetry.Number("tecken_spool_free_bytes", "Bytes free on the spool's file system.", known(func(u spool.Usage) float64 { return float64(u.Free) })),
		telemetry.Number("tecken_spool_used_bytes", "Bytes used on the spool's file system, by anything.", known(func(u spool.Usage) float64 { return float64(u.Total - u.Free) })),
		telemetry.Number("tecken_spool_inodes", "Files that the spool's file system can hold; 0: no such bound.", known(func(u spool.Usage) float64 { return float64(u.Inodes) })),
		telemetry.Number("tecken_spool_free_inodes", "Files that it can still take.", known(func(u spool.Usage) float64 { return float64(u.FreeInodes) })),
		telemetry.Number("tecken_spool_total_bytes", "Bytes of the spool's file system.", known(func(u spool.Usage) float64 { return float64(u.Total) })),
		telemetry.Number("tecken_spool_limit_bytes", "Bytes of the largest upload: TECKEN_SPOOL_MAX, or the file system less the headroom.", known(func(u spool.Usage) float64 { return float64(max(0, u.Limit())) })),
		telemetry.Number("tecken_spool_held_bytes", "Bytes held by live uploads; du does not see them.", known(func(u spool.Usage) float64 { return float64(u.Held) })),
		telemetry.Number("tecken_spool_reserved_bytes", "Bytes promised to live uploads beyond those they hold.", known(func(u spool.Usage) float64 { return float64(u.Reserved) })),
		telemetry.Number("tecken_spool_workspaces", "Uploads with a workspace.", known(func(u spool.Usage) float64 { return float64(u.Live) })),
		telemetry.Number("tecken_spool_waiting", "Live uploads waiting for more room in the spool.", known(func(u spool.Usage) float64 { return float64(u.Waiting) })),
	)
	in.metrics.Gauge("tecken_spool_oldest_orphan_seconds", "Age of the oldest workspace of a dead server; 0: none.", func() float64 {
		age, err := in.orphan.Ask(ctx)
		if err != nil {
			return -1
		}
		return age.Seconds()
	})
}

// known returns a figure of the spool: -1 if it can't be measured.
func known(value func(u spool.Usage) float64) func(*spool.Usage) float64 {
	return func(u *spool.Usage) float64 {
		if u == nil {
			return -1
		}
		return value(*u)
	}
}

// uploadGauges register the uploads by phase, and the late ones.
func (in *instance) uploadGauges() {
	var phases []telemetry.Figure[map[upload.Phase]int]
	for _, phase := range []upload.Phase{upload.PhaseReceive, upload.PhaseVerify, upload.PhasePublish, upload.PhaseRecord} {
		phases = append(phases, telemetry.Number("tecken_uploads_in_"+string(phase), "Uploads in the phase "+string(phase)+".",
			func(in map[upload.Phase]int) float64 { return float64(in[phase]) }))
	}
	telemetry.Figures(in.metrics, in.uploads.Phases, phases...)
	in.metrics.Counter("tecken_uploads_past_half_deadline_total", "Uploads that passed 50 % of their deadline.",
		func() float64 { half, _ := in.uploads.Late(); return float64(half) })
	in.metrics.Counter("tecken_uploads_past_most_deadline_total", "Uploads that passed 90 % of their deadline.",
		func() float64 { _, most := in.uploads.Late(); return float64(most) })
}

// storageGauges register the figures of storage.
func (in *instance) storageGauges() {
	in.metrics.Counter("tecken_staged_discarded_total", "Staged files that dead uploads had left in storage, discarded by sweeps.",
		func() float64 { return float64(in.swept.Load()) })
}

// diskGauges register the disk's figures, as far as this kernel has them.
func (in *instance) diskGauges() {
	var errors []telemetry.Figure[map[health.Cause]int64] // a rate is only seen to rise from a zero that was there
	for _, disk := range []upload.Disk{upload.DiskSpool, upload.DiskRecords, upload.DiskStorage} {
		for _, fault := range []upload.DiskFault{upload.FaultFull, upload.FaultQuota, upload.FaultReadOnly, upload.FaultIO} {
			errors = append(errors, telemetry.Number("tecken_disk_full_errors_total",
				"Errors of uploads' disks, by disk (spool, records, storage) and fault (full, quota, read_only, io).",
				func(counts map[health.Cause]int64) float64 {
					return float64(counts[health.Cause{Disk: disk, Fault: fault}])
				}).
				With(prometheus.Labels{"disk": string(disk), "fault": string(fault)}))
		}
	}
	telemetry.Figures(in.metrics, in.disks.Counts, errors...)
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
		in.metrics.Counter("tecken_io_pressure_some_seconds_total", "Time in which at least one task of this machine waited for a disk.",
			func() float64 { p, _ := health.IOPressure(); return p.Some.Seconds() })
		in.metrics.Counter("tecken_io_pressure_full_seconds_total", "Time in which all tasks of this machine waited for a disk.",
			func() float64 { p, _ := health.IOPressure(); return p.Full.Seconds() })
	}
}
