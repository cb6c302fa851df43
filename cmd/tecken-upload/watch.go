package main

import (
	"context"
	"log/slog"
	"net/http"
	"time"

	"tecken-upload/internal/sched"
	"tecken-upload/internal/spool"
	"tecken-upload/internal/telemetry"
	"tecken-upload/internal/telemetry/uploadwatch"
)

// gaugeTimeout bounds measuring the spool for one scrape of the metrics.
const gaugeTimeout = 2 * time.Second

// watcher tells the log, the metrics and Sentry what goes through the server.
type watcher struct {
	*uploadwatch.Uploads
	logger   *slog.Logger
	metrics  *telemetry.Metrics
	reporter *telemetry.Reporter
}

func (in *instance) watcher() *watcher {
	return &watcher{
		Uploads:  uploadwatch.NewUploads(in.logger, in.reporter, in.metrics),
		logger:   in.logger,
		metrics:  in.metrics,
		reporter: in.reporter,
	}
}

// Request implements server.Watcher.
func (w *watcher) Request(route, method string, status int, elapsed time.Duration) {
	w.metrics.ObserveRequest(route, method, status, elapsed)
}

// Fault implements server.Watcher.
func (w *watcher) Fault(ctx context.Context, r *http.Request, err error, stack []byte) {
	facts := []slog.Attr{slog.String("method", r.Method), slog.String("path", r.URL.Path)}
	if stack != nil {
		w.reporter.Panic("request panicked", err, stack, facts...)
		facts = append(facts, slog.String("stack", string(stack)))
	} else {
		w.reporter.Error("request failed", err, facts...)
	}
	w.logger.LogAttrs(ctx, slog.LevelError, "request failed", append(facts, slog.Any("err", err))...)
}

// gauges registers what is measured anew at each scrape.
func (in *instance) gauges(ctx context.Context) {
	for name, slots := range map[string]*sched.Slots{"verify": in.verify, "publish": in.publish} {
		in.metrics.Gauge("tecken_"+name+"_slots", "Slots there are to "+name+" members.",
			func() float64 { return float64(slots.Stats().Capacity) })
		in.metrics.Gauge("tecken_"+name+"_slots_busy", "Slots in use to "+name+" members.",
			func() float64 { return float64(slots.Stats().Busy) })
		in.metrics.Gauge("tecken_"+name+"_waiting", "Members that wait for a slot to "+name+" them.",
			func() float64 { return float64(slots.Stats().Waiting) })
	}
	for name, g := range map[string]struct {
		help  string
		value func(spool.Usage) int64
	}{
		"tecken_spool_free_bytes":     {"Bytes free on the spool's file system.", func(u spool.Usage) int64 { return u.Free }},
		"tecken_spool_total_bytes":    {"Bytes of the spool's file system.", func(u spool.Usage) int64 { return u.Total }},
		"tecken_spool_held_bytes":     {"Bytes that live uploads hold; du does not see them.", func(u spool.Usage) int64 { return u.Held }},
		"tecken_spool_reserved_bytes": {"Bytes promised to live uploads beyond those they hold.", func(u spool.Usage) int64 { return u.Reserved }},
		"tecken_spool_workspaces":     {"Uploads that have a workspace.", func(u spool.Usage) int64 { return int64(u.Live) }},
		"tecken_spool_waiting":        {"Requests that wait for room in the spool.", func(u spool.Usage) int64 { return int64(u.Waiting) }},
	} {
		in.metrics.Gauge(name, g.help, func() float64 { return in.measure(ctx, g.value) })
	}
}

// measure returns a figure of the spool, or -1 where the spool can't be measured.
func (in *instance) measure(ctx context.Context, value func(spool.Usage) int64) float64 {
	ctx, cancel := context.WithTimeout(ctx, gaugeTimeout)
	defer cancel()
	usage, err := in.spool.Usage(ctx)
	if err != nil {
		return -1
	}
	return float64(value(usage))
}
