// Package metricstest reads a program's metrics as Prometheus does, and checks our rules: each has a help text, names end in their unit,
// and labels come from fixed sets.
package metricstest

import (
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
)

// Scrape returns the lines that Prometheus would read.
func Scrape(t testing.TB, metrics http.Handler) []string {
	t.Helper()
	w := httptest.NewRecorder()
	metrics.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	if w.Code != http.StatusOK {
		t.Fatalf("status %d: %s", w.Code, w.Body)
	}
	return strings.Split(strings.TrimSpace(w.Body.String()), "\n")
}

// Sample returns the value of a series, or "".
func Sample(lines []string, series string) string {
	for _, line := range lines {
		if value, ok := strings.CutPrefix(line, series+" "); ok {
			return value
		}
	}
	return ""
}

// Check checks all our metrics among the lines. labels has the expected labels and the largest number of values of each. It returns the
// number of series.
func Check(t testing.TB, lines []string, labels map[string]int) (series int) {
	t.Helper()
	help := regexp.MustCompile(`^# HELP (\S+) \S`)
	typed := regexp.MustCompile(`^# TYPE (\S+) (\S+)$`)
	labelled := regexp.MustCompile(`(\w+)="([^"]*)"`)
	values := make(map[string]map[string]bool) // by family and label
	helped, family := make(map[string]bool), ""
	for _, line := range lines {
		if m := help.FindStringSubmatch(line); m != nil {
			helped[m[1]] = true
		}
		if m := typed.FindStringSubmatch(line); m != nil {
			family = m[1]
			checkName(t, family, m[2])
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
	for key, set := range values {
		_, label, _ := strings.Cut(key, " ")
		if most, ok := labels[label]; !ok || len(set) > most {
			t.Errorf("label %s has %d values, at most %d are expected", key, len(set), most)
		}
	}
	return series
}

// checkName checks our names against Prometheus's conventions.
func checkName(t testing.TB, name, kind string) {
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
