package main

import (
	"math/rand/v2"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"tecken-upload/internal/lab"
	"tecken-upload/internal/spool/spooltest"
	"tecken-upload/internal/testarchive"
	"tecken-upload/internal/testenv"
)

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
	if orphans == 0 {
		t.Error("no kill left an orphan")
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
