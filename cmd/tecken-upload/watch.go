package main

import (
	"context"
	"log/slog"
	"net/http"
	"time"

	"tecken-upload/internal/telemetry"
	"tecken-upload/internal/telemetry/uploadwatch"
)

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
	switch {
	case stack != nil:
		w.reporter.Panic("request panicked", err, stack, facts...)
		facts = append(facts, slog.String("stack", string(stack)))
	case !w.Refused(err, facts...):
		w.reporter.Error("request failed", err, facts...)
	}
	w.logger.LogAttrs(ctx, slog.LevelError, "request failed", append(facts, slog.Any("err", err))...)
}
