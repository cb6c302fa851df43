package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"tecken-upload/internal/config"
)

// A load is one run.
type load struct {
	options
	dir           string
	progress      io.Writer
	started       time.Time
	site          *site
	templates     []*template
	clientTenants []*tenant // by the client's number
	elapsed       time.Duration
	samples       []sample
	besides       []*attempt // before and after the run, to a server with nothing else to do

	mu       sync.Mutex
	attempts []*attempt // of the run
	last     time.Time  // when the last of them ended
}

// say tells the user what goes on.
func (r *load) say(format string, args ...any) {
	fmt.Fprintf(r.progress, "==> [%3.0f] %s\n", time.Since(r.started).Seconds(), fmt.Sprintf(format, args...))
}

// done notes an attempt that has ended.
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

// run does everything, and returns the table. There is none where the run itself could not be had.
func (r *load) run(ctx context.Context) (lines []line, err error) {
	gateway, err := r.programs(ctx)
	if err != nil {
		return nil, err
	}
	giants, err := r.makeTemplates(ctx)
	if err != nil {
		return nil, err
	}
	if r.site, err = open(ctx, r.options, r.dir, r.server, gateway); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.site.close()) }()
	planners := newPlanners(r.options, r.templates, giants)
	clients := r.newClients(planners)
	if err := r.warm(ctx, clients[len(clients)-1]); err != nil {
		return nil, err
	}
	idle, err := r.site.settle(ctx)
	if err != nil {
		return nil, err
	}
	r.say("idle: %v", idle)
	if err := r.upload(ctx, clients); err != nil {
		return nil, err
	}
	return r.check(ctx, idle, clients)
}

// programs finds versitygw, and builds the server as scripts/test does, so that it is in the build cache.
func (r *load) programs(ctx context.Context) (gateway string, err error) {
	root, err := goOutput(ctx, "list", "-m", "-f", "{{.Dir}}")
	if err != nil {
		return "", err
	}
	gateway = filepath.Join(root, ".tools", "versitygw")
	if _, err := os.Stat(gateway); err != nil {
		return "", fmt.Errorf("%w: scripts/load builds it", err)
	}
	if r.server == "" {
		r.say("building the server")
		r.server = filepath.Join(r.dir, "tecken-upload")
		_, err = goOutput(ctx, "build", "-buildvcs=false", "-o", r.server, filepath.Join(root, "cmd/tecken-upload"))
	}
	return gateway, err
}

func goOutput(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Env = append(cmd.Environ(), "CGO_ENABLED=0")
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("go %s: %w\n%s", args[0], err, stderr.String())
	}
	return strings.TrimSpace(string(out)), nil
}

func (r *load) makeTemplates(ctx context.Context) (giants int, err error) {
	r.say("making archives")
	dir := filepath.Join(r.dir, "templates")
	if err := os.Mkdir(dir, 0o755); err != nil {
		return 0, err
	}
	all, giants := specs(r.options)
	for i, spec := range all {
		t, err := makeTemplate(ctx, dir, i, spec)
		if err != nil {
			return 0, err
		}
		r.templates = append(r.templates, t)
	}
	return giants, nil
}

// newClients divides the clients among the tenants.
func (r *load) newClients(planners []*planner) []*client {
	var clients []*client
	for i, p := range planners {
		percent, t := i*100/len(planners), 0
		for sum := r.tenants[0].share; percent >= sum; sum += r.tenants[t].share {
			t++
		}
		r.clientTenants = append(r.clientTenants, r.tenants[t])
		clients = append(clients, &client{planner: p, tenant: r.tenants[t], address: r.site.address, done: r.done})
	}
	return clients
}

// warm uploads one of each kind of archive: what a program takes once and for all is no part of a run.
func (r *load) warm(ctx context.Context, c *client) error {
	for i, t := range r.templates {
		if t.size > 100_000_000 {
			continue
		}
		a := c.attempt(ctx, &job{client: common, number: i, template: t}, 0)
		r.besides = append(r.besides, a)
		if a.ending != accepted {
			return fmt.Errorf("upload template %d to the idle server: %w", i, a.denied())
		}
	}
	return nil
}

// upload has all clients work for the time of the run, and waits until the last of them has its answer.
func (r *load) upload(ctx context.Context, clients []*client) error {
	r.say("%d clients, %v", len(clients), r.time)
	begin := time.Now()
	working, stop := context.WithTimeout(ctx, r.time)
	defer stop()
	watching, stopWatching := context.WithCancel(ctx)
	watched := make(chan int, 1)
	go func() {
		var missed int
		r.samples, missed = r.watch(watching)
		watched <- missed
	}()
	var wg sync.WaitGroup
	for _, c := range clients {
		c.begin = begin
		wg.Go(func() { c.run(working, ctx) })
	}
	wg.Wait()
	r.elapsed = time.Since(begin)
	stopWatching()
	if missed := <-watched; missed > 0 {
		r.say("%d samples could not be had", missed)
	}
	return context.Cause(ctx)
}

// check judges what was promised.
func (r *load) check(ctx context.Context, idle inUse, clients []*client) ([]line, error) {
	r.say("all have their answers after %.1f s", r.elapsed.Seconds())
	slack := memorySlack(idle.memory, r.peak())
	after, took, restErr := r.site.rest(ctx, idle, slack, r.last, r.rest)
	r.say("%.1f s after the last answer: %v", took.Seconds(), after)
	rest := line{
		measure:  "in use after the last answer: slots, spool, leases, goroutines, descriptors, memory",
		promised: fmt.Sprintf("as when idle within %v; memory + %.0f MiB", r.rest, mebi(slack)),
		measured: fmt.Sprintf("after %.1f s %v; when idle %v", took.Seconds(), after, idle),
		fault:    restErr,
	}
	quiet := r.quietLine(ctx, clients)
	connections, most := r.connectionsLine(), r.mostLine()
	counted, err := r.site.refusals(ctx)
	if err != nil {
		return nil, err
	}
	server := r.site.server
	stopErr := r.site.stop()
	rows, recordsErr := readRecords(ctx, r.site.database)
	lines := []line{
		r.answersLine(), r.refusalsLine(rows, counted), quiet, r.recordsLine(rows, recordsErr), r.storageLine(ctx),
		rest, connections, most, r.errorsLine(server),
	}
	return append(lines, r.figures()...), stopErr
}

// all are the attempts that there were at any time.
func (r *load) all() []*attempt { return slices.Concat(r.besides, r.attempts) }

func (r *load) recordsLine(rows []row, err error) line {
	accepts := r.tally()[accepted]
	l := line{measure: "records of accepted uploads", promised: "each exactly once, as it was sent; none failed, none of a refused one"}
	if err != nil {
		l.fault = err
		return l
	}
	outcomes, err := compareRecords(rows, r.all())
	l.measured, l.fault = fmt.Sprintf("%d of %d; of all requests %v", accepts, accepts, outcomes), err
	return l
}

func (r *load) storageLine(ctx context.Context) line {
	r.say("reading everything back")
	l := line{measure: "objects in storage, read back and compared byte by byte", promised: "all of each accepted upload, nothing else"}
	b := newReadback(newS3Client(r.site), bucket, r.templates, r.all())
	l.fault = b.compare(ctx)
	l.measured = fmt.Sprintf("%d objects equal, %.1f GiB inflated, of %d uploads", b.objects, float64(b.bytes)/float64(config.GiB), r.tally()[accepted])
	return l
}
