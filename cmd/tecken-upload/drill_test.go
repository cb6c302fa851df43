package main

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"tecken-upload/internal/lab"
	"tecken-upload/internal/telemetry/sentrytest"
	"tecken-upload/internal/testarchive"
	"tecken-upload/internal/testenv"
)

// The main job, with everything real: PostgreSQL, S3, every kind of archive.
func TestEveryArchiveArrivesInS3(t *testing.T) {
	t.Parallel()
	s3 := testenv.S3(t)
	d := serveOn(newS3Site(t, s3, s3.Endpoint, map[string]string{"TECKEN_DATABASE_URL": testenv.Postgres(t)}))
	for i, spec := range []testarchive.Spec{
		{Format: testarchive.Zip, Bytes: 8 << 20, Listing: true},
		{Format: testarchive.Zip, Bytes: 4 << 20, Mix: testarchive.PlainMix, Members: 20},
		{Format: testarchive.Zip, Bytes: 2 << 20, Store: true, Members: 20},
		{Format: testarchive.Tar, Bytes: 2 << 20, Members: 20},
		{Format: testarchive.TarGzip, Bytes: 2 << 20, Members: 20},
		{Format: testarchive.TarZstd, Bytes: 1 << 20, Members: 20},
	} {
		t.Run(fmt.Sprintf("%s, stored %t", spec.Format, spec.Store), func(t *testing.T) {
			spec.Seed = uint64(i + 1)
			content := makeArchive(t, spec)
			first := d.expectPost(content, http.StatusCreated)
			d.checkStored(content)
			again := d.expectPost(content, http.StatusCreated)
			if len(first.Skipped) != 0 || len(again.Uploaded) != 0 || len(again.Skipped) != len(first.Uploaded) {
				t.Errorf("%d skipped; the second time: %d uploaded, %d skipped of %d", len(first.Skipped), len(again.Uploaded), len(again.Skipped), len(first.Uploaded))
			}
		})
	}
}

func TestShutdownLetsUploadsFinish(t *testing.T) {
	t.Parallel()
	d := startDaemon(t, map[string]string{"TECKEN_SHUTDOWN_DELAY": testenv.Slack(t, 2*time.Second).String()})
	content := makeArchive(t, testarchive.Spec{Seed: 1})
	h := d.hold(content)
	d.waitReceiving(1)
	d.signal(syscall.SIGTERM)
	d.eventually("the balancer's heartbeat is red", func() bool {
		status, _ := d.heartbeat("/__lbheartbeat__")
		if status == 0 {
			t.Fatal("the listener closed before the heartbeat was red")
		}
		return status == http.StatusServiceUnavailable
	})
	d.eventually("the listener is closed", func() bool { status, _ := d.heartbeat("/__lbheartbeat__"); return status == 0 })
	if r := h.finish(); r.Status != http.StatusCreated {
		t.Errorf("the upload in flight: status %d, %s", r.Status, r.Error)
	}
	d.expectExit(0)
	d.expectEmptySpool()
}

func TestShutdownCancelsWhatDoesNotFinish(t *testing.T) {
	t.Parallel()
	d := startDaemon(t, map[string]string{"TECKEN_SHUTDOWN_TIMEOUT": "200ms"})
	h := d.hold(zeros(1 << 20))
	d.waitReceiving(1)
	d.signal(syscall.SIGTERM)
	line := d.waitLog("upload ended")
	if r := h.finish(); r.Status != http.StatusServiceUnavailable || r.RetryAfter == "" {
		t.Errorf("status %d, Retry-After %q: %s", r.Status, r.RetryAfter, r.Error)
	}
	if d.expectExit(0); line["outcome"] != "interrupted" {
		t.Errorf("outcome %v", line["outcome"])
	}
	d.expectEmptySpool()
}

func TestASecondSignalStopsAtOnce(t *testing.T) {
	t.Parallel()
	d := startDaemon(t, nil)
	h := d.hold(zeros(1 << 20))
	d.waitReceiving(1)
	d.signal(syscall.SIGTERM)
	d.waitLog("draining")
	// One that comes together with the first is the same Ctrl-C.
	d.eventually("it has stopped", func() bool { d.signal(syscall.SIGTERM); return d.Ended() })
	d.expectExit(1)
	if r := h.finish(); r.Status == http.StatusCreated {
		t.Error("the upload was completed by a server that had stopped")
	}
}

// Incident: the database is down when the server starts. It serves, says so, and needs no restart.
func TestTheDatabaseComesUpLater(t *testing.T) {
	t.Parallel()
	cluster := testenv.NewPostgres(t)
	database := cluster.Database(t)
	if err := cluster.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	site := newSite(t, map[string]string{"TECKEN_DATABASE_URL": database})
	d := &daemon{Site: site, Instance: site.Serve(), token: strings.Repeat("0", 64)}
	status, checks := d.heartbeat("/__heartbeat__")
	if status != http.StatusServiceUnavailable || checks["database"] != "error" || checks["spool"] != "ok" {
		t.Errorf("heartbeat %d %v", status, checks)
	}
	d.expectHeartbeats(http.StatusOK, http.StatusServiceUnavailable)
	content := makeArchive(t, testarchive.Spec{Seed: 1})
	d.expectPost(content, http.StatusServiceUnavailable)
	if err := cluster.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	d.eventuallyGreen()
	d.token = d.Token("ci@example.com")
	d.expectPost(content, http.StatusCreated)
}

// Incident A1: the deadline passes while storage does not move. The request ends, not the process; its
// workspace goes with it, Sentry learns what it was, and a retry skips what was pushed.
func TestTheDeadlineEndsTheRequestOnly(t *testing.T) {
	t.Parallel()
	const deadline = 4 * time.Second // below the least lease of a slot, which would end a slow PUT before
	s3 := testenv.S3(t)
	proxy := testenv.Toxiproxy(t, s3.Addr)
	sentry := sentrytest.NewServer()
	t.Cleanup(sentry.Close)
	d := serveOn(newS3Site(t, s3, "http://"+proxy.Addr, map[string]string{
		"TECKEN_UPLOAD_TIMEOUT": deadline.String(), "SENTRY_DSN": sentry.DSN(), "TECKEN_STORAGE_SLOTS": "4",
	}))
	content := makeArchive(t, testarchive.Spec{Seed: 3, Bytes: 4 << 20, Members: 20})
	// The small members pass in time: there is a slot more than large ones, which hardly move.
	heal := proxy.Add("bandwidth", "upstream", map[string]any{"rate": 150})
	var sent time.Time
	r := d.post(lab.Upload{Archive: content, Share: 1, Midway: func() { sent = time.Now() }})
	took := time.Since(sent)
	var done int
	_, text, _ := strings.Cut(r.Error, ": ")
	if _, err := fmt.Sscanf(text, "%d of 20 files", &done); err != nil || r.Status != http.StatusGatewayTimeout || done == 0 || done == 20 {
		t.Errorf("status %d: %s", r.Status, r.Error)
	}
	if !r.Closes {
		t.Error("the connection is kept")
	}
	// The contract allows a second.
	if most := deadline + testenv.Slack(t, time.Second); took < deadline || took > most {
		t.Errorf("answered after %v, with a deadline of %v; want %v at most", took, deadline, most)
	}
	d.expectEmptySpool()
	ctx, cancel := d.patient()
	defer cancel()
	events, err := sentry.Wait(ctx, 1)
	if err != nil {
		t.Fatal(err)
	}
	event := string(events[0].Raw)
	if !strings.Contains(event, "timed_out") || !strings.Contains(event, `"members":20`) || strings.Contains(event, d.token) {
		t.Errorf("the event: %s", event)
	}
	heal()
	if r := d.expectPost(content, http.StatusCreated); len(r.Skipped) < done {
		t.Errorf("the retry: skipped %d of %d", len(r.Skipped), done)
	}
	d.checkStored(content)
}

// Storage down: uploads are refused for now, the heartbeat names storage, and all recovers without a restart.
func TestStorageGoesAndComesBack(t *testing.T) {
	t.Parallel()
	s3 := testenv.S3(t)
	proxy := testenv.Toxiproxy(t, s3.Addr)
	d := serveOn(newS3Site(t, s3, "http://"+proxy.Addr, map[string]string{"TECKEN_UPLOAD_TIMEOUT": "2m"}))
	heal := proxy.Add("reset_peer", "downstream", map[string]any{"timeout": 0})
	d.eventually("the heartbeat names storage", func() bool {
		status, checks := d.heartbeat("/__heartbeat__")
		return status == http.StatusServiceUnavailable && checks["storage"] == "error" && checks["database"] == "ok"
	})
	content := makeArchive(t, testarchive.Spec{Seed: 4, Members: 5})
	d.expectPost(content, http.StatusServiceUnavailable)
	heal()
	d.expectPost(content, http.StatusCreated)
	d.checkStored(content)
}

// After many uploads, a third of them cut off, nothing has stayed behind.
func TestNothingStaysBehind(t *testing.T) {
	t.Parallel()
	const clients = 6
	d := startDaemon(t, nil)
	content := makeArchive(t, testarchive.Spec{Seed: 5, Bytes: 1 << 20, Members: 30})
	d.load(content, clients, 2, 0)
	idle := d.settle(0)
	d.load(content, clients, 10, 3)
	// The database's readers, of 3 descriptors each, are kept once they were needed: the second load may have
	// needed a few more.
	after := d.settle(idle + 12)
	t.Logf("descriptors and goroutines, idle: %v, after: %v", idle, after)
	// The spool's figures may be a quarter of a second old.
	d.eventually("no bytes are held", func() bool { return d.metric("tecken_spool_held_bytes") == 0 })
	d.expectEmptySpool()
}

// load posts the archive so many times from each client. Every cut-th upload, if cut is not 0, breaks off
// somewhere, each elsewhere.
func (d *daemon) load(content *lab.Archive, clients, times, cut int) {
	var wg sync.WaitGroup
	for c := range clients {
		wg.Go(func() {
			for i := range times {
				u, want := lab.Upload{Archive: content}, http.StatusCreated
				if cut != 0 && (i+c)%cut == 0 {
					u.Ending, u.Share, want = lab.Closes, float64(i*clients+c)/float64(times*clients), 0
				}
				if r := d.post(u); r.Status != want {
					d.Errorf("answered %v, want %d", r, want)
				}
			}
		})
	}
	wg.Wait()
}

// settle waits until the number of descriptors and goroutines rests, with a limit other than 0 until it does
// below that, and returns it. Looking at it takes two or three by itself.
func (d *daemon) settle(limit float64) (n float64) {
	d.Helper()
	base, same := -1.0, 0
	d.eventually("the number of descriptors and goroutines rests", func() bool {
		n = d.metric("process_open_fds") + d.metric("go_goroutines")
		if math.Abs(n-base) <= 4 {
			same++
		} else {
			base, same = n, 0
		}
		return same >= 20 && (limit == 0 || n <= limit)
	})
	return n
}

// Incident A3, from the server's side: the database and storage go away under load and come back. The
// janitor needs neither.
func TestTheDatabaseGoesAway(t *testing.T) {
	t.Parallel()
	cluster := testenv.NewPostgres(t)
	d := startDaemon(t, map[string]string{"TECKEN_DATABASE_URL": cluster.Database(t), "TECKEN_ORPHAN_AGE": "0s"})
	content := makeArchive(t, testarchive.Spec{Seed: 6})
	d.expectPost(content, http.StatusCreated)
	d.startJanitor()
	if err := cluster.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	d.expectPost(content, http.StatusServiceUnavailable)
	d.eventually("the heartbeat names the database", func() bool {
		status, checks := d.heartbeat("/__heartbeat__")
		return status == http.StatusServiceUnavailable && checks["database"] == "error" && checks["storage"] == "ok"
	})
	if status, _ := d.heartbeat("/__lbheartbeat__"); status != http.StatusOK {
		t.Errorf("the balancer's heartbeat is %d", status)
	}
	stray := filepath.Join(d.SpoolDir(), "stray")
	if err := os.WriteFile(stray, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	d.eventually("the janitor has removed a stray file", func() bool {
		_, err := os.Stat(stray)
		return errors.Is(err, fs.ErrNotExist)
	})
	if err := cluster.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	d.eventuallyGreen()
	d.expectPost(content, http.StatusCreated)
}
