package main

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tecken-upload/internal/telemetry"
	"tecken-upload/internal/telemetry/sentrytest"
	"tecken-upload/internal/upload"
	"tecken-upload/internal/web/exchange"
)

// An outage is one event for each route and cause, not one for each request, and has what is known of the upload. The log has every request.
func TestFaultsAreReportedOnce(t *testing.T) {
	sentry := sentrytest.NewServer()
	defer sentry.Close()
	reporter, err := telemetry.NewReporter(telemetry.ReporterOptions{DSN: sentry.DSN(), Instance: "i-1"})
	if err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	in := &instance{logger: slog.New(slog.NewTextHandler(&log, nil)), reporter: reporter, metrics: telemetry.NewMetrics()}
	w := in.watcher(nil)
	token := &upload.Token{ID: 3, User: "ci@example.com"}
	for i := range 21 {
		for _, cause := range []string{"database", "disk"} {
			w.Fault(t.Context(), &exchange.Fault{
				Method: "POST", Path: "/upload/", Route: "/upload/", Cause: cause, Err: fmt.Errorf("attempt %d", i), Token: token, Label: "nightly", Declared: 1000,
			})
		}
		w.Fault(t.Context(), &exchange.Fault{Method: "GET", Path: fmt.Sprintf("/a/%d/a.sym", i), Route: "/:a/:b/:c", Cause: "unavailable", Err: errors.New("x"), Declared: -1})
	}
	if !reporter.Close(flushTimeout) {
		t.Error("not everything was sent")
	}
	events, err := sentry.Wait(t.Context(), 3)
	if err != nil {
		t.Fatal(err)
	}
	want := []map[string]any{
		{"method": "POST", "path": "/upload/", "cause": "database", "tenant": 3.0, "user": "ci@example.com", "label": "nightly", "declared": 1000.0},
		{"method": "POST", "path": "/upload/", "cause": "disk", "tenant": 3.0, "user": "ci@example.com", "label": "nightly", "declared": 1000.0},
		{"method": "GET", "path": "/a/0/a.sym", "cause": "unavailable"},
	}
	var got []map[string]any
	for _, e := range events {
		if e.Exception[0].Type != "request failed" {
			t.Errorf("an event is %q", e.Exception[0].Type)
		}
		got = append(got, e.Contexts["facts"])
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if n := bytes.Count(log.Bytes(), []byte("request failed")); n != 63 {
		t.Errorf("%d lines", n)
	}
}
