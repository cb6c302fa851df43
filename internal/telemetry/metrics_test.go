package telemetry_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"tecken-upload/internal/telemetry"
	"tecken-upload/internal/telemetry/metricstest"
)

// hostile feeds a program's metrics with whatever a client could choose.
func hostile() *telemetry.Metrics {
	m := telemetry.NewMetrics()
	m.Gauge("tecken_spool_live_bytes", "Held by live uploads.", func() float64 { return 1 })
	m.Counter("tecken_spool_refusals_total", "No room.", func() float64 { return 2 })
	for i := range 500 {
		m.ObserveRequest(fmt.Sprintf("/route/%d", i), fmt.Sprintf("METHOD%d", i), i*7, time.Second)
	}
	return m
}

func TestMetricsAreBoundedAndNamedByUnit(t *testing.T) {
	lines := metricstest.Scrape(t, hostile().Handler())
	if n := metricstest.Check(t, lines, map[string]int{"route": 65, "method": 8, "status": 64, "le": 20}); n < 20 {
		t.Errorf("only %d series", n)
	}
}

func TestMetricsOfTheProcess(t *testing.T) {
	lines := metricstest.Scrape(t, hostile().Handler())
	for _, want := range []string{"go_goroutines", "process_open_fds", "tecken_spool_live_bytes", "tecken_spool_refusals_total"} {
		if metricstest.Sample(lines, want) == "" {
			t.Errorf("%s is missing", want)
		}
	}
	if !strings.Contains(strings.Join(lines, "\n"), "\ngo_build_info{") {
		t.Error("go_build_info is missing")
	}
}

func TestMetricsOfRequests(t *testing.T) {
	m := telemetry.NewMetrics()
	m.ObserveRequest("/upload/", "POST", 201, 90*time.Second)
	m.ObserveRequest("/upload/", "POST", 503, time.Second)
	m.ObserveRequest("", "BREW", 418, time.Millisecond)
	m.ObserveRequest("/:a/:b/:c", "GET", 999, time.Millisecond)
	lines := metricstest.Scrape(t, m.Handler())
	for series, want := range map[string]string{
		`tecken_http_requests_total{method="POST",route="/upload/",status="201"}`:              "1",
		`tecken_http_requests_total{method="POST",route="/upload/",status="503"}`:              "1",
		`tecken_http_requests_total{method="other",route="other",status="418"}`:                "1",
		`tecken_http_requests_total{method="GET",route="/:a/:b/:c",status="other"}`:            "1",
		`tecken_http_request_duration_seconds_sum{method="POST",route="/upload/"}`:             "91",
		`tecken_http_request_duration_seconds_bucket{method="POST",route="/upload/",le="60"}`:  "1",
		`tecken_http_request_duration_seconds_bucket{method="POST",route="/upload/",le="300"}`: "2",
	} {
		if got := metricstest.Sample(lines, series); got != want {
			t.Errorf("%s is %q, not %s", series, got, want)
		}
	}
}

func TestMetricsAreOneProgramsOwn(t *testing.T) {
	a, b := telemetry.NewMetrics(), telemetry.NewMetrics()
	a.Register(prometheus.NewCounter(prometheus.CounterOpts{Name: "tecken_things_total", Help: "Things."}))
	for m, want := range map[*telemetry.Metrics]string{a: "0", b: ""} {
		if got := metricstest.Sample(metricstest.Scrape(t, m.Handler()), "tecken_things_total"); got != want {
			t.Errorf("%q instead of %q", got, want)
		}
	}
}

// A scrape asks a source once, however many metrics are made of what it tells.
func TestASourceIsAskedOnceAScrape(t *testing.T) {
	m := telemetry.NewMetrics()
	asked := 0
	telemetry.Figures(m, func() int { asked++; return asked },
		telemetry.Number("tecken_asked", "Calls.", func(n int) float64 { return float64(n) }),
		telemetry.Number("tecken_asked_total", "Calls, as a counter.", func(n int) float64 { return float64(n) }))
	for _, want := range []string{"1", "2"} {
		lines := metricstest.Scrape(t, m.Handler())
		for series, want := range map[string]string{"tecken_asked": want, "tecken_asked_total": want, "# TYPE tecken_asked_total": "counter"} {
			if got := metricstest.Sample(lines, series); got != want {
				t.Errorf("%s is %q, not %s", series, got, want)
			}
		}
	}
}
