package telemetry_test

import (
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"tecken-upload/internal/symbol"
	"tecken-upload/internal/telemetry"
	"tecken-upload/internal/upload"
)

// scrape returns the lines that Prometheus would read.
func scrape(t *testing.T, m *telemetry.Metrics) []string {
	t.Helper()
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	if w.Code != 200 {
		t.Fatalf("status %d: %s", w.Code, w.Body)
	}
	return strings.Split(strings.TrimSpace(w.Body.String()), "\n")
}

// sample returns the value of a series, "" where there is none.
func sample(lines []string, series string) string {
	for _, line := range lines {
		if value, ok := strings.CutPrefix(line, series+" "); ok {
			return value
		}
	}
	return ""
}

// hostile feeds a program's metrics with whatever a client could choose.
func hostile(t *testing.T) *telemetry.Metrics {
	m := telemetry.NewMetrics()
	m.Gauge("tecken_spool_live_bytes", "Held by live uploads.", func() float64 { return 1 })
	m.Counter("tecken_spool_refusals_total", "No room.", func() float64 { return 2 })
	u := telemetry.NewUploads(slog.New(slog.DiscardHandler), &telemetry.Reporter{}, m)
	for i := range 500 {
		m.ObserveRequest(fmt.Sprintf("/route/%d", i), fmt.Sprintf("METHOD%d", i), i*7, time.Second)
		u.Ended(t.Context(), &upload.Report{
			Upload: upload.Upload{
				Outcome: upload.Outcome(fmt.Sprint("outcome", i)), Filename: fmt.Sprint("f", i), TokenID: int64(i), Size: -1,
				Files: []upload.File{
					{Name: fmt.Sprintf("a/b/c.ext%d", i), State: upload.FileState(fmt.Sprint("state", i)), Size: -1, StoredSize: -1},
					{Name: fmt.Sprintf("a/b/%d.SYM", i), Key: symbol.Key{}, State: upload.FileUploaded, Size: 1},
				},
			},
			Phases: map[upload.Phase]time.Duration{upload.Phase(fmt.Sprint("phase", i)): time.Second},
			Phase:  upload.Phase(fmt.Sprint("phase", i)),
			Status: 200,
		})
	}
	return m
}

func TestMetricsAreBoundedAndNamedByUnit(t *testing.T) {
	help := regexp.MustCompile(`^# HELP (\S+) \S`)
	typed := regexp.MustCompile(`^# TYPE (\S+) (\S+)$`)
	labelled := regexp.MustCompile(`(\w+)="([^"]*)"`)
	values := make(map[string]map[string]bool) // by family and label
	helped, series := make(map[string]bool), 0
	family, kind := "", ""
	for _, line := range scrape(t, hostile(t)) {
		if m := help.FindStringSubmatch(line); m != nil {
			helped[m[1]] = true
		}
		if m := typed.FindStringSubmatch(line); m != nil {
			family, kind = m[1], m[2]
			checkName(t, family, kind)
		}
		if !strings.HasPrefix(line, "tecken_") {
			continue
		}
		series++
		if !helped[family] || !strings.HasPrefix(line, family) {
			t.Errorf("%s: no help", line)
		}
		for _, m := range labelled.FindAllStringSubmatch(line, -1) {
			key := family + " " + m[1]
			if values[key] == nil {
				values[key] = make(map[string]bool)
			}
			values[key][m[2]] = true
		}
	}
	allowed := map[string]int{"route": 65, "method": 8, "status": 64, "outcome": 7, "phase": 5, "state": 5, "extension": 10, "le": 20}
	for key, set := range values {
		_, label, _ := strings.Cut(key, " ")
		if most, ok := allowed[label]; !ok || len(set) > most {
			t.Errorf("label %s has %d values, at most %d are expected", key, len(set), most)
		}
	}
	if series < 20 {
		t.Errorf("only %d series", series)
	}
}

// checkName holds our names to Prometheus's conventions.
func checkName(t *testing.T, name, kind string) {
	t.Helper()
	if !strings.HasPrefix(name, "tecken_") {
		return
	}
	switch kind {
	case "counter":
		if !strings.HasSuffix(name, "_total") {
			t.Errorf("counter %s does not end in _total", name)
		}
	case "histogram":
		if !strings.HasSuffix(name, "_seconds") && !strings.HasSuffix(name, "_bytes") {
			t.Errorf("histogram %s does not end in its unit", name)
		}
	}
}

func TestMetricsOfTheProcess(t *testing.T) {
	lines := scrape(t, hostile(t))
	for _, want := range []string{"go_goroutines", "process_open_fds", "tecken_spool_live_bytes", "tecken_spool_refusals_total"} {
		if sample(lines, want) == "" {
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
	lines := scrape(t, m)
	for series, want := range map[string]string{
		`tecken_http_requests_total{method="POST",route="/upload/",status="201"}`:              "1",
		`tecken_http_requests_total{method="POST",route="/upload/",status="503"}`:              "1",
		`tecken_http_requests_total{method="other",route="other",status="418"}`:                "1",
		`tecken_http_requests_total{method="GET",route="/:a/:b/:c",status="other"}`:            "1",
		`tecken_http_request_duration_seconds_sum{method="POST",route="/upload/"}`:             "91",
		`tecken_http_request_duration_seconds_bucket{method="POST",route="/upload/",le="60"}`:  "1",
		`tecken_http_request_duration_seconds_bucket{method="POST",route="/upload/",le="300"}`: "2",
	} {
		if got := sample(lines, series); got != want {
			t.Errorf("%s is %q, not %s", series, got, want)
		}
	}
}

func TestMetricsAreOneProgramsOwn(t *testing.T) {
	a, b := telemetry.NewMetrics(), telemetry.NewMetrics()
	telemetry.NewUploads(slog.New(slog.NewTextHandler(io.Discard, nil)), &telemetry.Reporter{}, a)
	if sample(scrape(t, a), "tecken_upload_bytes_total") != "0" || sample(scrape(t, b), "tecken_upload_bytes_total") != "" {
		t.Error("upload metrics are where no uploads are told of, or not where they are")
	}
	if sample(scrape(t, a), `tecken_uploads_total{outcome="failed"}`) != "0" {
		t.Error("an outcome that has not happened is missing: no rate can rise from it")
	}
}
