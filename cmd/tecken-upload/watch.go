package main

import (
	"context"
	"log/slog"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"tecken-upload/internal/telemetry"
	"tecken-upload/internal/telemetry/uploadwatch"
	"tecken-upload/internal/upload"
	"tecken-upload/internal/web/exchange"
)

// watcher reports requests and uploads to the log, the metrics and Sentry, and ends of uploads to the window of disk faults.
type watcher struct {
	*uploadwatch.Uploads
	disk     *disk
	logger   *slog.Logger
	metrics  *telemetry.Metrics
	reporter *telemetry.Reporter
	reports  telemetry.Throttle // of faults
	refusals *prometheus.CounterVec
	failures *prometheus.CounterVec
}

func (in *instance) watcher(disk *disk) *watcher {
	w := &watcher{
		Uploads:  uploadwatch.NewUploads(in.logger, in.reporter, in.metrics, uploadStatus),
		disk:     disk,
		logger:   in.logger,
		metrics:  in.metrics,
		reporter: in.reporter,
		refusals: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "tecken_refusals_total", Help: "Uploads refused before they had a record, or ended for want of room, by reason.",
		}, []string{"reason"}),
		failures: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "tecken_unrecorded_failures_total", Help: "Uploads that failed by our fault before they had a record, by cause.",
		}, []string{"cause"}),
	}
	in.metrics.Register(w.refusals, w.failures)
	// Prometheus sees a rate only from a zero that it has scraped.
	for _, reason := range exchange.RefusalReasons() {
		w.refusals.WithLabelValues(reason)
	}
	for _, cause := range exchange.FailureCauses() {
		w.failures.WithLabelValues(cause)
	}
	return w
}

// uploadStatus is the status of an upload's answer.
func uploadStatus(err error) int {
	if err == nil {
		return http.StatusCreated
	}
	return exchange.Status(err)
}

// Ended implements upload.Observer. It reports to the disk's window first: a client with its answer finds the heartbeats up to date.
func (w *watcher) Ended(ctx context.Context, r *upload.Report) {
	w.disk.Note(r.Err)
	if lack := exchange.Lack(r.Err); lack != "" {
		w.Refused(lack, false)
	}
	w.Uploads.Ended(ctx, r)
}

// Request implements web.Watcher.
func (w *watcher) Request(route, method string, status int, elapsed time.Duration) {
	w.metrics.ObserveRequest(route, method, status, elapsed)
}

// Refused implements uploads.Watcher.
func (w *watcher) Refused(reason string, failed bool) {
	w.refusals.WithLabelValues(reason).Inc()
	if failed {
		w.failures.WithLabelValues(reason).Inc()
	}
}

// Fault implements exchange.Reporter. Sentry gets one event an hour for each route and cause.
func (w *watcher) Fault(ctx context.Context, f *exchange.Fault) {
	facts := []slog.Attr{slog.String("method", f.Method), slog.String("path", f.Path), slog.String("cause", f.Cause)}
	if f.Token != nil {
		facts = append(facts, slog.Int64("tenant", f.Token.ID), slog.String("user", f.Token.User), slog.String("label", f.Label))
	}
	if f.Declared > 0 {
		facts = append(facts, slog.Int64("declared", f.Declared))
	}
	switch {
	case f.Stack != nil:
		w.reporter.Panic("request panicked", f.Err, f.Stack, facts...)
		facts = append(facts, slog.String("stack", string(f.Stack)))
	case w.Uploads.Refused(f.Err, facts...):
	case w.reports.Due(f.Route + " " + f.Cause):
		w.reporter.Error("request failed", f.Err, facts...)
	}
	w.logger.LogAttrs(ctx, slog.LevelError, "request failed", append(facts, slog.Any("err", f.Err))...)
}
