package main

import (
	"archive/zip"
	"bytes"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"tecken-upload/internal/lab"
	"tecken-upload/internal/telemetry/sentrytest"
	"tecken-upload/internal/testenv"
)

// zipNamed makes a zip of small .sym members, one for each module.
func zipNamed(t testing.TB, modules ...string) *lab.Archive {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for i, m := range modules {
		id := fmt.Sprintf("%032X0", i+1)
		w, err := z.Create(m + "/" + id + "/" + m + ".sym")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := fmt.Fprintf(w, "MODULE Linux x86_64 %s %s\nFILE 0 main.c\n", id, m); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return raw(b.Bytes())
}

// Incident: tasks that hung kept their slots until none was left, and the queue stopped for hours. Here storage never answers
// for some objects of one tenant, and all slots are lost to them: that is told, the slots come back with their
// leases, and the other tenant's upload is completed inside its own deadline.
func TestStuckTasksStarveNobody(t *testing.T) {
	t.Parallel()
	sentry := sentrytest.NewServer()
	t.Cleanup(sentry.Close)
	s3 := testenv.S3(t)
	endpoint := testenv.HoldS3(t, s3.Endpoint, func(r *http.Request) bool {
		return r.Method == http.MethodPut && strings.Contains(r.URL.Path, "/stuck-")
	})
	// A slot's lease is a quarter of the deadline: 4 s. For more than three of them the heartbeat is red, which is told up to 2 s later.
	deadline := testenv.Slack(t, 16*time.Second)
	d := serveOn(newS3Site(t, s3, endpoint, map[string]string{
		"TECKEN_STORAGE_SLOTS": "2", "TECKEN_UPLOAD_TIMEOUT": deadline.String(), "TECKEN_STALL_ALARM": (deadline / 20).String(), "SENTRY_DSN": sentry.DSN(),
	}))
	other := d.as(d.Token("other@example.com"))
	stuck := make([]chan lab.Answer, 2)
	for i := range stuck {
		names := []string{fmt.Sprintf("stuck-%d-a", i), fmt.Sprintf("stuck-%d-b", i)}
		stuck[i] = d.posting(zipNamed(t, names...))
	}
	d.eventually("every slot is stuck, and work waits", func() bool {
		return d.metric("tecken_publish_slots_busy") == 2 && d.metric("tecken_publish_waiting") > 0
	})
	good := other.posting(zipNamed(t, "good-a", "good-b", "good-c"))
	d.eventually("the heartbeat tells that nothing moves", func() bool {
		_, checks := d.heartbeat("/__heartbeat__")
		return checks["queue"] == "error"
	})
	if status, _ := d.heartbeat("/__lbheartbeat__"); status != http.StatusOK {
		t.Errorf("the balancer's heartbeat is %d", status)
	}
	if r := <-good; r.Status != http.StatusCreated || len(r.Uploaded) != 3 {
		t.Errorf("the other tenant's upload: status %d, %s", r.Status, r.Error)
	}
	for _, answer := range stuck {
		if r := <-answer; r.Status != http.StatusServiceUnavailable || r.RetryAfter == "" {
			t.Errorf("an upload that was stuck: status %d, Retry-After %q, %s", r.Status, r.RetryAfter, r.Error)
		}
	}
	d.eventually("the heartbeat is green", func() bool { status, _ := d.heartbeat("/__heartbeat__"); return status == http.StatusOK })
	for name, want := range map[string]float64{
		"tecken_publish_slots_busy": 0, "tecken_publish_waiting": 0, "tecken_publish_runaways": 0, "tecken_spool_workspaces": 0,
	} {
		// The spool's figures may be a quarter of a second old.
		d.eventually(fmt.Sprintf("%s is %v", name, want), func() bool { return d.metric(name) == want })
	}
	if n := d.metric("tecken_publish_leases_expired_total"); n < 2 {
		t.Errorf("%v leases expired", n)
	}
	d.waitEvent(sentry, "publish: work is stalled")
	d.waitEvent(sentry, "publish: a slot expired")
}

// Incident: a part of storage hung. The calls to it held every slot until their leases ended, and the next ones did the same. Here the
// PUTs of ten tenants hang for ever. Ten others' uploads complete, and the alarm names a tenant that hangs, before any of these calls ends.
func TestCallsThatHangStarveNobody(t *testing.T) {
	t.Parallel()
	const tenants, members = 10, 20
	sentry := sentrytest.NewServer()
	t.Cleanup(sentry.Close)
	s3 := testenv.S3(t)
	endpoint := testenv.HoldS3(t, s3.Endpoint, func(r *http.Request) bool {
		return r.Method == http.MethodPut && strings.Contains(r.URL.Path, "/stuck-")
	})
	d := serveOn(newS3Site(t, s3, endpoint, map[string]string{"TECKEN_STALL_ALARM": "12s", "SENTRY_DSN": sentry.DSN()}))
	post := func(name string, members int) chan lab.Answer {
		t.Helper()
		modules := make([]string, members)
		for i := range modules {
			modules[i] = fmt.Sprintf("%s-%d", name, i)
		}
		return d.as(d.Token("other@example.com")).posting(zipNamed(t, modules...))
	}
	stuck := []chan lab.Answer{post("stuck-0", members)}
	d.eventually("every slot hangs", func() bool { return d.metric("tecken_publish_slots_busy") == 16 })
	var good []chan lab.Answer
	for i := range tenants {
		if i > 0 {
			stuck = append(stuck, post(fmt.Sprintf("stuck-%d", i), members))
		}
		good = append(good, post(fmt.Sprintf("good-%d", i), 4))
	}
	for i, answer := range good {
		if r := <-answer; r.Status != http.StatusCreated || len(r.Uploaded) != 4 {
			t.Errorf("upload %d of a tenant whose calls do not hang: status %d, %s", i, r.Status, r.Error)
		}
	}
	line := d.waitLog("work of a tenant hangs")
	if line["queue"] != "publish" || line["tenant"] == 0.0 || line["upload"] == 0.0 {
		t.Errorf("the log tells %v", line)
	}
	d.waitEvent(sentry, "publish: work of a tenant hangs")
	if status, checks := d.heartbeat("/__heartbeat__"); status != http.StatusServiceUnavailable || checks["queue"] != "error" {
		t.Errorf("the heartbeat is %d, %v", status, checks)
	}
	if status, _ := d.heartbeat("/__lbheartbeat__"); status != http.StatusOK {
		t.Errorf("the balancer's heartbeat is %d", status)
	}
	if n, longest := d.metric("tecken_publish_slots_stuck"), d.metric("tecken_publish_hanging_seconds"); n < 16 || longest <= 0 {
		t.Errorf("%v slots are stuck, the first for %v s", n, longest)
	}
	for i, answer := range stuck {
		if len(answer) > 0 {
			t.Errorf("upload %d of a tenant whose calls hang was answered before: %+v", i, <-answer)
		}
	}
}

// waitEvent waits until Sentry was told of that.
func (d *daemon) waitEvent(sentry *sentrytest.Server, title string) {
	d.Helper()
	d.eventually("Sentry knows of "+title, func() bool {
		for _, e := range sentry.Events() {
			if strings.Contains(fmt.Sprintf("%+v", e), title) {
				return true
			}
		}
		return false
	})
}
