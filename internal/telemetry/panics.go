package telemetry

import (
	"log/slog"
	"sync/atomic"

	"tecken-upload/internal/background"
)

// WatchPanics logs, counts and reports panics without a waiting caller, for the rest of the process.
func WatchPanics(log *slog.Logger, reporter *Reporter, metrics *Metrics) {
	var total atomic.Int64
	var reports Throttle
	metrics.Counter("tecken_panics_total", "Panics of background work. The log says where; loops continue.",
		func() float64 { return float64(total.Load()) })
	background.OnPanic(func(name string, p *background.PanicError) {
		total.Add(1)
		log.Error("panic in the background", "goroutine", name, "err", p, "stack", string(p.Stack))
		if reports.Due(name) {
			reporter.Panic("panic in the background: "+name, p.Value, p.Stack, slog.String("goroutine", name))
		}
	})
}
