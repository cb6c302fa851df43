package main

import (
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tecken-upload/internal/lab"
	"tecken-upload/internal/spool/spooltest"
	"tecken-upload/internal/testarchive"
	"tecken-upload/internal/testenv"
)

// freeBytes is what an unprivileged process could still write below dir.
func freeBytes(t *testing.T, dir string) int64 {
	t.Helper()
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		t.Fatal(err)
	}
	return int64(st.Bavail) * st.Frsize
}

// fill writes a file beside the spool that leaves only so many bytes free.
func fill(t *testing.T, spool string, leave int64) (path string) {
	t.Helper()
	path = filepath.Join(filepath.Dir(spool), "junk")
	if err := os.WriteFile(path, make([]byte, freeBytes(t, spool)-leave), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// sweep has the disk manager make one pass over the spool, and returns what it said.
func (d *daemon) sweep(args ...string) string {
	d.Helper()
	out, err := d.Command("disk-manager", append([]string{"sweep"}, args...)...).CombinedOutput()
	if err != nil {
		d.Fatalf("sweep: %v\n%s", err, out)
	}
	return string(out)
}

// Incident A1, twenty times: the server is killed at a random point of an upload. What is readable in
// storage is whole, the workspace is known as an orphan at once and gone after its age, and the retry
// skips what was pushed.
func TestKilledAtRandomPoints(t *testing.T) {
	t.Parallel()
	const kills = 20
	s3 := testenv.S3(t)
	d := serveOn(newS3Site(t, s3, s3.Endpoint, nil))
	whole := patience // that an upload takes, at the least
	for seed := range uint64(3) {
		content := makeArchive(t, testarchive.Spec{Seed: 1000 + seed, Bytes: 2 << 20, Members: 20})
		start := time.Now()
		d.expectPost(content, http.StatusCreated)
		whole = min(whole, time.Since(start))
	}
	orphans, pushed := 0, 0
	for i := range kills {
		content := makeArchive(t, testarchive.Spec{Seed: uint64(i), Bytes: 2 << 20, Members: 20})
		answer := d.posting(content)
		<-time.After(time.Duration(rand.Float64() * 1.1 * float64(whole)))
		d.kill()
		<-answer
		// Whatever is readable is whole: a Put that the kill cut off left nothing.
		for _, m := range content.Members {
			if size, sum, err := d.Stored(t.Context(), m.Name); err == nil && (sum != m.MD5 || size != m.Size) {
				t.Errorf("kill %d: %s is half-written: %d of %d bytes", i, m.Name, size, m.Size)
			}
		}
		orphan := d.spoolEntries()
		orphans += len(orphan)
		d.sweep()
		if kept := d.spoolEntries(); len(kept) != len(orphan) {
			t.Errorf("kill %d: an orphan went before its age: %q of %q", i, kept, orphan)
		}
		if report := d.sweep("--orphan-age=0s", "--dry-run"); len(orphan) > 0 && !strings.Contains(report, orphan[0]) {
			t.Errorf("kill %d: %s is not known as an orphan:\n%s", i, orphan[0], report)
		}
		d.sweep("--orphan-age=0s")
		d.expectEmptySpool()
		d = d.again()
		r := d.expectPost(content, http.StatusCreated)
		pushed += len(r.Skipped)
		d.checkStored(content)
	}
	t.Logf("%d kills within %v: %d orphans, %d members found pushed by the retries", kills, whole, orphans, pushed)
}

// The same on a nearly full disk: what the dead server held is back long before it has the age of an orphan, and the next upload fits.
func TestKilledOnANearlyFullDisk(t *testing.T) {
	t.Parallel()
	disk := spooltest.Tmpfs(t, "size=64m")
	spool := filepath.Join(disk, "spool")
	d := startDaemon(t, map[string]string{"TECKEN_SPOOL_DIR": spool, "TECKEN_SPOOL_HEADROOM": "1MiB", "TECKEN_ADMISSION_WAIT": "0s"})
	fill(t, spool, 40<<20)
	before := freeBytes(t, disk)
	h := d.hold(zeros(30 << 20))
	d.eventually("the upload holds room", func() bool { return freeBytes(t, disk) < before-10<<20 })
	d.Settings["TECKEN_SPOOL_HEADROOM"] = "30MiB" // of the disk manager, which is in a hurry then
	d.startJanitor()
	d.Settings["TECKEN_SPOOL_HEADROOM"] = "1MiB"
	d.kill()
	h.finish()
	d.eventually("the space is back", func() bool { return freeBytes(t, disk) >= before })
	d.eventually("the workspace is gone", func() bool { return len(d.spoolEntries()) == 0 })
	d = d.again()
	d.expectPost(makeArchive(t, testarchive.Spec{Seed: 1, Bytes: 20 << 20}), http.StatusCreated)
}

// A live upload that is older than the cut-off, under a janitor that sweeps all the time.
func TestASlowUploadIsNoOrphan(t *testing.T) {
	t.Parallel()
	d := startDaemon(t, map[string]string{"TECKEN_ORPHAN_AGE": "0s"})
	d.startJanitor()
	if r := d.post(lab.Upload{Archive: makeArchive(t, testarchive.Spec{Seed: 2}), Send: 3 * time.Second}); r.Status != http.StatusCreated {
		t.Errorf("answered %v", r)
	}
}

// Incident A2: the disk fills up with what is not ours. Uploads are refused for now, nothing of them is left,
// the heartbeats are red from the threshold on and green again when the window has moved on, without a restart.
func TestDiskFull(t *testing.T) {
	t.Parallel()
	window := testenv.Slack(t, 3*time.Second) // three uploads fail in it
	disk := spooltest.Tmpfs(t, "size=64m")
	spool := filepath.Join(disk, "spool")
	d := startDaemon(t, map[string]string{
		"TECKEN_SPOOL_DIR": spool, "TECKEN_SPOOL_HEADROOM": "8MiB", "TECKEN_ADMISSION_WAIT": "0s",
		"TECKEN_DISK_FULL_THRESHOLD": "3", "TECKEN_DISK_FULL_WINDOW": window.String(),
	})
	junk := fill(t, spool, 10<<20)
	content := makeArchive(t, testarchive.Spec{Seed: 3, Bytes: 12 << 20})
	var last time.Time
	for i := range 3 {
		if status, _ := d.heartbeat("/__lbheartbeat__"); status != http.StatusOK {
			t.Errorf("after %d disk-full errors the balancer's heartbeat is %d", i, status)
		}
		last = time.Now()
		d.expectPost(content, http.StatusServiceUnavailable)
	}
	d.expectRed("disk")
	if got := d.metric("tecken_disk_full"); got != 1 {
		t.Errorf("tecken_disk_full is %v", got)
	}
	objects, err := filepath.Glob(filepath.Join(d.Dir, "data", "symbols", "v1", "*"))
	if err != nil || len(objects) != 0 {
		t.Errorf("published: %q (%v)", objects, err)
	}
	if err := os.Remove(junk); err != nil {
		t.Fatal(err)
	}
	d.eventuallyGreen()
	// The first of the three errors leaves the window; a heartbeat's checks are shared for 2 s.
	if took, most := time.Since(last), window+2*time.Second+testenv.Slack(t, 5*time.Second); took > most {
		t.Errorf("green again after %v, with a window of %v; want %v at most", took, window, most)
	}
	d.expectPost(content, http.StatusCreated)
	d.expectEmptySpool()
}

// An instance that is full of live uploads is merely busy: it says so, and stays green.
func TestBusyIsNotFull(t *testing.T) {
	t.Parallel()
	disk := spooltest.Tmpfs(t, "size=64m")
	d := startDaemon(t, map[string]string{
		"TECKEN_SPOOL_DIR": filepath.Join(disk, "spool"), "TECKEN_SPOOL_HEADROOM": "8MiB", "TECKEN_ADMISSION_WAIT": "100ms",
		"TECKEN_DISK_FULL_THRESHOLD": "1",
	})
	h := d.hold(zeros(80 << 20))
	d.waitReceiving(1)
	content := makeArchive(t, testarchive.Spec{Seed: 4, Bytes: 20 << 20})
	d.expectPost(content, http.StatusServiceUnavailable)
	d.expectHeartbeats(http.StatusOK, http.StatusOK)
	if r := h.finish(); r.Status == http.StatusCreated {
		t.Error("80 MiB of zeros are an archive")
	}
	d.expectPost(content, http.StatusCreated)
}

// A disk can be full of files, too: with no inode left not even a small upload has a place.
func TestNoInodes(t *testing.T) {
	t.Parallel()
	disk := spooltest.Tmpfs(t, "size=64m,nr_inodes=200")
	spool := filepath.Join(disk, "spool")
	d := startDaemon(t, map[string]string{
		"TECKEN_SPOOL_DIR": spool, "TECKEN_SPOOL_HEADROOM": "1MiB", "TECKEN_ADMISSION_WAIT": "0s",
		"TECKEN_DISK_FULL_THRESHOLD": "2", "TECKEN_DISK_FULL_WINDOW": "4s",
	})
	junk := filepath.Join(disk, "junk")
	if err := os.Mkdir(junk, 0o700); err != nil {
		t.Fatal(err)
	}
	for i := 0; ; i++ {
		if err := os.WriteFile(filepath.Join(junk, strconv.Itoa(i)), nil, 0o600); err != nil {
			break
		}
	}
	content := makeArchive(t, testarchive.Spec{Seed: 5})
	d.expectPost(content, http.StatusServiceUnavailable)
	// No upload has to fail for it: the heartbeat itself finds out.
	d.eventually("the balancer's heartbeat is red", func() bool {
		_, checks := d.heartbeat("/__heartbeat__")
		lb, _ := d.heartbeat("/__lbheartbeat__")
		return checks["spool"] == "error" && lb == http.StatusServiceUnavailable
	})
	if err := os.RemoveAll(junk); err != nil {
		t.Fatal(err)
	}
	d.eventuallyGreen()
	d.expectPost(content, http.StatusCreated)
}
