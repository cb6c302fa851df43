package main

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"tecken-upload/internal/testenv"
)

// A primary hands over to its standby under load, and the one address leads there from then on. Uploads go on without a restart, over
// no more connections than the pool's, and each is recorded once.
func TestFailoverUnderLoad(t *testing.T) {
	t.Parallel()
	for name, demote := range map[string]func(*testenv.PostgresCluster, context.Context) error{
		"it turns read-only and keeps its connections": (*testenv.PostgresCluster).Demote,
		"it shuts down": (*testenv.PostgresCluster).ShutDown,
	} {
		t.Run(name, func(t *testing.T) {
			const pool, clients = 4, 8
			o := newOutage(t, pool)
			standby := o.cluster.Standby(t)
			for c := range clients {
				o.posting.Go(func() { o.steady.Add(o.front.keepPosting(fmt.Sprintf("steady%d.", c), uint64(1000*(c+1)), o.enough)) })
			}
			o.accept(clients)
			began := time.Now()
			o.accept(2 * clients)
			usual := time.Since(began)

			if err := demote(o.cluster, t.Context()); err != nil {
				t.Fatal(err)
			}
			if err := standby.Promote(t.Context()); err != nil {
				t.Fatal(err)
			}
			o.gate.Lead(standby.Socket())
			led := time.Now()
			o.accept(2 * clients)
			close(o.enough)
			o.posting.Wait()

			o.checkFailover(led, usual, clients)
			if _, most := o.gate.Open(standby.Socket()); most > pool {
				t.Errorf("%d connections to the new primary, with a pool of %d", most, pool)
			}
			o.eventually("the old primary has no connections, lookups' neither", func() bool {
				o.text(o.URL("/a.so/AA/b.sym"))
				now, _ := o.gate.Open(o.cluster.Socket())
				return now == 0
			})
			o.Settings["TECKEN_DATABASE_URL"] = standby.Same(t, o.direct)
			c := takeCensus(o.Site, o.front)
			if denied := c.check(int(o.steady.Load())); denied > pool {
				t.Errorf("%d uploads are recorded as completed, and were answered otherwise", denied)
			}
		})
	}
}

// accept waits until so many more uploads are accepted.
func (o *outage) accept(n int) {
	o.Helper()
	before := o.front.accepted.Load()
	o.eventually("uploads are accepted", func() bool { return o.front.accepted.Load() >= before+int64(n) })
}

// checkFailover checks that no upload that came 5 seconds after the failover, or later, was refused, and few of those before: on a
// machine on which a round of uploads usually takes so long.
func (o *outage) checkFailover(led time.Time, usual time.Duration, clients int) {
	o.Helper()
	refused, last := 0, time.Duration(0)
	for _, a := range o.front.attempts {
		if a.Lost != nil {
			o.Errorf("%s got no answer: %v", a.Label, a.Lost)
		}
		if a.began.After(led) && a.Status != http.StatusCreated {
			refused++
			last = max(last, a.began.Sub(led))
		}
	}
	o.Logf("%d attempts, %d refused that began after the failover, the last one after %v", len(o.front.attempts), refused, last)
	if refused > clients {
		o.Errorf("%d uploads were refused after the failover, of %d clients", refused, clients)
	}
	if most := 5*time.Second + usual; last > most {
		o.Errorf("an upload was refused %v after the failover, want %v at the most", last, most)
	}
}

// A database that answers and refuses the server a right is not mended by waiting: the balancer's heartbeat is red until the right is
// granted.
func TestARightIsMissing(t *testing.T) {
	address := testenv.Postgres(t)
	t.Parallel()
	role := strings.ToLower(t.Name())
	run := func(statements ...string) {
		t.Helper()
		ctx := context.WithoutCancel(t.Context())
		conn, err := pgx.Connect(ctx, address)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close(ctx)
		for _, statement := range statements {
			if _, err := conn.Exec(ctx, statement); err != nil {
				t.Fatalf("%s: %v", statement, err)
			}
		}
	}
	run(`CREATE ROLE `+role+` LOGIN`, `REVOKE CREATE ON SCHEMA public FROM PUBLIC`)
	t.Cleanup(func() { run(`DROP OWNED BY `+role, `DROP ROLE `+role) })
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.User(role)
	site := newSite(t, map[string]string{"TECKEN_DATABASE_URL": u.String()})
	d := &daemon{Site: site, Instance: site.Serve()}
	d.eventually("the balancer's heartbeat is red", func() bool {
		status, _ := d.heartbeat("/__lbheartbeat__")
		return status == http.StatusServiceUnavailable
	})
	if status, checks := d.heartbeat("/__heartbeat__"); status != http.StatusServiceUnavailable || checks["migration"] != "error" || checks["storage"] != "ok" {
		t.Errorf("heartbeat %d %v", status, checks)
	}
	if line := d.waitLog("the database's schema can't be used: the heartbeats are red"); !strings.Contains(fmt.Sprint(line["err"]), "permission denied") {
		t.Errorf("the log: %v", line)
	}
	run(`GRANT CREATE ON SCHEMA public TO ` + role)
	d.eventuallyGreen()
	if _, checks := d.heartbeat("/__heartbeat__"); checks["migration"] != "ok" {
		t.Errorf("heartbeat: %v", checks)
	}
}
