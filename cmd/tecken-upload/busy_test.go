package main

import (
	"encoding/json"
	"net/http"
	"testing"

	"tecken-upload/internal/lab"
	"tecken-upload/internal/testarchive"
)

// Incident: instances that had enough answered fast, so the autoscaler slept and the balancer piled on; clients that were told
// "busy" believed it long after. Here an instance that has no receiving place left stays green, shows in its metrics
// and its heartbeat that it is saturated, and refuses one more upload before its body; the moment there is a place, it is taken.
func TestABusyInstanceSaysSo(t *testing.T) {
	t.Parallel()
	d := startDaemon(t, map[string]string{"TECKEN_MAX_RECEIVING": "2", "TECKEN_ADMISSION_WAIT": "300ms"})
	other := d.as(d.Token("other@example.com"))
	if r := d.metric("tecken_saturation_ratio"); r > 0.5 {
		t.Errorf("idle, and its saturation is %v", r)
	}
	content := makeArchive(t, testarchive.Spec{Seed: 1})
	bodies := []held{d.hold(content), d.hold(content)}
	d.eventually("both places are taken", func() bool { return d.metric("tecken_receiving") == 2 })
	if r := d.metric("tecken_saturation_ratio"); r != 1 {
		t.Errorf("its saturation is %v, want 1", r)
	}
	if status, seen := d.saturation(); status != http.StatusOK || seen != 1 {
		t.Errorf("the heartbeat is %d, and tells a saturation of %v", status, seen)
	}
	d.expectHeartbeats(http.StatusOK, http.StatusOK)
	other.refusedBeforeItsBody(http.StatusServiceUnavailable)
	if n := d.metric(`tecken_refusals_total{reason="receiving"}`); n != 1 {
		t.Errorf("%v refusals are counted, want 1", n)
	}
	for _, h := range bodies {
		if r := h.finish(); r.Status != http.StatusCreated {
			t.Errorf("an upload that had its place: status %d, %s", r.Status, r.Error)
		}
	}
	other.expectPost(content, http.StatusCreated)
	if n := d.metric(`tecken_refusals_total{reason="receiving"}`); n != 1 {
		t.Errorf("%v refusals are counted, want 1", n)
	}
}

// saturation asks the heartbeat how near the instance is to having enough, until it says that it has.
func (d *daemon) saturation() (status int, ratio float64) {
	d.Helper()
	d.eventually("the heartbeat's result is a new one", func() bool {
		var body struct{ Saturation float64 }
		code, text, err := lab.Get(d.Context(), d.URL("/__heartbeat__"))
		if err == nil {
			err = json.Unmarshal(text, &body)
		}
		if err != nil {
			d.Fatal(err)
		}
		status, ratio = code, body.Saturation
		return ratio == 1
	})
	return status, ratio
}

// refusedBeforeItsBody checks that the answer to an upload does not wait for all of its body.
func (d *daemon) refusedBeforeItsBody(want int) lab.Answer {
	d.Helper()
	r := d.post(lab.Upload{Archive: zeros(2 << 30), Expect: true})
	if refused := want == http.StatusServiceUnavailable; r.Status != want || r.Whole || (r.RetryAfter != "") != refused {
		d.Errorf("answered %v, want %d; all of the body was sent: %t", r, want, r.Whole)
	}
	return r
}
