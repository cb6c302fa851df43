package main

import (
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"

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
