package main

import (
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
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

// sweep runs the real disk manager's one pass over the spool, and returns what it said.
func (d *daemon) sweep(spool, age string, args ...string) string {
	d.Helper()
	cmd := exec.CommandContext(d.Context(), program(d, "disk-manager"), append([]string{"sweep"}, args...)...)
	cmd.Dir, cmd.Env = d.dir, environ(map[string]string{"TECKEN_SPOOL_DIR": spool, "TECKEN_ORPHAN_AGE": age, "TECKEN_SPOOL_HEADROOM": "1MiB"})
	out, err := cmd.CombinedOutput()
	if err != nil {
		d.Fatalf("sweep: %v\n%s", err, out)
	}
	return string(out)
}

// Incident A1, twenty times: the server is killed at a random point of an upload. What is readable in
// storage is whole, the workspace is known as an orphan at once and gone after its age, and the retry
// skips what was pushed.
func TestKilledAtRandomPoints(t *testing.T) {
	const kills = 20
	s3 := testenv.S3(t)
	settings := withS3(s3, s3.Endpoint, nil)
	store := bucket(t, s3)
	d := startDaemon(t, settings)
	content, _ := makeArchive(t, testarchive.Spec{Seed: 1000, Bytes: 2 << 20, Members: 20})
	start := time.Now()
	if r := d.mustPost(writing(content)); r.status != http.StatusCreated {
		t.Fatalf("status %d: %s", r.status, r.err)
	}
	whole := time.Since(start)
	orphans, pushed := 0, 0
	for i := range kills {
		content, manifest := makeArchive(t, testarchive.Spec{Seed: uint64(i), Bytes: 2 << 20, Members: 20})
		answer := d.posting(writing(content))
		<-time.After(time.Duration(rand.Float64() * 1.1 * float64(whole)))
		d.signal(syscall.SIGKILL)
		d.exit()
		<-answer
		// Whatever is readable is whole: a Put that the kill cut off left nothing.
		for _, m := range manifest.Members {
			if sum, size, err := readBack(t.Context(), store, m.Name); err == nil && (sum != m.MD5 || size != m.Size) {
				t.Errorf("kill %d: %s is half-written: %d of %d bytes", i, m.Name, size, m.Size)
			}
		}
		orphan := d.spoolEntries()
		orphans += len(orphan)
		d.sweep("data/spool", "15m")
		if kept := d.spoolEntries(); len(kept) != len(orphan) {
			t.Errorf("kill %d: an orphan went before its age: %q of %q", i, kept, orphan)
		}
		if report := d.sweep("data/spool", "0s", "--dry-run"); len(orphan) > 0 && !strings.Contains(report, orphan[0]) {
			t.Errorf("kill %d: %s is not known as an orphan:\n%s", i, orphan[0], report)
		}
		d.sweep("data/spool", "0s")
		if left := d.spoolEntries(); len(left) != 0 {
			t.Errorf("kill %d: left in the spool: %q", i, left)
		}
		d = d.again(settings)
		r := d.mustPost(writing(content))
		if r.status != http.StatusCreated {
			t.Fatalf("kill %d: the retry: status %d: %s", i, r.status, r.err)
		}
		pushed += len(r.upload.SkippedKeys)
		checkStored(t, store, manifest)
	}
	t.Logf("%d kills within %v: %d orphans, %d members found pushed by the retries", kills, whole, orphans, pushed)
}

// The same on a nearly full disk: what the dead server held is back long before it has the age of an orphan, and the next upload fits.
func TestKilledOnANearlyFullDisk(t *testing.T) {
	disk := spooltest.Tmpfs(t, "size=64m")
	spool := filepath.Join(disk, "spool")
	settings := map[string]string{"TECKEN_SPOOL_DIR": spool, "TECKEN_SPOOL_HEADROOM": "1MiB", "TECKEN_ADMISSION_WAIT": "0s"}
	d := startDaemon(t, settings)
	fill(t, spool, 40<<20)
	before := freeBytes(t, disk)
	g := newGated(make([]byte, 30<<20))
	answer := d.posting(g.write)
	<-g.half
	d.eventually("the upload holds room", func() bool { return freeBytes(t, disk) < before-10<<20 })
	janitor := d.command("disk-manager", "run")
	janitor.Env = environ(map[string]string{"TECKEN_SPOOL_DIR": spool, "TECKEN_SPOOL_HEADROOM": "30MiB", "TECKEN_SWEEP_INTERVAL": "1s"})
	if err := janitor.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = janitor.Process.Kill(); _ = janitor.Wait() }()
	d.signal(syscall.SIGKILL)
	d.exit()
	close(g.rest)
	<-answer
	d.eventually("the space is back", func() bool { return freeBytes(t, disk) >= before })
	d.eventually("the workspace is gone", func() bool {
		left, err := filepath.Glob(filepath.Join(spool, "[^.]*"))
		return err == nil && len(left) == 0
	})
	d = d.again(settings)
	content, _ := makeArchive(t, testarchive.Spec{Seed: 1, Bytes: 20 << 20})
	if r := d.mustPost(writing(content)); r.status != http.StatusCreated {
		t.Errorf("the retry: status %d: %s", r.status, r.err)
	}
}

// A live upload that is older than the cut-off, under a janitor that sweeps all the time.
func TestASlowUploadIsNoOrphan(t *testing.T) {
	d := startDaemon(t, nil)
	janitor := d.command("disk-manager", "run")
	janitor.Env = environ(map[string]string{"TECKEN_ORPHAN_AGE": "0s", "TECKEN_SWEEP_INTERVAL": "200ms"})
	if err := janitor.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = janitor.Process.Kill(); _ = janitor.Wait() }()
	content, _ := makeArchive(t, testarchive.Spec{Seed: 2})
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	r := d.mustPost(func(w io.Writer) error {
		for i := range 5 {
			if _, err := w.Write(content[i : i+1]); err != nil {
				return err
			}
			<-tick.C
		}
		_, err := w.Write(content[5:])
		return err
	})
	if r.status != http.StatusCreated {
		t.Errorf("status %d: %s", r.status, r.err)
	}
}

// Incident A2: the disk fills up with what is not ours. Uploads are refused for now, nothing of them is left,
// the heartbeats are red from the threshold on and green again when the window has moved on, and nobody
// restarts anything.
func TestDiskFull(t *testing.T) {
	window := testenv.Slack(t, 10*time.Second) // three uploads fail in it
	disk := spooltest.Tmpfs(t, "size=64m")
	spool := filepath.Join(disk, "spool")
	d := startDaemon(t, map[string]string{
		"TECKEN_SPOOL_DIR": spool, "TECKEN_SPOOL_HEADROOM": "8MiB", "TECKEN_ADMISSION_WAIT": "0s",
		"TECKEN_DISK_FULL_THRESHOLD": "3", "TECKEN_DISK_FULL_WINDOW": window.String(),
	})
	junk := fill(t, spool, 10<<20)
	content, _ := makeArchive(t, testarchive.Spec{Seed: 3, Bytes: 12 << 20})
	var last time.Time
	for i := range 3 {
		if status, _ := d.heartbeat("/__lbheartbeat__"); status != http.StatusOK {
			t.Errorf("after %d disk-full errors the balancer's heartbeat is %d", i, status)
		}
		last = time.Now()
		if r := d.mustPost(writing(content)); r.status != http.StatusServiceUnavailable || r.retryAfter == "" {
			t.Errorf("status %d, Retry-After %q: %s", r.status, r.retryAfter, r.err)
		}
	}
	if status, _ := d.heartbeat("/__lbheartbeat__"); status != http.StatusServiceUnavailable {
		t.Errorf("at the threshold the balancer's heartbeat is %d", status)
	}
	if status, body := d.heartbeat("/__heartbeat__"); status != http.StatusServiceUnavailable || body.Checks["disk"] != "error" {
		t.Errorf("at the threshold the heartbeat is %d %v", status, body.Checks)
	}
	if got := d.metric("tecken_disk_full"); got != 1 {
		t.Errorf("tecken_disk_full is %v", got)
	}
	objects, err := filepath.Glob(filepath.Join(d.dir, "data", "symbols", "v1", "*"))
	if err != nil || len(objects) != 0 {
		t.Errorf("published: %q (%v)", objects, err)
	}
	if err := os.Remove(junk); err != nil {
		t.Fatal(err)
	}
	d.eventually("the heartbeats are green", func() bool {
		lb, _ := d.heartbeat("/__lbheartbeat__")
		full, _ := d.heartbeat("/__heartbeat__")
		return lb == http.StatusOK && full == http.StatusOK
	})
	// The first of the three errors leaves the window; a heartbeat's checks are shared for 2 s.
	if took, most := time.Since(last), window+2*time.Second+testenv.Slack(t, 5*time.Second); took > most {
		t.Errorf("green again after %v, with a window of %v; want %v at most", took, window, most)
	}
	if r := d.mustPost(writing(content)); r.status != http.StatusCreated {
		t.Errorf("with room again: status %d: %s", r.status, r.err)
	}
	if left, err := filepath.Glob(filepath.Join(spool, "[^.]*")); err != nil || len(left) != 0 {
		t.Errorf("left in the spool: %q (%v)", left, err)
	}
}

// An instance that is full of live uploads is merely busy: it says so, and stays green.
func TestBusyIsNotFull(t *testing.T) {
	disk := spooltest.Tmpfs(t, "size=64m")
	d := startDaemon(t, map[string]string{
		"TECKEN_SPOOL_DIR": filepath.Join(disk, "spool"), "TECKEN_SPOOL_HEADROOM": "8MiB", "TECKEN_ADMISSION_WAIT": "100ms",
		"TECKEN_DISK_FULL_THRESHOLD": "1",
	})
	g := newGated(make([]byte, 80<<20))
	answer := d.posting(g.write)
	d.waitReceiving(g)
	content, _ := makeArchive(t, testarchive.Spec{Seed: 4, Bytes: 20 << 20})
	if r := d.mustPost(writing(content)); r.status != http.StatusServiceUnavailable || r.retryAfter == "" {
		t.Errorf("status %d, Retry-After %q: %s", r.status, r.retryAfter, r.err)
	}
	for _, path := range []string{"/__lbheartbeat__", "/__heartbeat__"} {
		if status, body := d.heartbeat(path); status != http.StatusOK {
			t.Errorf("%s is %d %v", path, status, body)
		}
	}
	close(g.rest)
	if r := <-answer; r.status == http.StatusCreated {
		t.Error("80 MiB of zeros are an archive")
	}
	if r := d.mustPost(writing(content)); r.status != http.StatusCreated {
		t.Errorf("with room again: status %d: %s", r.status, r.err)
	}
}

// A disk can be full of files, too: with no inode left not even a small upload has a place.
func TestNoInodes(t *testing.T) {
	disk := spooltest.Tmpfs(t, "size=64m,nr_inodes=200")
	spool := filepath.Join(disk, "spool")
	d := startDaemon(t, map[string]string{
		"TECKEN_SPOOL_DIR": spool, "TECKEN_SPOOL_HEADROOM": "1MiB", "TECKEN_ADMISSION_WAIT": "0s",
		"TECKEN_DISK_FULL_THRESHOLD": "2", "TECKEN_DISK_FULL_WINDOW": "8s",
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
	content, _ := makeArchive(t, testarchive.Spec{Seed: 5})
	if r := d.mustPost(writing(content)); r.status != http.StatusServiceUnavailable || r.retryAfter == "" {
		t.Errorf("status %d, Retry-After %q: %s", r.status, r.retryAfter, r.err)
	}
	// Nobody has to lose an upload for it: the heartbeat itself finds out.
	d.eventually("the balancer's heartbeat is red", func() bool {
		_, body := d.heartbeat("/__heartbeat__")
		lb, _ := d.heartbeat("/__lbheartbeat__")
		return body.Checks["spool"] == "error" && lb == http.StatusServiceUnavailable
	})
	if err := os.RemoveAll(junk); err != nil {
		t.Fatal(err)
	}
	d.eventually("the heartbeats are green", func() bool {
		lb, _ := d.heartbeat("/__lbheartbeat__")
		full, _ := d.heartbeat("/__heartbeat__")
		return lb == http.StatusOK && full == http.StatusOK
	})
	if r := d.mustPost(writing(content)); r.status != http.StatusCreated {
		t.Errorf("with inodes again: status %d: %s", r.status, r.err)
	}
}
