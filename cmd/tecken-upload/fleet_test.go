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

	"tecken-upload/internal/storage/s3store"
	"tecken-upload/internal/testenv"
)

func (d *daemon) addr() string { return strings.TrimPrefix(d.url, "http://") }

// fleet is two instances that share a database and a bucket, and nginx before them.
type fleet struct {
	*testing.T
	nginx     *testenv.NginxServer
	instances [2]*daemon
	settings  [2]map[string]string
	front     *front
	database  string
	store     *s3store.Store
}

// newFleet starts a fleet. The settings are for both instances.
func newFleet(t *testing.T, settings map[string]string) *fleet {
	t.Helper()
	s3 := testenv.S3(t)
	f := &fleet{T: t, database: testenv.Postgres(t), store: bucket(t, s3)}
	for i := range f.instances {
		own := withS3(s3, s3.Endpoint, settings)
		own["TECKEN_DATABASE_URL"] = f.database
		own["TECKEN_INSTANCE"] = fmt.Sprintf("instance%d", i)
		f.settings[i] = own
		f.instances[i] = startDaemon(t, own)
		f.instances[i].waitDatabase()
		if i == 0 {
			f.instances[i].token = f.instances[i].makeToken(own)
		}
	}
	f.nginx = testenv.Nginx(t, deployedNginx(t, f.instances[0].addr(), f.instances[1].addr()))
	f.front = &front{T: t, url: f.nginx.URL, token: f.instances[0].token}
	return f
}

// spooled are the uploads that a dead instance was at, by what it left in its spool.
func (d *daemon) spooled() (ids []int64) {
	d.Helper()
	for _, name := range d.spoolEntries() {
		text, err := os.ReadFile(filepath.Join(d.dir, "data", "spool", name, "manifest.json"))
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
	const held, clients, each = 4, 4, 4
	f := newFleet(t, map[string]string{"TECKEN_TENANT_UPLOADS": "64"})
	dead, alive := f.instances[0], f.instances[1]
	gatedParcels, steady := parcels(t, "held", held, 100), parcels(t, "steady", clients*each, 200)

	var posting sync.WaitGroup
	gates := make([]*gated, held)
	for i, p := range gatedParcels {
		gates[i] = newGated(p.content)
		posting.Go(func() { f.front.upload(p.client, p.content, gates[i].write) })
		<-gates[i].half
	}
	f.front.waitReceiving(dead, held/2)
	f.front.waitReceiving(alive, held/2)
	for c := range clients {
		posting.Go(func() {
			for _, p := range steady[c*each : (c+1)*each] {
				f.front.upload(p.client, p.content, nil)
			}
		})
	}
	dead.eventually("some uploads are accepted", func() bool { return f.front.accepted.Load() >= clients })
	dead.signal(syscall.SIGKILL)
	dead.exit()
	before := f.front.accepted.Load()
	alive.eventually("the other instance goes on", func() bool { return f.front.accepted.Load() > before })
	for _, g := range gates {
		close(g.rest)
	}
	posting.Wait()

	for _, p := range append(gatedParcels, steady...) {
		checkStored(t, f.store, p.manifest)
	}
	alive.eventually("nothing is in progress", func() bool { return len(alive.spoolEntries()) == 0 })
	c := takeCensus(t, f.database, f.front)
	if denied := c.check(held + clients*each); denied > 0 {
		t.Errorf("%d uploads are recorded as completed, and were answered otherwise", denied)
	}
	orphans := dead.spooled()
	if len(orphans) < held/2 {
		t.Errorf("the dead instance left %d uploads in its spool, want at least the %d it was receiving", len(orphans), held/2)
	}
	c.checkEndless(orphans)
	f.checkBroken(dead.addr())
	t.Logf("%d attempts for %d uploads, %d records without an end, %d orphans", len(f.front.attempts), held+clients*each, len(c.endless), len(orphans))
}

// Both instances are restarted, one after the other as docs/operations.md says, while clients post. None of them
// notices, and each record has its end.
func TestFleetRestarts(t *testing.T) {
	const clients = 4
	// Within the delay nginx is told that the instance goes.
	f := newFleet(t, map[string]string{"TECKEN_SHUTDOWN_DELAY": testenv.Slack(t, 5*time.Second).String(), "TECKEN_TENANT_UPLOADS": "64"})
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
		if code := d.exit(); code != 0 {
			t.Errorf("exit status %d", code)
		}
		if left := d.spoolEntries(); len(left) != 0 {
			t.Errorf("left in the spool: %q", left)
		}
		f.settings[i]["TECKEN_LISTEN"] = d.addr()
		f.instances[i] = d.again(f.settings[i])
		f.instances[i].waitDatabase()
		f.shell(script)
	}
	before := f.front.accepted.Load()
	f.instances[0].eventually("uploads are accepted", func() bool { return f.front.accepted.Load() >= before+clients })
	close(enough)
	posting.Wait()
	c := takeCensus(t, f.database, f.front)
	if denied := c.check(int(posted.Load())); denied > 0 || len(c.endless) > 0 {
		t.Errorf("%d uploads are recorded as completed, and were answered otherwise; %d have no end", denied, len(c.endless))
	}
	for _, a := range f.front.attempts {
		if a.status != http.StatusCreated {
			t.Errorf("%s: status %d: %s (%v)", a.label, a.status, a.err, a.broken)
		}
	}
}

// waitReceiving waits until an instance receives so many uploads.
func (f *front) waitReceiving(d *daemon, n float64) {
	f.Helper()
	d.eventually(fmt.Sprintf("%v uploads are received", n), func() bool { return d.metric("tecken_uploads_in_receive") == n })
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
