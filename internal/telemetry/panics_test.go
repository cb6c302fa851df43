package telemetry_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"tecken-upload/internal/background"
	"tecken-upload/internal/telemetry"
	"tecken-upload/internal/telemetry/metricstest"
)

// Each panic is logged and counted; Sentry gets one of each kind.
func TestWatchPanics(t *testing.T) {
	log, lines := newLog(t, "info")
	reporter, sentry := newReporter(t)
	metrics := telemetry.NewMetrics()
	telemetry.WatchPanics(log, reporter, metrics)
	t.Cleanup(func() { background.OnPanic(nil) })
	for _, name := range []string{"gate", "gate", "settle", "gate"} {
		background.Guard(name, func() { panic("boom in " + name) })
	}
	for i, line := range lines() {
		if stack, _ := line["stack"].(string); i == 0 && (line["goroutine"] != "gate" || line["err"] != "panic: boom in gate" || !strings.Contains(stack, "TestWatchPanics")) {
			t.Errorf("logged %v", line)
		}
	}
	if n := len(lines()); n != 4 {
		t.Errorf("%d lines", n)
	}
	if n := metricstest.Sample(metricstest.Scrape(t, metrics.Handler()), "tecken_panics_total"); n != "4" {
		t.Errorf("%s panics counted", n)
	}
	for i, event := range received(t, reporter, sentry, 2) {
		kind := event.Exception[0]
		if want := []string{"panic in the background: gate", "panic in the background: settle"}[i]; kind.Type != want || len(kind.Stacktrace.Frames) == 0 {
			t.Errorf("event %d: %+v", i, kind)
		}
	}
}

// A metric's function may panic during a scrape. The other metrics are there.
func TestMetricsSurvivePanics(t *testing.T) {
	log, _ := newLog(t, "info")
	m := telemetry.NewMetrics()
	telemetry.WatchPanics(log, new(telemetry.Reporter), m)
	t.Cleanup(func() { background.OnPanic(nil) })
	m.Gauge("tecken_broken", "Panics.", func() float64 { panic("boom") })
	m.Counter("tecken_broken_total", "Panics.", func() float64 { panic("boom") })
	m.Gauge("tecken_well", "Does not.", func() float64 { return 1 })
	lines := metricstest.Scrape(t, m.Handler())
	for name, want := range map[string]string{"tecken_broken": "NaN", "tecken_broken_total": "NaN", "tecken_well": "1"} {
		if got := metricstest.Sample(lines, name); got != want {
			t.Errorf("%s is %q, not %s", name, got, want)
		}
	}
}

func TestThrottle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var throttle telemetry.Throttle
		for i, want := range []bool{true, false, false, true} {
			if got := throttle.Due("a"); got != want {
				t.Errorf("after %d times 25 minutes: %t", i, got)
			}
			<-time.After(25 * time.Minute)
		}
		if !throttle.Due("b") {
			t.Error("another kind is held back")
		}
	})
}
