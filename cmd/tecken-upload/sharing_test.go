package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"tecken-upload/internal/lab"
	"tecken-upload/internal/lease"
	"tecken-upload/internal/testenv"
)

// sharing is a fleet that shares its tenants' limits in a Redis.
type sharing struct {
	*fleet
	redis  *testenv.RedisServer
	limit  int
	direct atomic.Int64 // uploads posted past nginx
}

// newSharing starts a fleet with one tenant, which has this limit.
func newSharing(t *testing.T, limit int, stale time.Duration, settings map[string]string) *sharing {
	t.Helper()
	s := &sharing{redis: testenv.Redis(t), limit: limit}
	all := map[string]string{
		"TECKEN_REDIS_URL": s.redis.URL(), "TECKEN_TENANT_UPLOADS": strconv.Itoa(limit), "TECKEN_TENANT_STALE": stale.String(),
	}
	maps.Copy(all, settings)
	s.fleet = newFleet(t, all)
	return s
}

// limits runs "tecken-upload limits" as an operator does, and returns the leases of the one tenant.
func (f *sharing) limits() (leases []lease.Lease) {
	f.Helper()
	out, err := f.instances[0].Run("tecken-upload", "limits", "--json")
	if err != nil {
		f.Fatal(err)
	}
	if out == "" {
		return nil
	}
	var t tenantLimit
	if err := json.Unmarshal([]byte(out), &t); err != nil {
		f.Fatalf("limits: %v\n%s", err, out)
	}
	if t.Held != len(t.Leases) || t.Limit != f.limit || t.User != "ci@example.com" {
		f.Errorf("limits: tenant %d is %s, holds %d of %d in %d leases", t.Tenant, t.User, t.Held, t.Limit, len(t.Leases))
	}
	return t.Leases
}

// at is an instance as a client sees it that posts to it past nginx, under a label of its own.
func (f *sharing) at(d *daemon) *daemon {
	return d.as(fmt.Sprintf("%s-direct%d", f.front.token, f.direct.Add(1)))
}

// hold posts bodies to an instance that stop halfway, until they are let go.
func (f *sharing) hold(d *daemon, bodies int) (all holding) {
	f.Helper()
	content := parcels(f, "held", 1, 1)[0].Archive
	for range bodies {
		all = append(all, f.at(d).hold(content))
	}
	d.waitReceiving(float64(bodies))
	return all
}

// holding are uploads that stop halfway.
type holding []held

// finish lets them all go on, and returns their answers.
func (all holding) finish() (answers []lab.Answer) {
	for _, h := range all {
		h.release()
	}
	for _, h := range all {
		answers = append(answers, <-h.answer)
	}
	return answers
}

// expectCreated lets them all go on, and checks that they are accepted.
func (all holding) expectCreated(t *testing.T) {
	t.Helper()
	for _, r := range all.finish() {
		if r.Status != http.StatusCreated {
			t.Errorf("held: answered %v", r)
		}
	}
}

// A tenant's limit counts over both instances: at no moment were more of its uploads in progress.
func TestFleetKeepsALimit(t *testing.T) {
	t.Parallel()
	const limit, clients, each = 4, 8, 3
	f := newSharing(t, limit, time.Minute, map[string]string{"TECKEN_ADMISSION_WAIT": "2s"})
	bodies := f.hold(f.instances[0], limit)
	began := time.Now()
	u := lab.Upload{Archive: parcels(t, "over", 1, 50)[0].Archive}
	if r := f.at(f.instances[1]).post(u); r.Status != http.StatusTooManyRequests || r.Contradiction(u) != nil {
		t.Errorf("over the limit: answered %v", r)
	}
	if waited := time.Since(began); waited < 2*time.Second {
		t.Errorf("refused after %v, with an admission wait of 2 s", waited)
	}
	var posting sync.WaitGroup
	for c := range clients {
		list := parcels(t, fmt.Sprintf("client%d.", c), each, uint64(100*(c+1)))
		posting.Go(func() {
			for _, p := range list {
				f.front.upload(p, nil)
			}
		})
	}
	bodies.expectCreated(t)
	posting.Wait()
	c := takeCensus(f.instances[0].Site, f.front)
	c.check(clients * each)
	if most := mostAtOnce(t, f.instances[0].Settings["TECKEN_DATABASE_URL"]); most != limit {
		t.Errorf("%d uploads were in progress at once, with a limit of %d", most, limit)
	}
	for _, line := range f.accessLog() {
		if line.method == http.MethodPost && line.status != "201" && line.status != "429" {
			t.Errorf("answered %s", line.status)
		}
	}
	f.instances[0].eventually("no lease is held", func() bool { return len(f.limits()) == 0 })
	t.Logf("%d uploads in %d attempts", clients*each, len(f.front.attempts))
}

// mostAtOnce is how many uploads were in progress at once, by their records.
func mostAtOnce(t *testing.T, database string) (most int) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), database)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	type event struct {
		At   int64
		Step int
	}
	rows, err := conn.Query(t.Context(), `SELECT created_at, 1 FROM uploads UNION ALL SELECT ended_at, -1 FROM uploads WHERE ended_at IS NOT NULL`)
	if err != nil {
		t.Fatal(err)
	}
	events, err := pgx.CollectRows(rows, pgx.RowToStructByPos[event])
	if err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(events, func(a, b event) int { return cmp.Or(cmp.Compare(a.At, b.At), cmp.Compare(a.Step, b.Step)) })
	now := 0
	for _, e := range events {
		now += e.Step
		most = max(most, now)
	}
	return most
}

// Incident C1: an instance is killed with 50 leases held. They count until the stale cut-off, and not longer.
func TestKilledWithLeasesHeld(t *testing.T) {
	t.Parallel()
	const held = 50
	stale := testenv.Slack(t, 4*time.Second) // far more than it takes to ask for the leases
	f := newSharing(t, held, stale, map[string]string{
		"TECKEN_ADMISSION_WAIT": patience.String(), "TECKEN_MAX_RECEIVING": strconv.Itoa(2 * held),
	})
	dead, alive := f.instances[0], f.instances[1]
	bodies := f.hold(dead, held)
	if n := len(f.limits()); n != held {
		t.Fatalf("%d leases are held, want %d", n, held)
	}
	dead.kill()
	killed := time.Now()
	bodies.finish()
	leases := f.limits()
	if len(leases) != held {
		t.Fatalf("%v after the kill %d leases are held, want %d", time.Since(killed), len(leases), held)
	}
	// They are not renewed any more.
	first := slices.MinFunc(leases, byRenewal).Renewed.Add(stale)
	last := slices.MaxFunc(leases, byRenewal).Renewed.Add(stale)
	if last.After(killed.Add(stale)) {
		t.Errorf("renewed %v after the kill", last.Sub(killed.Add(stale)))
	}
	waiting := f.at(alive).posting(parcels(t, "next", 1, 90)[0].Archive)
	var asked, answered time.Time
	alive.eventually("the leases are reaped", func() bool {
		asked = time.Now()
		n := len(slices.DeleteFunc(f.limits(), func(l lease.Lease) bool { return l.Instance != leases[0].Instance }))
		answered = time.Now()
		if n < held && answered.Before(first) {
			t.Errorf("%d of %d leases are held %v before the first is stale", n, held, first.Sub(answered))
		}
		if n > 0 && asked.After(last) {
			t.Errorf("%d leases are held %v after the last was stale", n, asked.Sub(last))
		}
		return n == 0
	})
	r := <-waiting
	if r.Status != http.StatusCreated {
		t.Errorf("the next upload: status %d: %s", r.Status, r.Error)
	}
	t.Logf("the last lease was gone %v after the kill, with a cut-off of %v", answered.Sub(killed), stale)
}

func byRenewal(a, b lease.Lease) int { return a.Renewed.Compare(b.Renewed) }

// Redis goes away, once as if it crashed, once as if it hung: uploads go on, under limits that each instance keeps
// for itself, and the instances say so. When it is back, limits count over both again, old leases too.
func TestFleetWithoutRedis(t *testing.T) {
	t.Parallel()
	const limit = 2
	f := newSharing(t, limit, testenv.Slack(t, 8*time.Second), map[string]string{"TECKEN_ADMISSION_WAIT": "0s"})
	full, other := f.instances[0], f.instances[1]
	bodies := f.hold(full, limit)
	post := func(d *daemon) int {
		t.Helper()
		return f.at(d).mustPost(parcels(t, "small", 1, 60)[0].Archive).Status
	}
	for _, outage := range []struct {
		name        string
		begin, over func()
	}{
		{"killed", f.redis.Kill, f.redis.Restart},
		{"hangs", f.redis.Stop, f.redis.Continue},
	} {
		if status := post(other); status != http.StatusTooManyRequests {
			t.Errorf("before it %s: status %d, want 429", outage.name, status)
		}
		outage.begin()
		if status := post(other); status != http.StatusCreated {
			t.Errorf("it %s: status %d on the instance that holds nothing, want 201", outage.name, status)
		}
		if status := post(full); status != http.StatusTooManyRequests {
			t.Errorf("it %s: status %d on the instance that is at the limit, want 429", outage.name, status)
		}
		for _, d := range f.instances {
			d.eventually("the instance says that limits are local", func() bool { return d.metric("tecken_tenant_limits_local") == 1 })
			d.waitLog("tenant limits are local, the shared leases are away")
			if status, checks := d.heartbeat("/__heartbeat__"); status != http.StatusOK {
				t.Errorf("it %s: the heartbeat is %d %v", outage.name, status, checks)
			}
		}
		outage.over()
		for _, d := range f.instances {
			d.eventually("limits are shared again", func() bool { return d.metric("tecken_tenant_limits_local") == 0 })
			d.waitLog("tenant limits are shared again")
		}
		other.eventually("what is held counts again", func() bool { return post(other) == http.StatusTooManyRequests })
	}
	bodies.expectCreated(t)
}
