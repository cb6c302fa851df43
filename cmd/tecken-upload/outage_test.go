package main

import (
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tecken-upload/internal/testenv"
)

// outage is a server that loses its database.
type outage struct {
	*daemon
	front   *front
	cluster *testenv.PostgresCluster
	direct  string // the database's URL, past the gate
	gate    *testenv.Gate
	slow    *testenv.Proxy // before S3

	posting sync.WaitGroup
	held    []parcel     // of uploads that are in flight when the database goes
	steady  atomic.Int64 // uploads accepted of clients that post all the time
	enough  chan struct{}

	stopped, started, recovered time.Time
}

func newOutage(t *testing.T, pool int) *outage {
	t.Helper()
	s3 := testenv.S3(t)
	o := &outage{cluster: testenv.NewPostgres(t), slow: testenv.Toxiproxy(t, s3.Addr), enough: make(chan struct{})}
	o.direct = o.cluster.Database(t)
	var through string
	o.gate, through = testenv.PostgresGate(t, o.direct)
	site := newS3Site(t, s3, "http://"+o.slow.Addr, map[string]string{
		"TECKEN_DATABASE_URL": o.direct, "TECKEN_DATABASE_MAX_CONNS": strconv.Itoa(pool),
		"TECKEN_TENANT_UPLOADS": "64", // all of them are one tenant's
	})
	token := site.Token("ci@example.com")
	site.Settings["TECKEN_DATABASE_URL"] = through // for the server alone
	o.daemon = serveAs(site, token)
	site.Settings["TECKEN_DATABASE_URL"] = o.direct
	o.front = &front{TB: t, address: o.Address, token: o.token}
	return o
}

// load lets clients post all the time, and others so many uploads that are being received when it returns, and
// as many that are being published, and stay so until release is called.
func (o *outage) load(clients, held int) (release func()) {
	receiving, publishing := parcels(o.TB, "receiving", held, 300), parcels(o.TB, "publishing", held, 400)
	o.held = append(receiving, publishing...)
	releases := make([]func(), held)
	for i, p := range receiving {
		releases[i] = o.front.hold(&o.posting, p)
	}
	o.waitReceiving(float64(held))
	for c := range clients {
		o.posting.Go(func() { o.steady.Add(o.front.keepPosting(fmt.Sprintf("steady%d.", c), uint64(1000*(c+1)), o.enough)) })
	}
	o.eventually("some uploads are accepted", func() bool { return o.front.accepted.Load() >= int64(clients) })
	heal := o.slow.Add("latency", "downstream", map[string]any{"latency": time.Minute.Milliseconds()})
	for _, p := range publishing {
		o.posting.Go(func() { o.front.upload(p, nil) })
	}
	o.eventually("all others are published", func() bool { return o.metric("tecken_uploads_in_publish") == float64(held+clients) })
	return func() {
		heal()
		for _, release := range releases {
			release()
		}
	}
}

// stop stops the database for so long, and watches the heartbeats meanwhile.
func (o *outage) stop(length time.Duration, release func()) {
	o.Helper()
	o.stopped = time.Now()
	if err := o.cluster.Stop(o.Context()); err != nil {
		o.Fatal(err)
	}
	release()
	o.eventually("the heartbeat names the database", func() bool {
		status, checks := o.heartbeat("/__heartbeat__")
		return status == http.StatusServiceUnavailable && checks["database"] == "error" && checks["storage"] == "ok"
	})
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for ; time.Since(o.stopped) < length; <-tick.C {
		balancer, _ := o.heartbeat("/__lbheartbeat__")
		status, checks := o.heartbeat("/__heartbeat__")
		if balancer != http.StatusOK || status != http.StatusServiceUnavailable || checks["database"] != "error" {
			o.Errorf("while the database is away the heartbeats are %d and %d, %v", balancer, status, checks)
		}
	}
}

// recover starts the database, waits until twice as many uploads as there are clients were accepted, and ends
// the load.
func (o *outage) recover(clients int) {
	o.Helper()
	o.started = time.Now()
	before := o.front.accepted.Load()
	if err := o.cluster.Start(o.Context()); err != nil {
		o.Fatal(err)
	}
	o.eventuallyGreen()
	green := time.Since(o.started)
	o.eventually("uploads are accepted again", func() bool { return o.front.accepted.Load() >= before+int64(2*clients) })
	o.recovered = time.Now()
	close(o.enough)
	o.posting.Wait()
	o.Logf("from its start: heartbeat green after %v, %d uploads accepted after %v", green, 2*clients, o.recovered.Sub(o.started))
}

// checkConnections checks that there were never more than the pool's, and few attempts to make one.
func (o *outage) checkConnections(pool int) {
	o.Helper()
	_, most := o.gate.Open(o.cluster.Socket())
	away, back := o.gate.Between(o.stopped, o.started), o.gate.Between(o.started, o.started.Add(time.Second))
	o.Logf("connections: at most %d at once; %d attempts in %v without a database, %d in the second after; %d cancel requests",
		most, away, o.started.Sub(o.stopped), back, o.gate.Cancels())
	if most > pool {
		o.Errorf("%d connections at once, with a pool of %d", most, pool)
	}
	// Each connection of the pool is tried after a pause of 1 to 2 s, once the first ones, which are shorter, are over.
	if most := pool * (int(o.started.Sub(o.stopped).Seconds()) + 5); away > most {
		o.Errorf("%d attempts to connect without a database, want at most %d", away, most)
	}
	// That, once more when it answers, and what a busy machine put off until now.
	if back > 3*pool {
		o.Errorf("%d attempts to connect in the second after its start, with a pool of %d", back, pool)
	}
}

// checkRecords checks that uploads are stored and recorded as their clients were told.
func (o *outage) checkRecords(pool int) {
	o.Helper()
	for _, p := range o.held {
		o.checkStored(p.Archive)
	}
	// Whether a commit was done is not known where its answer was lost: at most one for each connection.
	var c *census
	o.eventually("the records have their ends", func() bool {
		c = takeCensus(o.Site, o.front)
		for _, p := range o.held {
			if c.records[p.client+"-0"].Outcome == "" {
				return false
			}
		}
		return len(c.endless) <= pool
	})
	if denied := c.check(int(o.steady.Load()) + len(o.held)); denied > pool {
		o.Errorf("%d uploads are recorded as completed, and were answered otherwise", denied)
	}
	first := make(map[string]attempt)
	for _, a := range o.front.attempts {
		first[a.Label] = a
		if a.Lost != nil {
			o.Errorf("%s got no answer: %v", a.Label, a.Lost)
		}
	}
	for _, p := range o.held {
		label := p.client + "-0"
		if a, e := first[label], c.records[label]; a.Status != http.StatusServiceUnavailable || a.RetryAfter == "" || e.Outcome != "failed" {
			o.Errorf("%s, in flight when the database went: status %d, Retry-After %q, record %+v", label, a.Status, a.RetryAfter, e)
		}
	}
	o.Logf("%d attempts, %d accepted, %d records without an end", len(first), o.front.accepted.Load(), len(c.endless))
}

// Incident B2: PostgreSQL goes away under load for half a minute. No connection is made beyond the pool, no
// storm of connections meets its return, all recovers without a restart, and every upload is recorded once.
func TestDatabaseOutageUnderLoad(t *testing.T) {
	t.Parallel()
	const length, pool, clients, held = 30 * time.Second, 4, 8, 4
	o := newOutage(t, pool)
	release := o.load(clients, held)
	o.stop(length, release)
	o.recover(clients)
	o.checkConnections(pool)
	o.checkRecords(pool)
}
