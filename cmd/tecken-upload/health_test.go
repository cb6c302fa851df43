package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

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
	if status, body := d.heartbeat("/__heartbeat__"); status != http.StatusServiceUnavailable || body.Checks[check] != "error" {
		d.Errorf("the heartbeat is %d %v, want %s to be red", status, body.Checks, check)
	}
}

func (d *daemon) eventuallyGreen() {
	d.Helper()
	d.eventually("the heartbeats are green", func() bool {
		lb, _ := d.heartbeat("/__lbheartbeat__")
		full, _ := d.heartbeat("/__heartbeat__")
		return lb == http.StatusOK && full == http.StatusOK
	})
}

// diskFullWindow is long enough for three uploads to fail in it, and short enough to be waited for.
func diskFullWindow(t *testing.T) string {
	t.Helper()
	return testenv.Slack(t, 2*time.Second).String()
}

// small returns an archive of its own with two members.
func small(t *testing.T, seed int) []byte {
	content, _ := makeArchive(t, testarchive.Spec{Seed: uint64(seed), Bytes: 20 << 10, Members: 2})
	return content
}

// Incident A2 on another disk: that of the records fills up. Uploads fail, the instance loses its traffic, and everything mends
// itself once there is room.
func TestRecordsDiskFull(t *testing.T) {
	t.Parallel() // it waits for nearly all of its time
	disk := spooltest.Tmpfs(t, "size=16m")
	settings := map[string]string{
		"TECKEN_DATABASE_URL": "sqlite:" + filepath.Join(disk, "db", "tecken.db"), "TECKEN_DISK_FULL_WINDOW": diskFullWindow(t),
	}
	d := startDaemon(t, settings)
	d.token = d.makeToken(settings)
	if r := d.mustPost(writing(small(t, 0))); r.status != http.StatusCreated {
		t.Fatalf("status %d: %s", r.status, r.err)
	}
	junk := fill(t, filepath.Join(disk, "db"), 0)
	for i := range 3 {
		if r := d.mustPost(writing(small(t, 1+i))); r.status != http.StatusServiceUnavailable || r.retryAfter == "" {
			t.Errorf("status %d, Retry-After %q: %s", r.status, r.retryAfter, r.err)
		}
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
		if r := d.mustPost(writing(small(t, i))); r.status != http.StatusCreated {
			t.Errorf("with room again: status %d: %s", r.status, r.err)
		}
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
			if r := d.mustPost(writing(small(t, 0))); r.status != http.StatusCreated {
				t.Fatalf("status %d: %s", r.status, r.err)
			}
			remount(t, dir, true)
			d.failUntilRed(disk)
			remount(t, dir, false)
			d.eventuallyGreen()
			if r := d.mustPost(writing(small(t, 9))); r.status != http.StatusCreated {
				t.Errorf("writable again: status %d: %s", r.status, r.err)
			}
		})
	}
}

// The same of the records' disk, which does not come back: SQLite has its files open.
func TestRecordsDiskFails(t *testing.T) {
	t.Parallel() // it waits for nearly all of its time
	dir := spooltest.Image(t, 32<<20, "mkfs.ext4", "-q")
	settings := map[string]string{"TECKEN_DATABASE_URL": "sqlite:" + dir + "/tecken.db"}
	d := startDaemon(t, settings)
	d.token = d.makeToken(settings)
	if r := d.mustPost(writing(small(t, 0))); r.status != http.StatusCreated {
		t.Fatalf("status %d: %s", r.status, r.err)
	}
	abort(t, dir)
	d.failUntilRed("records")
	d.expectRed("database")
}

// failUntilRed posts as many archives as turn the heartbeats red, for errors of that disk.
func (d *daemon) failUntilRed(disk string) {
	d.Helper()
	for i := range 3 {
		if r := d.mustPost(writing(small(d.T, 1+i))); r.status != http.StatusServiceUnavailable {
			d.Errorf("status %d: %s", r.status, r.err)
		}
	}
	d.expectRed("disk")
	if n := d.sum(`tecken_disk_full_errors_total{disk="` + disk + `"`); n < 3 {
		d.Errorf("%v errors of the disk are counted", n)
	}
}

// sum adds up the metric's series that begin with prefix, labels included.
func (d *daemon) sum(prefix string) (sum float64) {
	d.Helper()
	for line := range strings.Lines(d.text(d.metrics)) {
		if name, value, _ := strings.Cut(strings.TrimSpace(line), " "); strings.HasPrefix(name, prefix) {
			n, err := strconv.ParseFloat(value, 64)
			if err != nil {
				d.Fatal(err)
			}
			sum += n
		}
	}
	return sum
}

// completed returns how many uploads are recorded as completed.
func (d *daemon) completed() int {
	d.Helper()
	req, err := http.NewRequestWithContext(d.Context(), http.MethodGet, d.url+"/api/uploads/?outcome=completed", nil)
	if err != nil {
		d.Fatal(err)
	}
	req.Header.Set("Auth-Token", d.token)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		d.Fatal(err)
	}
	defer resp.Body.Close()
	var list struct{ Total int }
	if err := json.NewDecoder(resp.Body).Decode(&list); err != nil || resp.StatusCode != http.StatusOK {
		d.Fatalf("status %d, %v", resp.StatusCode, err)
	}
	return list.Total
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
	// post sends an upload to the instance whose turn it is, of those that are green.
	post := func() (to *daemon, status int) {
		t.Helper()
		for {
			to = balanced[turn%len(balanced)]
			turn++
			if lb, _ := to.heartbeat("/__lbheartbeat__"); lb == http.StatusOK {
				seed++
				return to, to.mustPost(writing(small(t, seed))).status
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
	window := testenv.Slack(t, 4*time.Second)
	s3 := testenv.S3(t)
	// Each PUT of an upload hangs, as far as its deadline.
	held := testenv.HoldS3(t, s3.Endpoint, func(r *http.Request) bool {
		return r.Method == http.MethodPut && !strings.Contains(r.URL.Path, ".tecken-proof")
	})
	d := startDaemon(t, withS3(s3, held, map[string]string{
		"TECKEN_DISK_FULL_WINDOW": window.String(), "TECKEN_DISK_FULL_THRESHOLD": "2", "TECKEN_UPLOAD_TIMEOUT": (window / 4).String(),
	}))
	content, cut := small(t, 1), errors.New("the client hangs up")
	for end := time.Now().Add(window + time.Second); time.Now().Before(end); {
		for what, sent := range map[string]struct {
			write func(io.Writer) error
			want  int // 0 where there is no answer
		}{
			"no archive": {writing([]byte("not an archive")), http.StatusBadRequest},
			"half a one": {writing(content[:len(content)/2]), http.StatusBadRequest},
			"a deadline": {writing(content), http.StatusGatewayTimeout},
			"a hang-up": {func(w io.Writer) error {
				_, err := w.Write(content[:len(content)/2])
				return errors.Join(err, cut)
			}, 0},
		} {
			if r, err := d.post(t.Context(), sent.write); r.status != sent.want || err != nil && !errors.Is(err, cut) {
				t.Errorf("%s: status %d (%s), %v", what, r.status, r.err, err)
			}
		}
		for _, path := range []string{"/__lbheartbeat__", "/__heartbeat__"} {
			if status, body := d.heartbeat(path); status != http.StatusOK {
				t.Errorf("%s is %d %v", path, status, body.Checks)
			}
		}
	}
	if n := d.sum("tecken_disk_full_errors_total"); n != 0 {
		t.Errorf("%v errors of disks are counted", n)
	}
}
