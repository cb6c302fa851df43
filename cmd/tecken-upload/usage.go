package main

import (
	"context"
	"time"

	"tecken-upload/internal/probe"
)

// Heartbeats and scrapes can't wait for a hung disk.
const (
	// lookTimeout bounds a look at the spool. A scrape takes at most three, and Prometheus waits for 10 s.
	lookTimeout = 2 * time.Second
	// lookFresh is how long a look is reused: long enough for the rest of a scrape on a slow disk.
	lookFresh = 250 * time.Millisecond
	// spoolInterval is the time between looks at the spool without a request: shorter than that between sweeps, which do nothing while the
	// spool's mark is missing.
	spoolInterval = 5 * time.Second
)

// newLook makes a probe that looks at the spool.
func newLook[T any](look func(ctx context.Context) (T, error)) *probe.Probe[T] {
	return probe.New(look, probe.Options{Timeout: lookTimeout, Fresh: lookFresh})
}

// watchSpool looks at the spool until ctx ends. That restores its mark.
func (in *instance) watchSpool(ctx context.Context) error {
	tick := time.NewTicker(spoolInterval)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			_, _ = in.usage.Ask(ctx) // the heartbeat reports the error
		case <-ctx.Done():
			return nil
		}
	}
}
