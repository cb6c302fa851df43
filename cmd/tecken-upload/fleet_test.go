package main

import (
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"tecken-upload/internal/testenv"
)

// fleet is two instances that share a database and a bucket, and nginx before them.
type fleet struct {
	testing.TB
	nginx     *testenv.NginxServer
	instances [2]*daemon
	front     *front
}

// newFleet starts a fleet. The settings are for both instances.
func newFleet(t *testing.T, settings map[string]string) *fleet {
	t.Helper()
	s3 := testenv.S3(t)
	f := &fleet{TB: t}
	database := testenv.Postgres(t)
	for i := range f.instances {
		site := newS3Site(t, s3, s3.Endpoint, settings)
		site.Settings["TECKEN_DATABASE_URL"] = database
		site.Settings["TECKEN_INSTANCE"] = fmt.Sprintf("instance%d", i)
		f.instances[i] = serveOn(site)
	}
	f.nginx = testenv.Nginx(t, deployedNginx(t, f.instances[0].Address, f.instances[1].Address))
	f.front = &front{TB: t, address: strings.TrimPrefix(f.nginx.URL, "http://"), token: f.instances[0].token}
	return f
}

// spooled are the uploads that a dead instance was at, by what it left in its spool.
func (d *daemon) spooled() (ids []int64) {
	d.Helper()
	for _, name := range d.spoolEntries() {
		text, err := os.ReadFile(filepath.Join(d.SpoolDir(), name, "manifest.json"))
		if errors.Is(err, fs.ErrNotExist) {
			continue // killed while the workspace was made
		}
		if err != nil {
			d.Fatal(err)
		}
		m := regexp.MustCompile(`"upload":(\d+)`).FindSubmatch(text)
		if m == nil {
			continue // killed before it was begun
		}
		var id int64
		if _, err := fmt.Sscan(string(m[1]), &id); err != nil {
			d.Fatal(err)
		}
		ids = append(ids, id)
	}
	return ids
}

// One of two instances is killed with uploads in flight. The other goes on, clients send again what broke, and
// in the end every upload is stored, and recorded once.
func TestFleetLosesAnInstance(t *testing.T) {
	t.Parallel()
	const held, clients, each = 4, 4, 4
	f := newFleet(t, map[string]string{"TECKEN_TENANT_UPLOADS": "64"})
	dead, alive := f.instances[0], f.instances[1]
	heldParcels, steady := parcels(t, "held", held, 100), parcels(t, "steady", clients*each, 200)

	var posting sync.WaitGroup
	releases := make([]func(), held)
	for i, p := range heldParcels {
		releases[i] = f.front.hold(&posting, p)
	}
	dead.waitReceiving(held / 2)
	alive.waitReceiving(held / 2)
	for c := range clients {
		posting.Go(func() {
			for _, p := range steady[c*each : (c+1)*each] {
				f.front.upload(p, nil)
			}
		})
	}
	dead.eventually("some uploads are accepted", func() bool { return f.front.accepted.Load() >= clients })
	dead.kill()
	before := f.front.accepted.Load()
	alive.eventually("the other instance goes on", func() bool { return f.front.accepted.Load() > before })
	for _, release := range releases {
		release()
	}
	posting.Wait()

	for _, p := range append(heldParcels, steady...) {
		alive.checkStored(p.Archive)
	}
	alive.eventually("nothing is in progress", func() bool { return len(alive.spoolEntries()) == 0 })
	c := takeCensus(f.instances[1].Site, f.front)
	if denied := c.check(held + clients*each); denied > 0 {
		t.Errorf("%d uploads are recorded as completed, and were answered otherwise", denied)
	}
	orphans := dead.spooled()
	if len(orphans) < held/2 {
		t.Errorf("the dead instance left %d uploads in its spool, want at least the %d it was receiving", len(orphans), held/2)
	}
	c.checkEndless(orphans)
	f.checkBroken(dead.Address)
	t.Logf("%d attempts for %d uploads, %d records without an end, %d orphans", len(f.front.attempts), held+clients*each, len(c.endless), len(orphans))
}

// Both instances are restarted, one after the other as docs/operations.md says, while clients post. None of them
// notices, and each record has its end.
func TestFleetRestarts(t *testing.T) {
	t.Parallel()
	const clients = 4
	// Within the delay nginx is told that the instance goes.
	f := newFleet(t, map[string]string{"TECKEN_SHUTDOWN_DELAY": testenv.Slack(t, 2*time.Second).String(), "TECKEN_TENANT_UPLOADS": "64"})
	var posting sync.WaitGroup
	var posted atomic.Int64
	enough := make(chan struct{})
	for c := range clients {
		posting.Go(func() { posted.Add(f.front.keepPosting(fmt.Sprintf("client%d.", c), uint64(1000*(c+1)), enough)) })
	}
	script := f.heartbeatScript()
	for i, d := range f.instances {
		d.eventually("uploads are accepted", func() bool { return f.front.accepted.Load() >= int64((2*i+1)*clients) })
		d.signal(syscall.SIGTERM)
		d.eventually("the heartbeat is red", func() bool { status, _ := d.heartbeat("/__lbheartbeat__"); return status != http.StatusOK })
		f.shell(script)
		d.expectExit(0)
		d.expectEmptySpool()
		d.Settings["TECKEN_LISTEN"] = d.Address
		f.instances[i] = d.again()
		f.shell(script)
	}
	before := f.front.accepted.Load()
	f.instances[0].eventually("uploads are accepted", func() bool { return f.front.accepted.Load() >= before+clients })
	close(enough)
	posting.Wait()
	c := takeCensus(f.instances[1].Site, f.front)
	if denied := c.check(int(posted.Load())); denied > 0 || len(c.endless) > 0 {
		t.Errorf("%d uploads are recorded as completed, and were answered otherwise; %d have no end", denied, len(c.endless))
	}
	for _, a := range f.front.attempts {
		if a.Status != http.StatusCreated {
			t.Errorf("%s: answered %v", a.Label, a.Answer)
		}
	}
}

// checkBroken checks that every answer of nginx's own came of one instance alone.
func (f *fleet) checkBroken(addr string) {
	f.Helper()
	for _, line := range f.accessLog() {
		if line.status == "502" && line.upstreams != addr {
			f.Errorf("answered 502 for %s, want only for %s", line.upstreams, addr)
		}
	}
}
