package main

import (
	"net/http"
	"strings"
	"syscall"
	"testing"

	"tecken-upload/internal/telemetry/sentrytest"
	"tecken-upload/internal/testenv"
)

// Incident: an S3 that refuses something it is sent was answered for with "try again later", and clients did. What no retry mends is a
// 500, of which Sentry is told once; the setting that mends it is named.
func TestStorageThatRefuses(t *testing.T) {
	sentry := sentrytest.NewServer()
	t.Cleanup(sentry.Close)
	s3 := testenv.S3(t)
	settings := withS3(s3, testenv.Backblaze(t, s3), map[string]string{"SENTRY_DSN": sentry.DSN()})
	d := startDaemon(t, settings)
	for range 3 {
		r := d.mustPost(writeZip("app/AB1/app.pdb", "content"))
		if r.status != http.StatusInternalServerError || r.retryAfter != "" || !strings.HasPrefix(r.err, "A service this server depends on refuses") {
			t.Errorf("status %d, Retry-After %q: %s", r.status, r.retryAfter, r.err)
		}
	}
	d.signal(syscall.SIGTERM) // what is left to be told is sent
	d.exit()
	events := sentry.Events()
	if len(events) != 1 {
		t.Fatalf("%d events: %+v", len(events), events)
	}
	for _, want := range []string{"storage refuses: InvalidArgument", "checksum", "TECKEN_STORAGE_URL", "Unsupported header 'x-amz-checksum-crc32'"} {
		if !strings.Contains(string(events[0].Raw), want) {
			t.Errorf("the event does not say %q: %s", want, events[0].Raw)
		}
	}
	settings["AWS_REQUEST_CHECKSUM_CALCULATION"] = "when_required"
	if r := d.again(settings).mustPost(writeZip("app/AB1/app.pdb", "content")); r.status != http.StatusCreated {
		t.Errorf("status %d: %s", r.status, r.err)
	}
}
