package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"tecken-upload/internal/testarchive"
)

// Incident: instances that had enough answered fast, so the autoscaler slept and the balancer piled on; clients that were told
// "busy" believed it long after. Here an instance that has no receiving place left stays green, shows in its metrics
// and its heartbeat that it is saturated, and refuses one more upload before its body; the moment there is a place, it is taken.
func TestABusyInstanceSaysSo(t *testing.T) {
	d := startDaemon(t, map[string]string{"TECKEN_MAX_RECEIVING": "2", "TECKEN_ADMISSION_WAIT": "300ms"})
	other := d.as(d.makeToken(nil))
	if r := d.metric("tecken_saturation_ratio"); r > 0.5 {
		t.Errorf("idle, and its saturation is %v", r)
	}
	content, _ := makeArchive(t, testarchive.Spec{Seed: 1})
	answers := make([]chan reply, 2)
	bodies := make([]*gated, 2)
	for i := range answers {
		bodies[i] = newGated(content)
		answers[i] = d.posting(bodies[i].write)
		<-bodies[i].half
	}
	d.eventually("both places are taken", func() bool { return d.metric("tecken_receiving") == 2 })
	if r := d.metric("tecken_saturation_ratio"); r != 1 {
		t.Errorf("its saturation is %v, want 1", r)
	}
	if status, seen := d.saturation(); status != http.StatusOK || seen != 1 {
		t.Errorf("the heartbeat is %d, and tells a saturation of %v", status, seen)
	}
	if status, _ := d.heartbeat("/__lbheartbeat__"); status != http.StatusOK {
		t.Errorf("the balancer's heartbeat is %d", status)
	}
	other.refusedBeforeItsBody()
	if n := d.metric(`tecken_refusals_total{reason="receiving"}`); n != 1 {
		t.Errorf("%v refusals are counted, want 1", n)
	}
	for i := range answers {
		close(bodies[i].rest)
		if r := <-answers[i]; r.status != http.StatusCreated {
			t.Errorf("an upload that had its place: status %d, %s", r.status, r.err)
		}
	}
	if r := other.mustPost(writing(content)); r.status != http.StatusCreated {
		t.Errorf("with places free: status %d, %s", r.status, r.err)
	}
	if n := d.metric(`tecken_refusals_total{reason="receiving"}`); n != 1 {
		t.Errorf("%v refusals are counted, want 1", n)
	}
}

// saturation asks the heartbeat how near the instance is to having enough; -1 where it does not say.
func (d *daemon) saturation() (status int, ratio float64) {
	d.Helper()
	d.eventually("the heartbeat's result is a new one", func() bool {
		resp, err := http.Get(d.url + "/__heartbeat__")
		if err != nil {
			d.Fatal(err)
		}
		defer resp.Body.Close()
		body := struct{ Saturation *float64 }{}
		if err := json.NewDecoder(resp.Body).Decode(&body); err != nil {
			d.Fatal(err)
		}
		status, ratio = resp.StatusCode, -1
		if body.Saturation != nil {
			ratio = *body.Saturation
		}
		return ratio == 1
	})
	return status, ratio
}

// refusedBeforeItsBody sends the head of an upload alone, and checks that the answer does not wait for more.
func (d *daemon) refusedBeforeItsBody() {
	d.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(d.url, "http://"))
	if err != nil {
		d.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		d.Fatal(err)
	}
	fmt.Fprintf(conn, "POST /upload/ HTTP/1.1\r\nHost: x\r\nAuth-Token: %s\r\nContent-Type: multipart/form-data; boundary=b\r\nContent-Length: 1000000\r\n\r\n", d.token)
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		d.Fatal(err)
	}
	defer resp.Body.Close()
	wait, err := strconv.Atoi(resp.Header.Get("Retry-After"))
	if resp.StatusCode != http.StatusServiceUnavailable || err != nil || wait < 1 || wait > 120 {
		d.Errorf("status %d, Retry-After %q", resp.StatusCode, resp.Header.Get("Retry-After"))
	}
}
