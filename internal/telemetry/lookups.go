package telemetry

import (
	"errors"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Lookups registers the metrics of lookups, and returns a function that counts one. missing is the error of a lookup that found nothing.
func (m *Metrics) Lookups(missing error) func(kind string, cached bool, elapsed time.Duration, err error) {
	count := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "tecken_lookups_total",
		Help: "Lookups, by kind, result, and whether the answer was cached.",
	}, []string{"kind", "result", "cached"})
	elapsed := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:    "tecken_lookup_duration_seconds",
		Help:    "Duration of lookups without a cached answer, waiting included.",
		Buckets: []float64{0.001, 0.0025, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2, 4, 8},
	}, []string{"kind"})
	m.Register(count, elapsed)
	return func(kind string, cached bool, took time.Duration, err error) {
		result := "error"
		switch {
		case err == nil:
			result = "present"
		case errors.Is(err, missing):
			result = "missing"
		}
		count.WithLabelValues(kind, result, strconv.FormatBool(cached)).Inc()
		if !cached {
			elapsed.WithLabelValues(kind).Observe(took.Seconds())
		}
	}
}
