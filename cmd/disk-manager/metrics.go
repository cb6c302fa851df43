package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"tecken-upload/internal/background"
	"tecken-upload/internal/headers"
	"tecken-upload/internal/telemetry"
)

const (
	// listenAgain is the pause before another try to serve the metrics.
	listenAgain = 30 * time.Second
	// scrapeTimeout ends a connection to the metrics without progress.
	scrapeTimeout = 10 * time.Second
)

// metrics are the sweeps' metrics. Gauges keep the figures of the last sweep that had them.
type metrics struct {
	*telemetry.Metrics

	sweeps    *prometheus.CounterVec
	elapsed   prometheus.Histogram
	reclaimed *prometheus.CounterVec
	freed     prometheus.Counter
	errors    prometheus.Counter
	givenUp   prometheus.Counter
	stuck     prometheus.Gauge
	last      prometheus.Gauge
	orphans   prometheus.Gauge
	live      prometheus.Gauge
	oldest    *prometheus.GaugeVec
}

func newMetrics(lines *telemetry.Lines) *metrics {
	counter := func(name, help string) prometheus.CounterOpts { return prometheus.CounterOpts{Name: name, Help: help} }
	gauge := func(name, help string) prometheus.GaugeOpts { return prometheus.GaugeOpts{Name: name, Help: help} }
	m := &metrics{
		Metrics: telemetry.NewMetrics(),
		sweeps:  prometheus.NewCounterVec(counter("tecken_janitor_sweeps_total", "Sweeps, by outcome."), []string{"result"}),
		elapsed: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "tecken_janitor_sweep_duration_seconds", Help: "Duration of sweeps until they ended or were given up.",
			Buckets: []float64{0.01, 0.05, 0.25, 1, 5, 15, 60, 120, 240, 600},
		}),
		reclaimed: prometheus.NewCounterVec(counter("tecken_janitor_reclaimed_total", "Orphans removed, by kind."), []string{"kind"}),
		freed:     prometheus.NewCounter(counter("tecken_janitor_freed_bytes_total", "Bytes freed.")),
		errors:    prometheus.NewCounter(counter("tecken_janitor_errors_total", "Orphans that could not be examined or removed, and sweeps that failed.")),
		givenUp:   prometheus.NewCounter(counter("tecken_janitor_given_up_total", "Sweeps with a process that could not be killed.")),
		stuck:     prometheus.NewGauge(gauge("tecken_janitor_stuck", "Sweep processes that can't be killed, now; at 2 sweeps are suspended.")),
		last:      prometheus.NewGauge(gauge("tecken_janitor_last_sweep_timestamp_seconds", "End of the last sweep through the whole spool.")),
		orphans:   prometheus.NewGauge(gauge("tecken_janitor_orphans", "Orphans found by the last sweep, young ones included.")),
		live:      prometheus.NewGauge(gauge("tecken_janitor_live_workspaces", "Workspaces with an owner.")),
		oldest: prometheus.NewGaugeVec(gauge("tecken_janitor_oldest_workspace_seconds",
			"Age of the oldest workspace: with an owner, since it was made; without, since its last change, unless it was removed."), []string{"owner"}),
	}
	m.CountLost(lines)
	m.Register(m.sweeps, m.elapsed, m.reclaimed, m.freed, m.errors, m.givenUp, m.stuck, m.last, m.orphans, m.live, m.oldest)
	// Prometheus sees a rate only from a zero that it has scraped.
	for _, r := range results() {
		m.sweeps.WithLabelValues(string(r))
	}
	for _, kind := range []string{"workspace", "stray"} {
		m.reclaimed.WithLabelValues(kind)
	}
	return m
}

func (m *metrics) swept(o outcome, stuck int) {
	r := &o.report
	m.sweeps.WithLabelValues(string(o.result)).Inc()
	m.stuck.Set(float64(stuck))
	m.errors.Add(float64(r.Failed))
	if o.err != nil && o.result != resultInterrupted {
		m.errors.Inc()
	}
	if o.result == resultSuspended {
		return
	}
	if o.givenUp != nil {
		m.givenUp.Inc()
	}
	m.elapsed.Observe(o.elapsed.Seconds())
	m.reclaimed.WithLabelValues("workspace").Add(float64(r.Workspaces))
	m.reclaimed.WithLabelValues("stray").Add(float64(r.Reclaimed - r.Workspaces))
	m.freed.Add(float64(r.Freed))
	if o.result == resultOK || o.result == resultIncomplete {
		m.last.SetToCurrentTime()
		m.orphans.Set(float64(r.Found))
		m.live.Set(float64(r.Live))
		m.oldest.WithLabelValues("live").Set(r.OldestLive.Seconds())
		m.oldest.WithLabelValues("none").Set(r.OldestLeft.Seconds())
	}
}

// serve serves the metrics until ctx ends. Failures are retried; sweeps do not wait for it.
func (w *watch) serve(ctx context.Context, address string) {
	for ctx.Err() == nil {
		if err := w.serveOnce(ctx, address); err != nil {
			w.log.Error("metrics are not served", "err", err)
			if w.reports.Due("metrics not served") {
				w.reporter.Error("metrics not served", err)
			}
		}
		select {
		case <-ctx.Done():
		case <-time.After(listenAgain):
		}
	}
}

func (w *watch) serveOnce(ctx context.Context, address string) error {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	if err != nil {
		return fmt.Errorf("listen to Prometheus: %w", err)
	}
	w.log.Info("metrics served", "address", listener.Addr().String())
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", w.metrics.Handler())
	server := &http.Server{
		Handler:           mux,
		ReadHeaderTimeout: scrapeTimeout, WriteTimeout: scrapeTimeout, IdleTimeout: time.Minute,
		ErrorLog: slog.NewLogLogger(w.log.Handler(), slog.LevelDebug),
	}
	stop := background.AfterContext(ctx, "metrics", func() { _ = server.Close() })
	defer stop()
	if err := server.Serve(new(headers.Budget).Guard(server, listener)); !errors.Is(err, http.ErrServerClosed) {
		return errors.Join(fmt.Errorf("serve metrics: %w", err), server.Close())
	}
	return nil
}
