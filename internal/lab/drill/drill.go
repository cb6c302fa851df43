package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"
)

// What both programs are told, so that minutes become seconds.
const (
	orphanAge     = 4 * time.Second
	sweepInterval = time.Second
	fullWindow    = 8 * time.Second
	fullThreshold = 3
	admissionWait = 200 * time.Millisecond
)

// A drill is both incidents being played. Its methods belong to one goroutine.
type drill struct {
	dir   string
	out   io.Writer
	began time.Time

	disk     *disk
	archives []archive
	token    string
	server   *server
	janitor  *process
	sampler  *sampler

	events   []event
	held     int      // how many expectations did
	failures []string // the others
}

// prepare makes what the play needs. From its end on the time is counted.
func (d *drill) prepare(ctx context.Context) (err error) {
	fmt.Fprintln(d.out, "making archives of symbols")
	if d.archives, err = makeArchives(d.dir); err != nil {
		return err
	}
	var stored int64
	for _, a := range d.archives {
		stored += a.size
	}
	if d.disk, err = newDisk(filepath.Join(d.dir, "disk"), stored); err != nil {
		return err
	}
	fmt.Fprintln(d.out, d.disk.about)
	if err := os.Mkdir(filepath.Join(d.dir, "data"), 0o700); err != nil {
		return err
	}
	if d.token, err = d.makeToken(ctx); err != nil {
		return err
	}
	if d.server, err = d.startServer(ctx); err != nil {
		return err
	}
	if d.janitor, err = d.startJanitor(); err != nil {
		return err
	}
	d.began = time.Now()
	d.sampler = startSampler(ctx, d.disk, d.server.url)
	return nil
}

// play plays both incidents. An error says that it could not go on; broken promises are in the verdict.
func (d *drill) play(ctx context.Context) error {
	fmt.Fprintln(d.out, "\nA1: the server is killed in the middle of uploads")
	if err := d.killed(ctx); err != nil {
		return err
	}
	fmt.Fprintln(d.out, "\nA2: the disk fills up with what is not ours")
	return d.full(ctx)
}

// close takes everything down, in the opposite order.
func (d *drill) close() error {
	if d.sampler != nil {
		d.sampler.stop()
	}
	if d.janitor != nil {
		d.janitor.stop()
	}
	if d.server != nil {
		d.server.stop()
	}
	if d.disk != nil {
		return d.disk.close()
	}
	return nil
}

func (d *drill) recording() recording {
	return recording{Title: d.disk.title, Capacity: d.disk.capacity, Samples: d.sampler.stop(), Events: d.events}
}

// verdict sums up the expectations. broken is why the play could not go on, or nil.
func (d *drill) verdict(broken error) error {
	if len(d.failures) == 0 && broken != nil {
		return broken
	}
	if len(d.failures) == 0 {
		fmt.Fprintf(d.out, "all %d expectations held\n", d.held)
		return nil
	}
	var all error
	for _, f := range d.failures {
		all = errors.Join(all, errors.New(f))
	}
	all = fmt.Errorf("%d of %d expectations did not hold (-keep keeps the logs):\n%w", len(d.failures), d.held+len(d.failures), all)
	return errors.Join(broken, all)
}

// say tells one step.
func (d *drill) say(format string, args ...any) {
	fmt.Fprintf(d.out, "%6.1f s     %s\n", time.Since(d.began).Seconds(), fmt.Sprintf(format, args...))
}

// mark tells one step that the plot shows, too, by a letter.
func (d *drill) mark(format string, args ...any) {
	e := event{At: time.Since(d.began), Text: fmt.Sprintf(format, args...)}
	fmt.Fprintf(d.out, "%6.1f s  %c  %s\n", e.At.Seconds(), letter(len(d.events)), e.Text)
	d.events = append(d.events, e)
}

// expect tells what should be so, and whether it is.
func (d *drill) expect(holds bool, format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if holds {
		d.held++
		d.say("   ok: %s", text)
		return
	}
	d.failures = append(d.failures, text)
	d.say("   FAILED: %s", text)
}

// wait lets some time pass.
func wait(ctx context.Context, pause time.Duration) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(pause):
		return nil
	}
}

// until waits for a condition, up to a limit. Whether it holds is for the caller to expect; the error is that of ctx.
func until(ctx context.Context, limit time.Duration, holds func() bool) (bool, error) {
	for end := time.Now().Add(limit); ; {
		if holds() {
			return true, nil
		}
		if time.Now().After(end) {
			return false, nil
		}
		if err := wait(ctx, pollInterval); err != nil {
			return false, err
		}
	}
}
