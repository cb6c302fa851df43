package drill

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"tecken-upload/internal/lab"
	"tecken-upload/internal/spool"
)

const (
	// stagger is how long after one client the next begins.
	stagger = 600 * time.Millisecond
	// backAtOnce is how soon after a kill the space must be back.
	backAtOnce = 500 * time.Millisecond
	// sweepSlack is how long a sweep that is due may take to begin and to end, and healthSlack the same of a heartbeat:
	// its checks are shared for 2 s.
	sweepSlack, healthSlack = 3 * time.Second, 4 * time.Second
	// lull is for how long the junk stays when the heartbeats are red.
	lull = 2 * time.Second
	// fillSteps is how many steps the junk takes to fill the disk: a plot shows a slope.
	fillSteps = 15
)

// killed plays incident A1.
func (d *drill) killed() {
	idle := d.used()
	d.mark("three clients post %d MB each, slowly", d.archives[0].Size/1_000_000)
	lost := d.postAll(slowly, stagger)
	d.expect(d.until(patience, func() bool { return d.underWay() == archiveCount }), "three workspaces say in their manifests how far their uploads came")
	held := d.used()
	d.expect(held > idle+archiveCount*archiveBytes/2, "%d MiB are used on the disk, in files without a name", held/mib)

	d.mark("the server is killed with -9")
	d.must(d.server.Load().Kill())
	at := time.Now()
	back := d.until(backAtOnce, func() bool { return d.used() <= idle+d.noise })
	d.expect(back, "%d ms later %.1f MiB are used: the space is back, before any cleaning", time.Since(at).Milliseconds(), float64(d.used())/mib)
	unanswered := func(a lab.Answer) bool { return a.Lost != nil }
	d.expect(len(slices.DeleteFunc(<-lost, unanswered)) == 0, "every client has lost its connection")
	orphans := d.autopsy()
	d.expect(len(orphans) == archiveCount, "three workspaces are orphans, and can be swept in %v", orphanAge)
	d.wait(breath)
	d.server.Store(d.site.ServeHealthy())
	d.mark("the server is started again, and the clients repeat their uploads")
	retried := d.postAll(quickly, 0)
	gone := d.until(orphanAge+sweepInterval+sweepSlack-time.Since(at), func() bool {
		return !slices.ContainsFunc(d.workspaces(), func(name string) bool { return slices.Contains(orphans, name) })
	})
	if gone {
		d.mark("the orphans have been swept")
	}
	d.expect(gone, "%.1f s after the kill disk-manager has removed the orphaned workspaces", time.Since(at).Seconds())
	for i, got := range <-retried {
		stored, all := len(got.Uploaded)+len(got.Skipped), len(d.archives[i].Members)
		d.expect(got.Status == http.StatusCreated && stored == all, "client %d is answered %v: %d of %d members are stored", i+1, got, stored, all)
	}
	d.wait(breath)
}

// postAll posts all archives, each by a client that begins so long after the one before, and sends the answers when there are all.
func (d *drill) postAll(take, stagger time.Duration) <-chan []lab.Answer {
	done := make(chan []lab.Answer, 1)
	go func() {
		answers := make([]lab.Answer, len(d.archives))
		var clients sync.WaitGroup
		for i, a := range d.archives {
			clients.Go(func() {
				lab.Pause(d.ctx, time.Duration(i)*stagger)
				answers[i] = d.post(a, take)
			})
		}
		clients.Wait()
		done <- answers
	}()
	return done
}

// underWay counts the uploads with a manifest that says how much of the body has arrived.
func (d *drill) underWay() (n int) {
	for _, name := range d.workspaces() {
		text, err := os.ReadFile(filepath.Join(d.site.SpoolDir(), name, "manifest.json"))
		var m spool.Manifest
		if err == nil && json.Unmarshal(text, &m) == nil && m.Received > 0 {
			n++
		}
	}
	return n
}

// autopsy tells what each orphan was, as the janitor will, and names them.
func (d *drill) autopsy() (names []string) {
	at, err := spool.Attach(d.site.SpoolDir(), spool.Options{ReadOnly: true})
	d.must(err)
	defer at.Close()
	for o, err := range at.Orphans(d.ctx) {
		d.must(err)
		if m := o.Manifest; o.Workspace && m != nil {
			names = append(names, o.Name)
			d.say("      orphan %s: upload %d of %s, phase %s, %d of %d MB as of %s before the kill", o.Name, m.Upload, m.User, m.Phase,
				m.Received/1_000_000, m.Declared/1_000_000, time.Since(m.Updated).Round(100*time.Millisecond))
		}
	}
	return names
}

// full plays incident A2.
func (d *drill) full() {
	d.mark("a junk file fills the disk")
	junk := d.fill()
	var last time.Time
	for i := range fullThreshold {
		d.expect(d.colour(d.ctx, "/__lbheartbeat__") == green, "the balancer's heartbeat is green with %d of %d disk-full errors", i, fullThreshold)
		got := d.post(d.archives[0], atOnce)
		last = time.Now()
		d.expect(got.Status == http.StatusServiceUnavailable && got.RetryAfter != "", "an upload is answered %v", got)
		if i < fullThreshold-1 {
			d.wait(breath)
		}
	}
	d.bothAre(red, healthSlack, fmt.Sprintf("at the threshold of %d", fullThreshold))
	d.wait(lull)
	d.must(os.Remove(junk))
	d.mark("the junk is removed")
	d.expect(d.colour(d.ctx, "/__lbheartbeat__") == red, "the balancer's heartbeat is still red: the window of %v has not passed", fullWindow)
	d.bothAre(green, fullWindow+healthSlack-time.Since(last), "after the window, by themselves")
	got := d.post(d.archives[0], atOnce)
	d.expect(got.Status == http.StatusCreated, "an upload is answered %v", got)
	d.expect(d.until(sweepSlack, func() bool { return len(d.workspaces()) == 0 }), "nothing is left in the spool")
	d.wait(breath)
}

// fill writes junk beside the spool until half of the headroom is gone.
func (d *drill) fill() (junk string) {
	_, free, err := d.disk.Used()
	d.must(err)
	size := free - d.headroom + headroom/2
	junk = filepath.Join(d.disk.Dir, "junk")
	f, err := os.Create(junk)
	d.must(err)
	defer f.Close()
	for i := range int64(fillSteps) {
		d.must(unix.Fallocate(int(f.Fd()), 0, i*size/fillSteps, size/fillSteps))
		d.wait(sampleInterval)
	}
	d.say("%d MiB of junk: less than the headroom is free", size/mib)
	return junk
}

// bothAre expects both heartbeats to be of a colour before long, and marks when they are.
func (d *drill) bothAre(want colour, limit time.Duration, when string) {
	holds := d.until(limit, func() bool {
		return d.colour(d.ctx, "/__lbheartbeat__") == want && d.colour(d.ctx, "/__heartbeat__") == want
	})
	name := map[colour]string{green: "green", red: "red"}[want]
	if holds {
		d.mark("the heartbeats are %s", name)
	}
	d.expect(holds, "both heartbeats are %s %s", name, when)
}
