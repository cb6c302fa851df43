package main

import (
	"context"
	"time"

	"tecken-upload/internal/probe"
	"tecken-upload/internal/spool"
)

// Heartbeats and scrapes of the metrics can't wait for a disk that hangs.
const (
	// lookTimeout bounds a look at the spool. A scrape takes three at most, and Prometheus waits for 10 s.
	lookTimeout = 2 * time.Second
	// lookFresh is for how long a look serves whoever comes next: long enough for the rest of a scrape, however slow the disk is.
	lookFresh = 250 * time.Millisecond
	// spoolInterval is how often the spool is looked at without a request: more often than there are sweeps, which do nothing while the
	// spool's mark is missing.
	spoolInterval = 5 * time.Second
)

// newLook makes what looks at the spool, once at a time.
func newLook[T any](look func(ctx context.Context) (T, error)) *probe.Probe[T] {
	return probe.New(look, probe.Options{Timeout: lookTimeout, Fresh: lookFresh})
}

// watchSpool looks at the spool, until ctx ends. That puts its mark back where something took it.
func (in *instance) watchSpool(ctx context.Context) error {
	tick := time.NewTicker(spoolInterval)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			_, _ = in.usage.Ask(ctx) // what is wrong with it, the heartbeat tells
		case <-ctx.Done():
			return nil
		}
	}
}

// oldestOrphan returns the age of the oldest workspace that a dead server left behind; 0 where there is none. A janitor that
// works keeps it below TECKEN_ORPHAN_AGE and a few sweeps.
func (in *instance) oldestOrphan(ctx context.Context) (oldest time.Duration, err error) {
	// Read-only: a look at the metrics changes nothing on the disk.
	view, err := spool.Attach(in.config.SpoolDir, spool.Options{ReadOnly: true})
	if err != nil {
		return 0, err
	}
	defer view.Close()
	for o, err := range view.Orphans(ctx) {
		if err != nil && o.Name == "" {
			return 0, err
		}
		if o.Workspace {
			oldest = max(oldest, o.Age)
		}
	}
	return oldest, nil
}
