package main

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tecken-upload/internal/lab"
	"tecken-upload/internal/spool/spooltest"
	"tecken-upload/internal/testarchive"
	"tecken-upload/internal/testenv"
)

// remount makes a file system read-only, or writable again.
func remount(t *testing.T, dir string, readOnly bool) {
	t.Helper()
	flags := uintptr(unix.MS_REMOUNT)
	if readOnly {
		flags |= unix.MS_RDONLY
	}
	if err := unix.Mount("", dir, "", flags, ""); err != nil {
		t.Fatal(err)
	}
}

// abort makes an ext4 give up, as it does when its device fails. From then on every write to it fails.
func abort(t *testing.T, dir string) {
	t.Helper()
	if err := unix.Mount("", dir, "", unix.MS_REMOUNT, "abort"); err != nil {
		t.Fatal(err)
	}
}

// expectRed checks that both heartbeats are red, and that the heartbeat names the check.
func (d *daemon) expectRed(check string) {
	d.Helper()
	if status, _ := d.heartbeat("/__lbheartbeat__"); status != http.StatusServiceUnavailable {
		d.Errorf("the balancer's heartbeat is %d", status)
	}
	d.eventually("the heartbeat is red and names "+check, func() bool { // what it says is shared for a moment
		status, checks := d.heartbeat("/__heartbeat__")
		return status == http.StatusServiceUnavailable && checks[check] == "error"
	})
}

// diskFullWindow is long enough for three uploads to fail in it, and short enough to be waited for.
func diskFullWindow(t *testing.T) string {
	t.Helper()
	return testenv.Slack(t, 2*time.Second).String()
}

// small returns an archive of its own with two members.
func small(t testing.TB, seed int) *lab.Archive {
	t.Helper()
	return makeArchive(t, testarchive.Spec{Seed: uint64(seed), Bytes: 20 << 10, Members: 2})
}

// Incident A2 on another disk: that of the records fills up. Uploads fail, the instance loses its traffic, and everything mends
// itself once there is room.
func TestRecordsDiskFull(t *testing.T) {
	t.Parallel() // it waits for nearly all of its time
	disk := spooltest.Tmpfs(t, "size=16m")
	d := startDaemon(t, map[string]string{
		"TECKEN_DATABASE_URL": "sqlite:" + filepath.Join(disk, "db", "tecken.db"), "TECKEN_DISK_FULL_WINDOW": diskFullWindow(t),
	})
	d.expectPost(small(t, 0), http.StatusCreated)
	junk := fill(t, filepath.Join(disk, "db"), 0)
	for i := range 3 {
		d.expectPost(small(t, 1+i), http.StatusServiceUnavailable)
	}
	d.expectRed("disk")
	d.expectRed("database")
	if n := d.metric(`tecken_disk_full_errors_total{disk="records",fault="full"}`); n < 3 {
		t.Errorf("%v errors are counted", n)
	}
	if err := os.Remove(junk); err != nil {
		t.Fatal(err)
	}
	d.eventuallyGreen()
	for i := range 5 {
		d.expectPost(small(t, i), http.StatusCreated)
	}
	if n := d.completed(); n != 6 {
		t.Errorf("%d uploads are recorded as completed, want 6", n)
	}
}

// Disks that turn read-only are told apart, and turn the instance red: that of directory storage, and the spool's. It mends itself.
func TestDisksTurnReadOnly(t *testing.T) {
	t.Parallel() // it waits for nearly all of its time
	for disk, setting := range map[string][2]string{
		"storage": {"TECKEN_STORAGE_URL", "file:%s/symbols"},
		"spool":   {"TECKEN_SPOOL_DIR", "%s/spool"},
	} {
		t.Run(disk, func(t *testing.T) {
			dir := spooltest.Tmpfs(t, "size=64m")
			d := startDaemon(t, map[string]string{
				setting[0]: fmt.Sprintf(setting[1], dir), "TECKEN_SPOOL_HEADROOM": "1MiB", "TECKEN_DISK_FULL_WINDOW": diskFullWindow(t), "TECKEN_ADMISSION_WAIT": "0s",
			})
			d.expectPost(small(t, 0), http.StatusCreated)
			remount(t, dir, true)
			d.failUntilRed(disk)
			remount(t, dir, false)
			d.eventuallyGreen()
			d.expectPost(small(t, 9), http.StatusCreated)
		})
	}
}

// The same of the records' disk, which does not come back: SQLite has its files open.
func TestRecordsDiskFails(t *testing.T) {
	t.Parallel() // it waits for nearly all of its time
	dir := spooltest.Image(t, 32<<20, "mkfs.ext4", "-q")
	d := startDaemon(t, map[string]string{"TECKEN_DATABASE_URL": "sqlite:" + dir + "/tecken.db"})
	d.expectPost(small(t, 0), http.StatusCreated)
	abort(t, dir)
	d.failUntilRed("records")
	d.expectRed("database")
}

// failUntilRed posts as many archives as turn the heartbeats red, for errors of that disk.
func (d *daemon) failUntilRed(disk string) {
	d.Helper()
	for i := range 3 {
		d.expectPost(small(d.TB, 1+i), http.StatusServiceUnavailable)
	}
	d.expectRed("disk")
	if n := d.metric(`tecken_disk_full_errors_total{disk="` + disk + `"`); n < 3 {
		d.Errorf("%v errors of the disk are counted", n)
	}
}

// completed returns how many uploads are recorded as completed.
func (d *daemon) completed() (n int) {
	d.Helper()
	all, err := d.ReadRecords(d.Context())
	if err != nil {
		d.Fatal(err)
	}
	for _, r := range all {
		if r.Outcome == "completed" {
			n++
		}
	}
	return n
}

// A spool turns read-only behind a balancer that asks /__lbheartbeat__. Traffic moves to the other instance after as many failures as
// the threshold allows, and comes back once the spool can be written to.
func TestSpoolReadOnlyBehindABalancer(t *testing.T) {
	t.Parallel()        // it waits for nearly all of its time
	const threshold = 3 // as by default
	dir := spooltest.Tmpfs(t, "size=64m")
	settings := map[string]string{"TECKEN_SPOOL_HEADROOM": "1MiB", "TECKEN_DISK_FULL_WINDOW": diskFullWindow(t), "TECKEN_ADMISSION_WAIT": "0s"}
	well := startDaemon(t, settings)
	settings["TECKEN_SPOOL_DIR"] = filepath.Join(dir, "spool")
	ill := startDaemon(t, settings)
	balanced := []*daemon{ill, well}
	turn, seed := 0, 0
	// post sends an upload to the next instance in turn, of those that are green.
	post := func() (to *daemon, status int) {
		t.Helper()
		for {
			to = balanced[turn%len(balanced)]
			turn++
			if lb, _ := to.heartbeat("/__lbheartbeat__"); lb == http.StatusOK {
				seed++
				return to, to.mustPost(small(t, seed)).Status
			}
		}
	}
	remount(t, dir, true)
	failed := 0
	for range 10 * threshold {
		if _, status := post(); status != http.StatusCreated {
			failed++
		}
	}
	if failed != threshold {
		t.Errorf("%d uploads failed before the traffic moved, want %d", failed, threshold)
	}
	remount(t, dir, false)
	ill.eventuallyGreen()
	served := make(map[*daemon]int)
	for range 4 {
		if to, status := post(); status == http.StatusCreated {
			served[to]++
		}
	}
	if served[ill] != 2 || served[well] != 2 {
		t.Errorf("writable again, the instances served %d and %d of 4 uploads", served[ill], served[well])
	}
}

// No client turns an instance red: whatever one sends for longer than the window, both heartbeats stay green.
func TestOneClientsFailuresTurnNothingRed(t *testing.T) {
	t.Parallel()
	const window = 3 * time.Second
	s3 := testenv.S3(t)
	// Each PUT of an upload hangs, as far as its deadline.
	held := testenv.HoldS3(t, s3.Endpoint, func(r *http.Request) bool {
		return r.Method == http.MethodPut && !strings.Contains(r.URL.Path, ".tecken-proof")
	})
	d := serveOn(newS3Site(t, s3, held, map[string]string{
		"TECKEN_DISK_FULL_WINDOW": window.String(), "TECKEN_DISK_FULL_THRESHOLD": "2", "TECKEN_UPLOAD_TIMEOUT": "1s",
	}))
	half := make([]byte, small(t, 1).Size/2)
	if _, err := small(t, 1).Content.ReadAt(half, 0); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(window + time.Second); time.Now().Before(end); {
		for what, sent := range map[string]struct {
			lab.Upload
			want int // 0 where there is no answer
		}{
			"no archive": {lab.Upload{Archive: raw([]byte("not an archive"))}, http.StatusBadRequest},
			"half a one": {lab.Upload{Archive: raw(half)}, http.StatusBadRequest},
			"a deadline": {lab.Upload{Archive: small(t, 1)}, http.StatusGatewayTimeout},
			"a hang-up":  {lab.Upload{Archive: small(t, 1), Ending: lab.Closes, Share: 0.5}, 0},
		} {
			if r := d.post(sent.Upload); r.Status != sent.want {
				t.Errorf("%s: answered %v, want %d", what, r, sent.want)
			}
		}
		d.expectHeartbeats(http.StatusOK, http.StatusOK)
	}
	if n := d.metric("tecken_disk_full_errors_total"); n != 0 {
		t.Errorf("%v errors of disks are counted", n)
	}
}
