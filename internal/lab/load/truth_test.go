package load

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"tecken-upload/internal/lab"
	"tecken-upload/internal/lab/process"
	"tecken-upload/internal/testenv"
)

const (
	// leastMemory and mostMemory are how much more anonymous memory a server may have in the end than when it was idle and warm, whatever it
	// had during the run: its pools are filled now, and Go's allocator keeps some of what it had.
	leastMemory, mostMemory = 12 << 20, 48 << 20
	// databaseConns is the default of TECKEN_DATABASE_MAX_CONNS. Those to PostgreSQL can't be told from other descriptors.
	databaseConns = 10
	// mostInLine is up to how many clients the server's line holds all of them: beyond that some may be refused at once.
	mostInLine = 500
	// handOver is for how long a connection to storage and its successor may both be seen.
	handOver = 2 * time.Second
)

// memorySlack is how much more anonymous memory than idle a server may have in the end that had peak in the run: less than half of what the
// run took, so that one that gives nothing back is found out.
func memorySlack(idle, peak int64) int64 {
	return min(max(leastMemory, (peak-idle)*2/5), mostMemory)
}

// restLine waits until the server has no more in use than when it was idle.
func (r *load) restLine(idle lab.InUse) line {
	slack := memorySlack(idle.Anonymous, r.peak())
	ctx, cancel := context.WithDeadline(r.Context(), r.last.Add(r.rest))
	defer cancel()
	var now lab.InUse
	var left error
	err := lab.Await(ctx, func(ctx context.Context) error {
		u, err := r.site.InUse(ctx, r.server)
		if err != nil {
			return err
		}
		if now = u; r.database == lab.PostgreSQL {
			u.Descriptors -= databaseConns
		}
		left = beyond(u, idle, slack)
		return left
	})
	if err != nil {
		err = fmt.Errorf("%w: %w", err, left)
	}
	took := time.Since(r.last)
	return line{
		measure:  "in use after the last answer: slots, spool, leases, goroutines, descriptors, memory",
		promised: fmt.Sprintf("as when idle within %v; memory + %.0f MiB", r.rest, mebi(slack)),
		measured: fmt.Sprintf("after %.1f s %v; when idle %v", took.Seconds(), now, idle),
		fault:    err,
	}
}

// beyond reports what a server has in use beyond that of an idle one, and for memory beyond slack more.
func beyond(now, idle lab.InUse, slack int64) error {
	err := now.Beyond(idle)
	if more := now.Anonymous - idle.Anonymous; more > slack {
		err = errors.Join(err, fmt.Errorf("%.0f MiB of memory", mebi(more)))
	}
	return err
}

// answersLine tells how the attempts ended.
func (r *load) answersLine() line {
	t := r.tally()
	l := line{
		measure:  fmt.Sprintf("%d concurrent clients of %d tenants, %v: answers", r.clients, len(r.tenants), r.length),
		promised: "no error other than truthful refusals",
		measured: fmt.Sprintf("%d errors in %d requests: %d accepted, %d × 429, %d × 503, %d hung up on purpose",
			t[broken], len(r.attempts), t[accepted], t[overOwn], t[busy], t[hungUp]),
	}
	var faults []error
	for _, a := range r.attempts {
		if a.ending == broken {
			faults = append(faults, fmt.Errorf("%s of %s (%d bytes), begun after %.1f s, failed after %.1f s: %w",
				a.Label, a.tenant.name, a.Archive.Size, a.began.Seconds(), a.took.Seconds(), a.err))
		}
	}
	if t[accepted] == 0 {
		faults = append(faults, errors.New("nothing was accepted"))
	}
	l.fault = some(faults)
	return l
}

// quietLine has one client of each tenant upload one archive after the other. There is room for all of them many times over, so that what
// is refused now is refused for no reason.
func (r *load) quietLine() line {
	r.say("a client of each tenant, alone")
	var wg sync.WaitGroup
	made := make([][]*attempt, len(r.tenants))
	for i, t := range r.tenants {
		c := r.crowd[slices.IndexFunc(r.crowd, func(c *client) bool { return c.tenant == t })]
		wg.Go(func() { made[i] = c.quiet() })
	}
	wg.Wait()
	all := slices.Concat(made...)
	r.besides = append(r.besides, all...)
	return judgeQuiet(all, len(r.tenants))
}

func judgeQuiet(made []*attempt, tenants int) line {
	accepts := 0
	var faults []error
	for _, a := range made {
		if a.ending == accepted {
			accepts++
		} else {
			faults = append(faults, fmt.Errorf("%s to a server with room: %w", a.Label, a.denied()))
		}
	}
	return line{
		measure:  fmt.Sprintf("%d clients of as many tenants, after the run", tenants),
		promised: "none is refused",
		measured: fmt.Sprintf("%d of %d accepted", accepts, len(made)),
		fault:    some(faults),
	}
}

// readRefusals returns how many uploads the server has refused before their bodies, by what it answers then.
func readRefusals(m lab.Metrics) map[ending]int {
	count := func(reason string) int {
		n, _ := m.Sum(fmt.Sprintf("tecken_refusals_total{reason=%q}", reason)) // a reason may never have been
		return int(n)
	}
	room := 0
	for _, reason := range []string{"receiving", "spool", "time", "queue", "fetch"} {
		room += count(reason)
	}
	return map[ending]int{overOwn: count("limit"), busy: room}
}

// refusalsLine compares the refusals that clients got with those that the server counted: a 503 that it does not count is a failure of its
// own. It also finds refusals without a wait. Uploads without a record after their client hung up may all have been refused.
func (r *load) refusalsLine(records []lab.Record, counted map[ending]int) line {
	recorded := make(map[string]bool, len(records))
	for _, rec := range records {
		recorded[rec.Label] = true
	}
	told, unheard := make(map[ending]int), 0
	var faults []error
	for _, a := range r.all() {
		if a.refused() {
			told[a.ending]++
			if a.took < r.wait && r.clients <= mostInLine {
				faults = append(faults, fmt.Errorf("%s after %v: %w", a.Label, a.took.Round(time.Millisecond), a.denied()))
			}
		}
		if a.ending == hungUp && !recorded[a.Label] {
			unheard++
		}
	}
	for _, e := range []ending{overOwn, busy} {
		if told[e] > counted[e] {
			faults = append(faults, fmt.Errorf("%d × %s answered, of which %d are refusals", told[e], e, counted[e]))
		}
	}
	if silent := counted[overOwn] + counted[busy] - told[overOwn] - told[busy]; silent > unheard {
		faults = append(faults, fmt.Errorf("%d refusals counted that no client was told of, of %d that may have missed one", silent, unheard))
	}
	return line{
		measure:  "refusals that the server counts, of what there was no room for",
		promised: fmt.Sprintf("as many as were answered, and some of those that hung up; none before %v", r.wait),
		measured: fmt.Sprintf("%d × 429 answered, %d counted; %d × 503 answered, %d counted; %d hung up and left no record",
			told[overOwn], counted[overOwn], told[busy], counted[busy], unheard),
		fault: some(faults),
	}
}

// recordsLine compares the records with the attempts: each has ended and none has failed, there is none of a refused upload, and what the
// read-back finds wrong besides.
func (r *load) recordsLine(records []lab.Record) line {
	outcomes, fault := judgeRecords(records, r.all())
	accepts := r.tally()[accepted]
	return line{
		measure: "records of uploads", promised: "of each accepted one, as it was sent; none failed, none of a refused one",
		measured: fmt.Sprintf("%d accepted; of all requests %v", accepts, outcomes), fault: fault,
	}
}

func judgeRecords(records []lab.Record, attempts []*attempt) (map[string]int, error) {
	made := make(map[string]*attempt, len(attempts))
	for _, a := range attempts {
		made[a.Label] = a
	}
	outcomes := make(map[string]int)
	var faults []error
	for _, rec := range records {
		outcomes[rec.Outcome]++
		a := made[rec.Label]
		if a == nil {
			continue // the read-back finds it
		}
		if why := a.contradicts(rec); why != "" {
			faults = append(faults, fmt.Errorf("upload %s (%s): %s: %+v", rec.Label, a.ending, why, rec))
		}
	}
	return outcomes, some(faults)
}

// contradicts returns what in a record is not as the client has seen it, besides what the read-back of any site finds.
func (a *attempt) contradicts(rec lab.Record) string {
	switch {
	case rec.Outcome == "":
		return "it has no end"
	case a.refused():
		return "it was refused, which comes before an upload is begun"
	case rec.Outcome != "completed" && rec.Outcome != "cancelled":
		return "it failed"
	case rec.User != a.tenant.user():
		return "it is another user's"
	case rec.Outcome == "completed" && rec.Ignored != a.Archive.Ignored:
		return "it has other listings"
	}
	return ""
}

func (r *load) storageLine() line {
	var attempts []lab.Attempt
	for _, a := range r.all() {
		attempts = append(attempts, a.Attempt)
	}
	v, err := r.site.ReadBack(r.Context(), attempts)
	if err != nil {
		r.Fatal(err)
	}
	return line{
		measure:  "records, and objects in storage, read back and compared by their MD5",
		promised: "all of each accepted upload once, nothing else",
		measured: fmt.Sprintf("%d objects equal, %.1f GiB inflated, of %d uploads", v.Objects, float64(v.Bytes)/(1<<30), v.Accepted),
		fault:    some(v.Wrong),
	}
}

// connectionsLine compares the number of connections to storage with its bound. When a client hangs up, its upload's end may close one in
// mid-request for each of its members in publishing, or just after an answer, before that is read.
func (r *load) connectionsLine(c testenv.Traffic) line {
	hangUps := r.tally()[hungUp]
	explained := r.pool + c.Retries + c.Cut + c.Expired + min(c.Dropped, hangUps)
	l := line{
		measure:  "connections to storage ever opened, counted by a proxy before it",
		promised: fmt.Sprintf("≤ pool of %d, + retries, + those lost to hang-ups", r.pool),
		measured: fmt.Sprintf("%d for %d requests: pool %d, %d retries, %d closed in mid-request, %d after long without use",
			c.Opened, c.Requests, r.pool, c.Retries, c.Cut, c.Expired),
	}
	if c.Dropped+c.Others > 0 {
		l.measured += fmt.Sprintf(", %d soon after an answer, %d for no reason", c.Dropped, c.Others)
	}
	switch {
	case c.Opened > explained:
		l.fault = fmt.Errorf("%d connections opened, %d are explained", c.Opened, explained)
	case c.Cut > hangUps*r.slots:
		l.fault = fmt.Errorf("%d requests were cut off, by %d uploads that ended early", c.Cut, hangUps)
	}
	return l
}

// mostLine tells how many were open at a time.
func (r *load) mostLine(c testenv.Traffic) line {
	l := line{measure: "connections to storage at a time", promised: fmt.Sprintf("≤ %d", r.pool), measured: fmt.Sprint(c.Most)}
	if c.OverFor > 0 {
		l.measured += fmt.Sprintf(", for %v: one was seen to open before its predecessor was seen to close", c.OverFor.Round(time.Microsecond))
	}
	if c.OverFor > handOver {
		l.fault = fmt.Errorf("more than %d were open for %v", r.pool, c.OverFor)
	}
	return l
}

// complaints counts what the server logged as warnings and errors, by message and error. What is no log entry is one: a panic's trace.
func complaints(lines []string) map[string]int {
	found := make(map[string]int)
	for _, text := range lines {
		switch e, ok := process.ParseEntry(text); {
		case !ok:
			found[text]++
		case e.Text("level") == "WARN", e.Text("level") == "ERROR":
			found[strings.TrimSpace(e.Text("level")+" "+e.Text("msg")+" "+e.Text("err"))]++
		}
	}
	return found
}

// judgeComplaints takes for an error whatever is no warning.
func judgeComplaints(found map[string]int) line {
	logged, warnings := 0, 0
	var faults []error
	for _, what := range slices.Sorted(maps.Keys(found)) {
		n := found[what]
		if strings.HasPrefix(what, "WARN ") {
			warnings += n
			continue
		}
		logged += n
		faults = append(faults, fmt.Errorf("the server logged %d × %.300s", n, what))
	}
	return line{
		measure:  "errors that the server logged",
		promised: "none",
		measured: fmt.Sprintf("%d, and %d warnings", logged, warnings),
		fault:    some(faults),
	}
}

func TestRecords(t *testing.T) {
	mine := &tenant{name: "a"}
	good := lab.Record{ID: 7, Label: "c1.u1.a0", User: "a@example.com", Size: 10, Outcome: "completed", Done: 2, Ignored: 1}
	changed := func(change func(*lab.Record)) lab.Record { r := good; change(&r); return r }
	outcome := func(o string) lab.Record { return changed(func(r *lab.Record) { r.Outcome = o }) }
	for _, c := range []struct {
		name   string
		ending ending
		record lab.Record
		fault  string
	}{
		{"as it should be", accepted, good, ""},
		{"another user", accepted, changed(func(r *lab.Record) { r.User = "b@example.com" }), "another user's"},
		{"a listing less", accepted, changed(func(r *lab.Record) { r.Ignored-- }), "other listings"},
		{"without an end", accepted, outcome(""), "no end"},
		{"accepted and failed", accepted, outcome("failed"), "it failed"},
		{"hung up", hungUp, outcome("cancelled"), ""},
		{"hung up too late", hungUp, good, ""},
		{"hung up and failed", hungUp, outcome("failed"), "it failed"},
		{"refused after its beginning", busy, outcome("failed"), "comes before"},
		{"refused by the way", overOwn, outcome("cancelled"), "comes before"},
		{"broken and too late", broken, outcome("timed_out"), "it failed"},
		{"refused and completed", overOwn, good, "it was refused"},
	} {
		a := &attempt{tenant: mine, ending: c.ending, Attempt: lab.Attempt{Upload: lab.Upload{Label: good.Label, Archive: &lab.Archive{Ignored: 1}}}}
		_, err := judgeRecords([]lab.Record{c.record}, []*attempt{a})
		if c.fault != "" {
			wantFault(t, c.fault, err)
		} else if err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

// labelled is an attempt that took a second.
func labelled(label string, e ending) *attempt {
	a := &attempt{ending: e, took: time.Second}
	a.Label, a.Error = label, "Busy."
	return a
}

// What the server does not count as a refusal is a failure of its own.
func TestRefusals(t *testing.T) {
	counted := readRefusals("tecken_refusals_total{reason=\"limit\"} 2\n" +
		"tecken_refusals_total{reason=\"spool\"} 1\ntecken_refusals_total{reason=\"time\"} 3\ntecken_refusals_total{reason=\"database\"} 7\n")
	if counted[overOwn] != 2 || counted[busy] != 4 {
		t.Errorf("%v", counted)
	}
	for _, c := range []struct {
		own, busy, hungUp int // answers
		fault             string
	}{
		{2, 4, 0, ""},
		{1, 3, 2, ""}, // two did not wait for the answer
		{2, 5, 0, "5 × 503 answered, of which 4 are refusals"},
		{3, 3, 0, "3 × 429 answered, of which 2 are refusals"},
		{1, 4, 0, "1 refusals counted that no client was told of"},
		{2, 1, 2, "3 refusals counted that no client was told of"},
	} {
		r := &load{options: options{wait: time.Second}}
		for e, n := range map[ending]int{overOwn: c.own, busy: c.busy, hungUp: c.hungUp, accepted: 1} {
			for i := range n {
				r.attempts = append(r.attempts, labelled(fmt.Sprint(e, i), e))
			}
		}
		// This one is recorded: it was let in.
		r.attempts = append(r.attempts, labelled("late", hungUp))
		l := r.refusalsLine([]lab.Record{{Label: "late"}}, counted)
		if c.fault != "" {
			wantFault(t, c.fault, l.fault)
		} else if l.fault != nil {
			t.Errorf("%+v: %v", c, l.fault)
		}
	}
	hasty := labelled("c1.u1.a0", busy)
	hasty.took = 999 * time.Millisecond
	r := &load{options: options{wait: time.Second}, attempts: []*attempt{hasty}}
	counted = map[ending]int{busy: 1}
	wantFault(t, "c1.u1.a0 after 999ms: ", r.refusalsLine(nil, counted).fault)
	if r.wait = 0; r.refusalsLine(nil, counted).fault != nil {
		t.Error("without a wait it may be refused at once")
	}
}

func TestQuiet(t *testing.T) {
	made := []*attempt{{ending: accepted}, {ending: accepted}}
	if l := judgeQuiet(made, 2); l.fault != nil || l.measured != "2 of 2 accepted" {
		t.Errorf("%+v", l)
	}
	wantFault(t, "c1.u1.a0 to a server with room: ", judgeQuiet(append(made, labelled("c1.u1.a0", busy)), 2).fault)
	wantFault(t, "reset", judgeQuiet(append(made, &attempt{ending: broken, err: errors.New("reset")}), 2).fault)
}

func TestComplaints(t *testing.T) {
	found := complaints([]string{`{"level":"WARN","msg":"slow"}`, `{"level":"INFO","msg":"serving"}`, `{"level":"WARN","msg":"slow"}`})
	if l := judgeComplaints(found); l.fault != nil || l.measured != "0, and 2 warnings" {
		t.Errorf("%+v", l)
	}
	wantFault(t, "1 × ERROR upload ended: no rights", judgeComplaints(complaints([]string{`{"level":"ERROR","msg":"upload ended:","err":"no rights"}`})).fault)
	wantFault(t, "1 × panic: no level at all", judgeComplaints(complaints([]string{"panic: no level at all"})).fault)
}

// More connections than are explained break the promise.
func TestConnections(t *testing.T) {
	r := &load{options: options{slots: 2}, pool: 6, attempts: []*attempt{{ending: hungUp}}}
	for _, c := range []struct {
		traffic           testenv.Traffic
		connections, most string // what is wrong; "": nothing
	}{
		{testenv.Traffic{Opened: 8, Cut: 2, Retries: 0}, "", ""},
		{testenv.Traffic{Opened: 9, Cut: 2, Retries: 1}, "", ""},
		{testenv.Traffic{Opened: 9, Cut: 2, Retries: 0}, "9 connections opened, 8 are explained", ""},
		{testenv.Traffic{Opened: 11, Cut: 2, Retries: 1, Dropped: 2}, "11 connections opened, 10 are explained", ""}, // one of them may be of the hang-up
		{testenv.Traffic{Opened: 10, Cut: 3, Expired: 1}, "3 requests were cut off", ""},
		{testenv.Traffic{Most: 7, OverFor: time.Millisecond}, "", ""},
		{testenv.Traffic{Most: 7, OverFor: 2 * handOver}, "", "more than 6"},
	} {
		for want, fault := range map[*string]error{&c.connections: r.connectionsLine(c.traffic).fault, &c.most: r.mostLine(c.traffic).fault} {
			if *want != "" {
				wantFault(t, *want, fault)
			} else if fault != nil {
				t.Errorf("%+v: %v", c.traffic, fault)
			}
		}
	}
}

func TestRest(t *testing.T) {
	idle := lab.InUse{Goroutines: 12, Anonymous: 10 << 20}
	if err := beyond(idle, idle, 32<<20); err != nil {
		t.Error(err)
	}
	wantFault(t, "33 MiB of memory", beyond(lab.InUse{Anonymous: 43 << 20}, idle, 32<<20))
	wantFault(t, "goroutines", beyond(lab.InUse{Goroutines: 13}, idle, 32<<20))
	for _, c := range []struct{ peak, slack int64 }{{0, 12}, {20, 12}, {43, 13}, {60, 20}, {500, 48}} {
		if got := memorySlack(10<<20, c.peak<<20) >> 20; got != c.slack {
			t.Errorf("with a peak of %d MiB the slack is %d, not %d", c.peak, got, c.slack)
		}
	}
}
