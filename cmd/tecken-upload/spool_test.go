package main

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"tecken-upload/internal/lab"
	"tecken-upload/internal/spool/spooltest"
	"tecken-upload/internal/telemetry/sentrytest"
	"tecken-upload/internal/testarchive"
)

// What could never fit is too large, and says nothing of the disk: twenty of them in a row leave both heartbeats green.
func TestWhatNeverFitsIsNoFullDisk(t *testing.T) {
	t.Parallel()
	disk := spooltest.Tmpfs(t, "size=64m")
	for name, tt := range map[string]struct {
		settings map[string]string
		limit    string
	}{
		"a small volume": {map[string]string{"TECKEN_SPOOL_DIR": filepath.Join(disk, "spool"), "TECKEN_SPOOL_HEADROOM": "8MiB"}, "58720256"},
		"a bound":        {map[string]string{"TECKEN_SPOOL_MAX": "32MiB", "TECKEN_SPOOL_HEADROOM": "0"}, "33554432"},
	} {
		t.Run(name, func(t *testing.T) {
			tt.settings["TECKEN_DISK_FULL_THRESHOLD"] = "1"
			d := startDaemon(t, tt.settings)
			for range 20 {
				if r := d.refusedBeforeItsBody(http.StatusRequestEntityTooLarge); !strings.Contains(r.Error, tt.limit) {
					t.Fatal(r)
				}
			}
			// One that does not tell its size, and outgrows the spool on its way.
			if r := d.post(lab.Upload{Archive: zeros(80 << 20), Chunked: true}); r.Status != http.StatusRequestEntityTooLarge || !strings.Contains(r.Error, "bytes") {
				t.Errorf("status %d: %s", r.Status, r.Error)
			}
			d.expectHeartbeats(http.StatusOK, http.StatusOK)
			for metric, want := range map[string]float64{
				`tecken_disk_full_errors_total{disk="spool",fault="full"}`: 0, `tecken_refusals_total{reason="size"}`: 20, `tecken_refusals_total{reason="disk_full"}`: 0,
			} {
				if got := d.metric(metric); got != want {
					t.Errorf("%s is %v, not %v", metric, got, want)
				}
			}
			content := makeArchive(t, testarchive.Spec{Seed: 1})
			d.expectPost(content, http.StatusCreated)
		})
	}
}

// Uploads queue for a bound of the spool as they do for its disk.
func TestUploadsQueueForTheSpoolsBound(t *testing.T) {
	t.Parallel()
	d := startDaemon(t, map[string]string{
		"TECKEN_SPOOL_MAX": "32MiB", "TECKEN_SPOOL_HEADROOM": "0", "TECKEN_DISK_FULL_THRESHOLD": "1", "TECKEN_ADMISSION_WAIT": patience.String(),
	})
	first := d.hold(zeros(28 << 20))
	d.waitReceiving(1)
	d.eventually("it holds its half", func() bool { return d.metric("tecken_spool_held_bytes") >= 14<<20 })
	content := makeArchive(t, testarchive.Spec{Seed: 2, Bytes: 24 << 20})
	second := d.posting(content)
	d.eventually("the second waits for room", func() bool {
		return d.metric("tecken_admission_waiting")+d.metric("tecken_spool_waiting") > 0
	})
	if held := d.metric("tecken_spool_held_bytes") + d.metric("tecken_spool_reserved_bytes"); held > 32<<20 {
		t.Errorf("uploads have %v bytes of the spool", held)
	}
	d.expectHeartbeats(http.StatusOK, http.StatusOK)
	if r := first.finish(); r.Status != http.StatusBadRequest {
		t.Errorf("the first: status %d: %s", r.Status, r.Error)
	}
	if r := <-second; r.Status != http.StatusCreated {
		t.Errorf("the second: status %d: %s", r.Status, r.Error)
	}
	if got := d.metric("tecken_spool_limit_bytes"); got != 32<<20 {
		t.Errorf("the limit is %v", got)
	}
}

// What cleans /tmp takes the mark of a running server's spool. It is back within a sweep, though the server is not asked for anything, and the
// workspace of a dead server goes.
func TestTheSpoolsMarkComesBack(t *testing.T) {
	t.Parallel()
	d := startDaemon(t, map[string]string{"TECKEN_ORPHAN_AGE": "0s"})
	spool := d.SpoolDir()
	workspace := filepath.Join(spool, "20260102T030405Z-abcdefghij23")
	if err := os.Mkdir(workspace, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(spool, ".tecken-spool")); err != nil {
		t.Fatal(err)
	}
	d.startJanitor()
	d.waitLog("spool's mark was removed and is put back; keep what cleans temporary files away from the spool")
	d.eventually("the workspace is gone", func() bool { return len(d.spoolEntries()) == 0 })
	if n := d.logged("spool's mark was removed and is put back; keep what cleans temporary files away from the spool"); n != 1 {
		t.Errorf("told of %d times", n)
	}
	content := makeArchive(t, testarchive.Spec{Seed: 1})
	d.expectPost(content, http.StatusCreated)
}

// A server whose directories can't be written to when it starts waits for them: red, and no traffic. It turns green by itself.
func TestAStartWithoutRights(t *testing.T) {
	t.Parallel()
	disk := spooltest.Tmpfs(t, "size=64m")
	sentry := sentrytest.NewServer()
	t.Cleanup(sentry.Close)
	remount := func(flags uintptr) {
		t.Helper()
		if err := unix.Mount("", disk, "", unix.MS_REMOUNT|flags, ""); err != nil {
			t.Fatal(err)
		}
	}
	remount(unix.MS_RDONLY)
	d := startDaemon(t, map[string]string{
		"TECKEN_SPOOL_DIR": filepath.Join(disk, "spool"), "TECKEN_SPOOL_HEADROOM": "1MiB", "TECKEN_STORAGE_URL": "file:" + filepath.Join(disk, "symbols"),
		"SENTRY_DSN": sentry.DSN(),
	})
	status, checks := d.heartbeat("/__heartbeat__")
	if status != http.StatusServiceUnavailable || checks["spool"] != "error" || checks["storage"] != "error" || checks["database"] != "ok" {
		t.Errorf("the heartbeat is %d %v", status, checks)
	}
	if status, _ := d.heartbeat("/__lbheartbeat__"); status != http.StatusServiceUnavailable {
		t.Errorf("the balancer's heartbeat is %d", status)
	}
	content := makeArchive(t, testarchive.Spec{Seed: 1})
	for range 2 {
		d.expectPost(content, http.StatusServiceUnavailable)
	}
	for _, metric := range []string{`tecken_refusals_total{reason="disk"}`, `tecken_unrecorded_failures_total{cause="disk"}`} {
		if n := d.metric(metric); n != 2 {
			t.Errorf("%s is %v", metric, n)
		}
	}
	remount(0)
	d.eventuallyGreen()
	d.expectPost(content, http.StatusCreated)
	// One event of the two failures, with what is known of them.
	events, err := sentry.Wait(t.Context(), 3)
	if err != nil {
		t.Fatal(err)
	}
	kinds := make(map[string]int)
	for _, e := range events {
		kinds[e.Exception[0].Type]++
		if facts := e.Contexts["facts"]; e.Exception[0].Type == "request failed" && (facts["cause"] != "disk" || facts["tenant"] != 1.0 || facts["user"] != "ci@example.com") {
			t.Errorf("what was known: %v", facts)
		}
	}
	if kinds["request failed"] != 1 || kinds["directory can't be used yet: TECKEN_SPOOL_DIR"] != 1 || kinds["directory can't be used yet: TECKEN_STORAGE_URL"] != 1 {
		t.Errorf("Sentry heard of %v", kinds)
	}
}
