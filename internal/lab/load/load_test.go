package load

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"tecken-upload/internal/lab"
	"tecken-upload/internal/sched"
	"tecken-upload/internal/testenv"
)

func TestMain(m *testing.M) { os.Exit(lab.Run(m)) }

// options say what a run is to be.
type options struct {
	clients  int
	length   time.Duration // for how long they begin uploads
	seed     uint64
	database lab.Database
	places   int           // TECKEN_MAX_RECEIVING
	slots    int           // TECKEN_STORAGE_SLOTS, which bounds the connections to storage
	wait     time.Duration // TECKEN_ADMISSION_WAIT, before which no upload is to be refused
	rest     time.Duration // within what the server is to be idle after the last answer
	hangUps  int           // of 100 uploads, those with a client that does not wait for its answer
	settings map[string]string
}

// asked is what the flags say. Without any the run is a short one: PostgreSQL, little room, so that some are refused, and then more places
// than there are clients that are alone in the end, none of which is to be refused.
var asked = options{database: lab.PostgreSQL, settings: make(map[string]string)}

func init() {
	flag.IntVar(&asked.clients, "clients", 40, "how many upload at once")
	flag.DurationVar(&asked.length, "time", 3*time.Second, "for how long they begin uploads")
	flag.Uint64Var(&asked.seed, "seed", 1, "what is sent follows from it")
	flag.IntVar(&asked.places, "places", 4, "TECKEN_MAX_RECEIVING, how many may send at once")
	flag.IntVar(&asked.slots, "slots", 16, "TECKEN_STORAGE_SLOTS, which bounds the connections to storage")
	flag.DurationVar(&asked.wait, "wait", 100*time.Millisecond, "TECKEN_ADMISSION_WAIT, before which no upload is to be refused")
	flag.DurationVar(&asked.rest, "rest", testenv.Patience, "within what the server is to be idle after the last answer")
	flag.IntVar(&asked.hangUps, "hang-ups", 10, "of 100 uploads, whose client does not wait for its answer")
	flag.BoolFunc("sqlite", "keep the records in SQLite, instead of PostgreSQL", func(string) error { asked.database = lab.SQLite; return nil })
	flag.Func("set", "a setting of the server, `TECKEN_NAME=VALUE`; may be repeated", func(s string) error {
		name, value, ok := strings.Cut(s, "=")
		switch {
		case !ok || !strings.HasPrefix(name, "TECKEN_"):
			return errors.New("not TECKEN_NAME=VALUE")
		case name == "TECKEN_ADMISSION_WAIT" || name == "TECKEN_STORAGE_SLOTS" || name == "TECKEN_MAX_RECEIVING":
			return errors.New("what is checked needs it: use -wait, -slots or -places")
		}
		asked.settings[name] = value
		return nil
	})
}

func TestLoad(t *testing.T) {
	o := asked
	if o.clients < 10 || o.clients >= common || o.length < time.Second || o.slots < 1 || o.places < 1 || o.wait < 0 {
		t.Fatal("at least 10 clients, one second, one place and one slot")
	}
	r := &load{TB: t, options: o}
	lines := r.run()
	t.Log(table(lines))
	for _, l := range lines {
		if l.fault != nil {
			t.Errorf("broken: %s: %v", l.measure, l.fault)
		}
	}
	if tally := r.tally(); o.wait < time.Second && tally[overOwn]+tally[busy] == 0 {
		t.Error("nothing was refused, so that refusals were not tested")
	}
}

// An answer that is no refusal breaks the promise, and the table says so.
func TestABrokenPromise(t *testing.T) {
	a := &attempt{tenant: &tenant{name: "bulk"}, Attempt: lab.Attempt{
		Upload: lab.Upload{Label: "c1.u1.a0", Archive: &lab.Archive{}}, Answer: lab.Answer{Status: http.StatusGatewayTimeout, Error: "Too late."},
	}}
	a.judge()
	r := &load{attempts: []*attempt{a, {ending: accepted}}}
	l := r.answersLine()
	wantFault(t, "c1.u1.a0 of bulk (0 bytes), begun after 0.0 s, failed after 0.0 s: an answer that is no refusal: 504", l.fault)
	if text := table([]line{l}); !strings.Contains(text, "| **broken** 1 errors in 2 requests: 1 accepted") {
		t.Error(text)
	}
	r.attempts = nil
	wantFault(t, "nothing was accepted", r.answersLine().fault)
}

func wantFault(t *testing.T, text string, err error) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), text) {
		t.Errorf("got %v, not an error that says %q", err, text)
	}
}

// spareConns are the server's connections to storage besides those of the slots that may be in use.
const spareConns = 4

// A load is one run.
type load struct {
	testing.TB
	options
	site      *lab.Site
	server    *lab.Instance
	traffic   *testenv.CountedS3
	pool      int // of connections to storage, at most
	tenants   []*tenant
	templates []template
	crowd     []*client
	started   time.Time
	begin     time.Time // of the uploads
	elapsed   time.Duration
	samples   []sample
	besides   []*attempt // before and after the run, to a server with nothing else to do

	mu       sync.Mutex
	attempts []*attempt // of the run
	last     time.Time  // when the last of them ended
}

// say logs what goes on.
func (r *load) say(format string, args ...any) {
	r.Helper()
	r.Logf("[%3.0f] %s", time.Since(r.started).Seconds(), fmt.Sprintf(format, args...))
}

// done counts an attempt that has ended.
func (r *load) done(a *attempt) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.attempts, r.last = append(r.attempts, a), time.Now()
}

// tally counts the attempts by their ending.
func (r *load) tally() map[ending]int {
	r.mu.Lock()
	defer r.mu.Unlock()
	t := make(map[ending]int)
	for _, a := range r.attempts {
		t[a.ending]++
	}
	return t
}

// all are the attempts that there were at any time.
func (r *load) all() []*attempt { return slices.Concat(r.besides, r.attempts) }

// run does everything, and returns the table. It fails the test where the run itself could not be had.
func (r *load) run() []line {
	r.started = time.Now()
	r.open()
	r.say("making archives")
	planners := newPlanners(r.options, r.templates, r.makeTemplates())
	for i, p := range planners {
		r.crowd = append(r.crowd, &client{planner: p, load: r, tenant: r.tenantOf(i)})
	}
	r.warm()
	idle, err := r.site.Settled(r.Context(), r.server)
	if err != nil {
		r.Fatal(err)
	}
	r.say("idle: %v", idle)
	r.upload()
	return r.check(idle)
}

// open starts the server, with storage, records and spool of its own, all of them empty.
func (r *load) open() {
	s3 := testenv.S3(r)
	r.site = lab.Open(r, lab.Config{Database: r.database, Settings: r.settings})
	r.site.UseS3(s3)
	r.pool = sched.MostInUse*r.slots + spareConns
	r.traffic = testenv.CountS3(r, s3.Endpoint, r.pool)
	for name, value := range map[string]string{
		"TECKEN_STORAGE_URL": s3.Through(r.traffic.Endpoint), "TECKEN_STORAGE_SLOTS": strconv.Itoa(r.slots),
		"TECKEN_MAX_RECEIVING": strconv.Itoa(r.places), "TECKEN_ADMISSION_WAIT": r.wait.String(),
	} {
		r.site.Settings[name] = value
	}
	r.tenants = newTenants()
	for _, t := range r.tenants {
		t.token = r.site.Token(t.user(), "--weight", strconv.Itoa(t.weight))
	}
	r.server = r.site.ServeHealthy()
}

func (r *load) makeTemplates() (giants int) {
	all, giants := specs(r.seed, r.length)
	for _, spec := range all {
		a, err := lab.CreateArchive(r.site.Dir, spec)
		if err != nil {
			r.Fatal(err)
		}
		r.templates = append(r.templates, template{a, spec.Format == ""})
	}
	return giants
}

// tenantOf divides the clients among the tenants.
func (r *load) tenantOf(client int) *tenant {
	percent, t := client*100/r.clients, 0
	for sum := r.tenants[0].share; percent >= sum; sum += r.tenants[t].share {
		t++
	}
	return r.tenants[t]
}

// warm uploads one of each kind of archive: what a program takes once and for all is no part of a run.
func (r *load) warm() {
	c := r.crowd[len(r.crowd)-1]
	for i, t := range r.templates {
		if t.Size > 100_000_000 {
			continue
		}
		a := c.attempt(&job{client: common, number: i, template: t}, 0)
		r.besides = append(r.besides, a)
		if a.ending != accepted {
			r.Fatalf("upload %s of %d bytes to the idle server: %v", a.Archive.Filename, t.Size, a.denied())
		}
	}
}

// upload has all clients work for the time of the run, and waits until the last of them has its answer.
func (r *load) upload() {
	r.say("%d clients, %v", r.clients, r.length)
	r.begin = time.Now()
	working, stop := context.WithTimeout(r.Context(), r.length)
	defer stop()
	stopSampling := lab.Sample(r.Context(), sampleInterval, r.sample)
	var wg sync.WaitGroup
	for _, c := range r.crowd {
		wg.Go(func() { c.run(working) })
	}
	wg.Wait()
	r.elapsed = time.Since(r.begin)
	var missed int
	r.samples, missed = stopSampling()
	r.say("all have their answers after %.1f s; %d samples could not be had", r.elapsed.Seconds(), missed)
}

// check judges what was promised.
func (r *load) check(idle lab.InUse) []line {
	rest := r.restLine(idle)
	quiet := r.quietLine()
	traffic := r.traffic.Traffic()
	m, err := r.server.Scrape(r.Context())
	if err != nil {
		r.Fatal(err)
	}
	if err := r.server.Stop(); err != nil {
		r.Error(err)
	}
	r.say("reading everything back")
	records, err := r.site.ReadRecords(r.Context())
	if err != nil {
		r.Fatal(err)
	}
	lines := []line{
		r.answersLine(), r.refusalsLine(records, readRefusals(m)), quiet, r.recordsLine(records), r.storageLine(), rest,
		r.connectionsLine(traffic), r.mostLine(traffic),
		judgeComplaints(complaints(r.server.Lines())),
	}
	return append(lines, r.figures()...)
}
