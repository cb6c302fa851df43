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
	t.Parallel()
	sentry := sentrytest.NewServer()
	t.Cleanup(sentry.Close)
	s3 := testenv.S3(t)
	d := serveOn(newS3Site(t, s3, testenv.Backblaze(t, s3), map[string]string{"SENTRY_DSN": sentry.DSN()}))
	for range 3 {
		r := d.mustPost(zipOf(t, "app/AB1/app.pdb", "content"))
		if r.Status != http.StatusInternalServerError || r.RetryAfter != "" || !strings.HasPrefix(r.Error, "A service this server depends on refuses") {
			t.Errorf("status %d, Retry-After %q: %s", r.Status, r.RetryAfter, r.Error)
		}
	}
	d.signal(syscall.SIGTERM) // what is left to be told is sent
	d.expectExit(0)
	events := sentry.Events()
	if len(events) != 1 {
		t.Fatalf("%d events: %+v", len(events), events)
	}
	for _, want := range []string{"storage refuses: InvalidArgument", "checksum", "TECKEN_STORAGE_URL", "Unsupported header 'x-amz-checksum-crc32'"} {
		if !strings.Contains(string(events[0].Raw), want) {
			t.Errorf("the event does not say %q: %s", want, events[0].Raw)
		}
	}
	d.Settings["AWS_REQUEST_CHECKSUM_CALCULATION"] = "when_required"
	d.again().expectPost(zipOf(t, "app/AB1/app.pdb", "content"), http.StatusCreated)
}

// A refusedBucket is a server with a bucket that refuses every PUT for a while, and what is to be seen of that.
type refusedBucket struct {
	*daemon
	sentry *sentrytest.Server
	bucket *testenv.SomeRefuser

	status     int    // of S3's refusals
	code       string // that S3 gives
	answered   int    // to uploads
	retryAfter bool   // with a Retry-After
	event      string // its kind
}

func (b *refusedBucket) start(t *testing.T) {
	b.sentry = sentrytest.NewServer()
	t.Cleanup(b.sentry.Close)
	s3 := testenv.S3(t)
	b.bucket = testenv.RefuseSome(t, s3.Endpoint, func(r *http.Request) bool { return r.Method == http.MethodPut })
	b.daemon = serveOn(newS3Site(t, s3, b.bucket.Endpoint, map[string]string{"SENTRY_DSN": b.sentry.DSN()}))
	b.eventuallyGreen()
}

// refuse makes the bucket refuse, and sends more uploads than the threshold.
func (b *refusedBucket) refuse() {
	b.bucket.Refuse(b.status, b.code)
	for seed := range 5 {
		if r := b.mustPost(small(b.TB, seed)); r.Status != b.answered || (r.RetryAfter != "") != b.retryAfter {
			b.Errorf("%s: status %d, Retry-After %q: %s", b.code, r.Status, r.RetryAfter, r.Error)
		}
	}
}

// eventuallyRed waits until the heartbeat names storage. The balancer's stays green: other instances have the same bucket.
func (b *refusedBucket) eventuallyRed() {
	b.eventually("storage is red", func() bool {
		if lb, _ := b.heartbeat("/__lbheartbeat__"); lb != http.StatusOK {
			b.Errorf("%s: the balancer's heartbeat is %d", b.code, lb)
		}
		status, checks := b.heartbeat("/__heartbeat__")
		return status == http.StatusServiceUnavailable && checks["storage"] == "error"
	})
}

// checkEvents stops the server, so that what is left to be told is sent.
func (b *refusedBucket) checkEvents() {
	b.signal(syscall.SIGTERM)
	b.expectExit(0)
	events := b.sentry.Events()
	if len(events) != 1 || events[0].Exception[0].Type != b.event || !strings.Contains(events[0].Exception[0].Value, b.code) {
		b.Errorf("%s: %d events: %+v", b.code, len(events), events)
	}
}

// Incident: a bucket answered HEAD and refused every PUT. All uploads failed, and everything was green. Now the heartbeat names storage
// within a minute, and is green again by itself once PUTs are taken.
func TestBucketThatRefusesEveryPut(t *testing.T) {
	t.Parallel() // it waits for nearly all of its time
	const unavailable = "upload failed in publish: backing service unavailable"
	servers := []*refusedBucket{
		{status: http.StatusForbidden, code: "AccessDenied", answered: http.StatusInternalServerError, event: "storage refuses: AccessDenied"},
		{status: http.StatusBadRequest, code: "InvalidRequest", answered: http.StatusInternalServerError, event: "storage refuses: InvalidRequest"},
		{status: http.StatusInsufficientStorage, code: "XMinioStorageFull", answered: http.StatusServiceUnavailable, retryAfter: true, event: unavailable},
	}
	for _, b := range servers {
		b.start(t)
	}
	for _, b := range servers {
		b.refuse()
	}
	for _, b := range servers { // at the same time: it is the check's next write that they wait for
		b.eventuallyRed()
	}
	for _, b := range servers {
		b.bucket.Take()
	}
	for _, b := range servers {
		b.eventuallyGreen()
		b.expectPost(small(t, 0), http.StatusCreated)
		b.checkEvents()
	}
}
