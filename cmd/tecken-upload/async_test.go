package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"syscall"
	"testing"

	"tecken-upload/internal/lab"
	"tecken-upload/internal/testarchive"
	"tecken-upload/internal/testenv"
)

// A state is how far an upload is.
type state struct {
	ID       int64
	Outcome  *string
	Phase    string
	Error    *string
	Progress float64
}

// postAsync uploads an archive that is not waited for, and returns where its state is. The client hangs up then.
func (d *daemon) postAsync(a *lab.Archive) (location string) {
	d.Helper()
	r := d.post(lab.Upload{Archive: a, Async: true})
	if r.Status != http.StatusAccepted || r.Location == "" {
		d.Fatalf("answered %v, Location %q", r, r.Location)
	}
	return r.Location
}

// state asks for a state.
func (d *daemon) state(location string) state {
	d.Helper()
	r, err := http.NewRequestWithContext(d.Context(), http.MethodGet, d.URL(location), nil)
	if err != nil {
		d.Fatal(err)
	}
	r.Header.Set("Auth-Token", d.token)
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		d.Fatal(err)
	}
	defer resp.Body.Close()
	var answer struct{ Upload state }
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil || resp.StatusCode != http.StatusOK {
		d.Fatalf("%s: status %d: %v", location, resp.StatusCode, err)
	}
	return answer.Upload
}

// A server is killed while it is at an upload that is not waited for. Another instance, which has nothing of it but the database, shows
// how far it is until then, and that it is lost once the dead one has been silent for long enough; a retry on it succeeds.
func TestAKilledServersUploadIsLost(t *testing.T) {
	t.Parallel()
	for name, database := range map[string]func() string{
		"SQLite":     func() string { return "sqlite:" + t.TempDir() + "/shared.db" },
		"PostgreSQL": func() string { return testenv.Postgres(t) },
	} {
		t.Run(name, func(t *testing.T) {
			s3 := testenv.S3(t)
			proxy := testenv.Toxiproxy(t, s3.Addr)
			settings := map[string]string{"TECKEN_DATABASE_URL": database(), "TECKEN_TENANT_STALE": "4s"}
			dead := serveOn(newS3Site(t, s3, "http://"+proxy.Addr, settings))
			other := serveAs(newS3Site(t, s3, s3.Endpoint, settings), dead.token)

			content := makeArchive(t, testarchive.Spec{Seed: 6, Bytes: 1 << 20, Members: 5})
			proxy.Add("timeout", "upstream", map[string]any{"timeout": 0}) // nothing gets through any more
			location := dead.postAsync(content)
			other.eventually("the other instance sees how far it is", func() bool {
				s := other.state(location)
				return s.Outcome == nil && s.Phase == "publish" && s.Progress == 0.5
			})
			dead.kill()
			other.eventually("it is lost", func() bool {
				s := other.state(location)
				return s.Outcome != nil && *s.Outcome == "lost" && s.Phase == "publish" && strings.Contains(*s.Error, "Send it again")
			})
			again := other.postAsync(content)
			other.eventually("a retry is completed", func() bool {
				s := other.state(again)
				return s.Outcome != nil && *s.Outcome == "completed" && s.Error == nil && s.Progress == 1
			})
			other.checkStored(content)
			if s := other.state(location); *s.Outcome != "lost" {
				t.Errorf("after the retry the first one is %s", *s.Outcome)
			}
		})
	}
}

// The shutdown waits for uploads that no client waits for, as long as for others, and then ends them.
func TestShutdownOfUploadsThatAreNotWaitedFor(t *testing.T) {
	t.Parallel()
	for outcome, timeout := range map[string]string{"completed": patience.String(), "interrupted": "200ms"} {
		t.Run(outcome, func(t *testing.T) {
			s3 := testenv.S3(t)
			proxy := testenv.Toxiproxy(t, s3.Addr)
			d := serveOn(newS3Site(t, s3, "http://"+proxy.Addr, map[string]string{"TECKEN_SHUTDOWN_TIMEOUT": timeout}))
			content := makeArchive(t, testarchive.Spec{Seed: 7, Bytes: 1 << 20, Members: 5})
			heal := proxy.Add("bandwidth", "upstream", map[string]any{"rate": 0})
			location := d.postAsync(content)
			d.eventually("it is published", func() bool { return d.metric("tecken_uploads_in_publish") == 1 })
			d.signal(syscall.SIGTERM)
			d.eventually("the listener is closed", func() bool { status, _ := d.heartbeat("/__lbheartbeat__"); return status == 0 })
			if outcome == "completed" {
				heal()
			}
			d.expectExit(0)
			if line := d.waitLog("upload ended"); line["outcome"] != outcome || location != fmt.Sprintf("/upload/status/%v", line["upload"]) {
				t.Errorf("%s ended: %v", location, line)
			}
			d.expectEmptySpool()
			next := d.again()
			if s := next.state(location); s.Outcome == nil || *s.Outcome != outcome {
				t.Errorf("the next process knows %+v", s)
			}
		})
	}
}
