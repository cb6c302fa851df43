package telemetry

import (
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"tecken-upload/internal/background"
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
			Help:    "Time from a request's header to its answer's end.",
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
	Figures(m, value, Number(name, help, func(v float64) float64 { return v }))
}

// Counter is a Gauge with a value that only grows; its name ends in _total.
func (m *Metrics) Counter(name, help string, value func() float64) { m.Gauge(name, help, value) }

// A Figure is one metric of a source.
type Figure[T any] struct {
	name, help string
	labels     prometheus.Labels
	value      func(T) float64
}

// With returns the figure with labels, which have fixed values. Figures of one name differ in them.
func (f Figure[T]) With(labels prometheus.Labels) Figure[T] {
	f.labels = labels
	return f
}

// Number makes a figure out of what its source tells: a counter where the name ends in _total, and else a gauge, as of [Metrics.Gauge].
func Number[T any](name, help string, value func(T) float64) Figure[T] {
	return Figure[T]{name: name, help: help, value: value}
}

// Figures registers metrics of one source: look is called once for all of them at each scrape. It must be quick and safe for concurrent use.
func Figures[T any](m *Metrics, look func() T, figures ...Figure[T]) {
	s := &source[T]{look: look, figures: figures}
	for _, f := range figures {
		s.descs = append(s.descs, prometheus.NewDesc(f.name, f.help, nil, f.labels))
	}
	m.registry.MustRegister(s)
}

// A source is a prometheus.Collector of figures.
type source[T any] struct {
	look    func() T
	figures []Figure[T]
	descs   []*prometheus.Desc
}

// Describe implements prometheus.Collector.
func (s *source[T]) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range s.descs {
		ch <- d
	}
}

// Collect implements prometheus.Collector. It is called in a goroutine of the library's.
func (s *source[T]) Collect(ch chan<- prometheus.Metric) {
	values := slices.Repeat([]float64{math.NaN()}, len(s.figures)) // what a panic leaves
	background.Guard("metric", func() {
		seen := s.look()
		for i, f := range s.figures {
			values[i] = f.value(seen)
		}
	})
	for i, f := range s.figures {
		kind := prometheus.GaugeValue
		if strings.HasSuffix(f.name, "_total") {
			kind = prometheus.CounterValue
		}
		ch <- prometheus.MustNewConstMetric(s.descs[i], kind, values[i])
	}
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
