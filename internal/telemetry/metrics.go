package telemetry

import (
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

const (
	// maxRoutes bounds the values of the label route: more than a program has, few enough for Prometheus.
	maxRoutes = 64
	// other is the label for values outside the fixed set.
	other = "other"
)

// Metrics is a program's own registry. It is safe for concurrent use. It starts with the Go runtime's metrics, the process's, and
// go_build_info.
type Metrics struct {
	registry *prometheus.Registry
	requests *prometheus.CounterVec
	elapsed  *prometheus.HistogramVec

	mu     sync.Mutex
	routes map[string]bool
}

// NewMetrics makes a registry.
func NewMetrics() *Metrics {
	m := &Metrics{
		registry: prometheus.NewRegistry(),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "tecken_http_requests_total",
			Help: "HTTP requests answered, by route, method and status.",
		}, []string{"route", "method", "status"}),
		elapsed: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "tecken_http_request_duration_seconds",
			Help:    "From a request's header to its answer's end.",
			Buckets: []float64{0.005, 0.025, 0.1, 0.5, 1, 2, 5, 15, 60, 300, 900, 2400},
		}, []string{"route", "method"}),
		routes: make(map[string]bool),
	}
	m.registry.MustRegister(
		prometheus.NewGoCollector(),                                       //nolint:staticcheck // package collectors would link database/sql
		prometheus.NewProcessCollector(prometheus.ProcessCollectorOpts{}), //nolint:staticcheck // the same
		prometheus.NewBuildInfoCollector(),                                //nolint:staticcheck // the same
		m.requests, m.elapsed,
	)
	return m
}

// Register adds metrics of other forms, with labels from fixed sets. It panics if a name is taken.
func (m *Metrics) Register(metrics ...prometheus.Collector) { m.registry.MustRegister(metrics...) }

// Handler serves the metrics, in any of Prometheus's formats.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{EnableOpenMetrics: true})
}

// Gauge registers a number that goes up and down. Each scrape calls value, which must be quick and safe for concurrent use. The name has
// the base unit (_bytes, _seconds), except for a number of things. It panics if the name is taken.
func (m *Metrics) Gauge(name, help string, value func() float64) {
	m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, guarded(value)))
}

// Counter is a Gauge with a value that only grows; its name ends in _total.
func (m *Metrics) Counter(name, help string, value func() float64) {
	m.registry.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: name, Help: help}, guarded(value)))
}

// ObserveRequest counts an answered request. route is the matched pattern ("/upload/", never the request's path), or "" if none matched.
// Beyond 64 routes, and for methods and statuses unknown to HTTP, the label is "other".
func (m *Metrics) ObserveRequest(route, method string, status int, elapsed time.Duration) {
	route, method = m.routeLabel(route), methodLabel(method)
	m.requests.WithLabelValues(route, method, statusLabel(status)).Inc()
	m.elapsed.WithLabelValues(route, method).Observe(elapsed.Seconds())
}

func (m *Metrics) routeLabel(route string) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	if route == "" || !m.routes[route] && len(m.routes) >= maxRoutes {
		return other
	}
	m.routes[route] = true
	return route
}

func methodLabel(method string) string {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions:
		return method
	}
	return other
}

// statusClientGone counts requests after their client hung up; nginx's number.
const statusClientGone = 499

func statusLabel(status int) string {
	if status != statusClientGone && http.StatusText(status) == "" {
		return other
	}
	return strconv.Itoa(status)
}
