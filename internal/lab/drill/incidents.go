package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"tecken-upload/internal/spool"
)

const (
	// stagger is how long after one client the next begins.
	stagger = 600 * time.Millisecond
	// backAtOnce is how soon after a kill the space must be back.
	backAtOnce = 500 * time.Millisecond
	// sweepSlack is how long a sweep that is due may take to begin and to end, and healthSlack the same of a heartbeat,
	// whose checks are shared for 2 s.
	sweepSlack  = 3 * time.Second
	healthSlack = 4 * time.Second
	// lull is for how long the junk stays when the heartbeats are red.
	lull = 2 * time.Second
)

// killed plays incident A1.
func (d *drill) killed(ctx context.Context) error {
	idle := d.disk.used()
	d.mark("three clients post %d MB each, slowly", d.archives[0].size/1_000_000)
	clients := d.postSlowly(ctx)
	seen, err := until(ctx, patience, func() bool { return d.underWay() == archiveCount })
	if err != nil {
		return err
	}
	d.expect(seen, "three workspaces say in their manifests how far their uploads came")
	held := d.disk.used()
	d.expect(held > idle+archiveCount*archiveBytes/2, "%d MiB are used on the disk, in files without a name", held/mib)

	d.mark("the server is killed with -9")
	d.server.kill()
	at := time.Now()
	back, err := until(ctx, backAtOnce, func() bool { return d.disk.used() <= idle+d.disk.noise })
	if err != nil {
		return err
	}
	d.expect(back, "%d ms later %.1f MiB are used: the space is back, and nobody has cleaned",
		time.Since(at).Milliseconds(), float64(d.disk.used())/mib)
	d.expect(clients.Wait() == nil, "every client has lost its connection")
	orphans, err := d.autopsy(ctx)
	if err != nil {
		return err
	}
	d.expect(len(orphans) == archiveCount, "three workspaces are orphans, and can be swept in %v", orphanAge)
	if err := wait(ctx, breath); err != nil {
		return err
	}
	if d.server, err = d.startServer(ctx); err != nil {
		return err
	}
	d.sampler.ask(d.server.url)
	d.mark("the server is started again, and the clients repeat their uploads")
	retried := d.retry(ctx)
	if err := d.swept(ctx, orphans, at); err != nil {
		return err
	}
	for i, got := range <-retried {
		d.expect(got.status == http.StatusCreated && got.stored == d.archives[i].members,
			"client %d is answered %s: %d of %d members are stored", i+1, got, got.stored, d.archives[i].members)
	}
	return wait(ctx, breath)
}

// postSlowly starts the clients whose server will be killed. Their error is that one of them was answered.
func (d *drill) postSlowly(ctx context.Context) *errgroup.Group {
	target := d.server
	var g errgroup.Group
	for i, a := range d.archives {
		g.Go(func() error {
			if err := wait(ctx, time.Duration(i)*stagger); err != nil {
				return nil
			}
			if got := target.post(ctx, a, slowly); got.lost == nil {
				return fmt.Errorf("answered %s", got)
			}
			return nil
		})
	}
	return &g
}

// underWay counts the uploads whose manifest says that some of the body has arrived.
func (d *drill) underWay() (n int) {
	for _, name := range d.disk.workspaces() {
		text, err := os.ReadFile(filepath.Join(d.disk.spool, name, "manifest.json"))
		var m spool.Manifest
		if err == nil && json.Unmarshal(text, &m) == nil && m.Received > 0 {
			n++
		}
	}
	return n
}

// autopsy tells what each orphan was, as the janitor will, and names them.
func (d *drill) autopsy(ctx context.Context) (names []string, err error) {
	at, err := spool.Attach(d.disk.spool, spool.Options{ReadOnly: true})
	if err != nil {
		return nil, err
	}
	defer at.Close()
	for o, err := range at.Orphans(ctx) {
		if err != nil {
			return nil, fmt.Errorf("examine %s: %w", o.Name, err)
		}
		if m := o.Manifest; o.Workspace && m != nil {
			names = append(names, o.Name)
			d.say("      orphan %s: upload %d of %s, phase %s, %d of %d MB as of %s before the kill", o.Name, m.Upload, m.User, m.Phase,
				m.Received/1_000_000, m.Declared/1_000_000, time.Since(m.Updated).Round(100*time.Millisecond))
		}
	}
	return names, nil
}

// retry repeats all uploads at once, and sends the answers when there are all.
func (d *drill) retry(ctx context.Context) <-chan []answer {
	target, done := d.server, make(chan []answer, 1)
	go func() {
		answers := make([]answer, len(d.archives))
		var wg sync.WaitGroup
		for i, a := range d.archives {
			wg.Go(func() { answers[i] = target.post(ctx, a, quickly) })
		}
		wg.Wait()
		done <- answers
	}()
	return done
}

// swept waits until the disk manager has removed the orphans of a kill.
func (d *drill) swept(ctx context.Context, orphans []string, killed time.Time) error {
	limit := orphanAge + sweepInterval + sweepSlack - time.Since(killed)
	gone, err := until(ctx, limit, func() bool {
		return !slices.ContainsFunc(d.disk.workspaces(), func(name string) bool { return slices.Contains(orphans, name) })
	})
	if err != nil {
		return err
	}
	if gone {
		d.mark("the orphans have been swept")
	}
	d.expect(gone, "%.1f s after the kill disk-manager has removed the orphaned workspaces", time.Since(killed).Seconds())
	return nil
}

// full plays incident A2.
func (d *drill) full(ctx context.Context) error {
	d.mark("a junk file fills the disk")
	size, err := d.disk.fill(ctx)
	if err != nil {
		return err
	}
	d.say("%d MiB of junk: less than the headroom is free", size/mib)
	var last time.Time
	for i := range fullThreshold {
		d.expect(heartbeat(ctx, d.server.url+"/__lbheartbeat__") == green, "the balancer's heartbeat is green with %d of %d disk-full errors", i, fullThreshold)
		got := d.server.post(ctx, d.archives[0], quickly)
		last = time.Now()
		d.expect(got.status == http.StatusServiceUnavailable && got.retryAfter != "", "an upload is answered %s", got)
		if i == fullThreshold-1 {
			break
		}
		if err := wait(ctx, breath); err != nil {
			return err
		}
	}
	if err := d.bothAre(ctx, red, healthSlack, fmt.Sprintf("at the threshold of %d", fullThreshold)); err != nil {
		return err
	}
	if err := wait(ctx, lull); err != nil {
		return err
	}
	if err := os.Remove(d.disk.junk()); err != nil {
		return err
	}
	d.mark("the junk is removed")
	d.expect(heartbeat(ctx, d.server.url+"/__lbheartbeat__") == red, "the balancer's heartbeat is still red: the window of %v has not passed", fullWindow)
	if err := d.bothAre(ctx, green, fullWindow+healthSlack-time.Since(last), "after the window, without anyone's help"); err != nil {
		return err
	}
	got := d.server.post(ctx, d.archives[0], quickly)
	d.expect(got.status == http.StatusCreated, "an upload is answered %s", got)
	empty, err := until(ctx, sweepSlack, func() bool { return len(d.disk.workspaces()) == 0 })
	if err != nil {
		return err
	}
	d.expect(empty, "nothing is left in the spool")
	return wait(ctx, breath)
}

// bothAre expects both heartbeats to be of a colour before long, and marks when they are.
func (d *drill) bothAre(ctx context.Context, want colour, limit time.Duration, when string) error {
	holds, err := until(ctx, limit, func() bool {
		return heartbeat(ctx, d.server.url+"/__lbheartbeat__") == want && heartbeat(ctx, d.server.url+"/__heartbeat__") == want
	})
	if err != nil {
		return err
	}
	name := map[colour]string{green: "green", red: "red"}[want]
	if holds {
		d.mark("the heartbeats are %s", name)
	}
	d.expect(holds, "both heartbeats are %s %s", name, when)
	return nil
}
