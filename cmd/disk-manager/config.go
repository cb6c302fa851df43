package main

import (
	"errors"
	"fmt"
	"net"
	"time"

	"tecken-upload/internal/config"
)

// cli is the command line.
type cli struct {
	settings

	Run   struct{} `cmd:"" default:"1" help:"Sweep again and again, until a signal. The default."`
	Sweep struct {
		DryRun bool `name:"dry-run" xor:"how" help:"Remove nothing, only say what would go."`
		JSON   bool `name:"json" xor:"how" hidden:"" help:"Tell the loop, on standard output."`
	} `cmd:"" help:"Sweep once."`
}

// settings is everything the disk manager can be told.
type settings struct {
	config.Process
	config.Spool

	// OrphanAge is how old an orphan must be to go: now less the newest change of anything in it. 0s means at once.
	OrphanAge time.Duration `name:"tecken-orphan-age" default:"15m" help:"How old an orphan must be to go. 0s: at once."`

	// SweepInterval is how long after the end of a sweep the next begins.
	SweepInterval time.Duration `name:"tecken-sweep-interval" default:"1m" help:"From the end of a sweep to the next."`

	// SweepTimeout is how long a sweep may take; what it did not reach is left to the next.
	SweepTimeout time.Duration `name:"tecken-sweep-timeout" default:"4m" help:"How long a sweep may take."`

	// MetricsListen is where Prometheus finds /metrics of "disk-manager run". Where it can't be bound, that is tried
	// again; nothing else waits for it.
	MetricsListen string `name:"tecken-janitor-metrics-listen" default:"127.0.0.1:8002" help:"Address to serve /metrics at."`
}

// Validate reports every fault of the settings, each named by its variable.
func (s *settings) Validate() error {
	faults := []error{s.Process.Validate(), s.Spool.Validate()}
	if s.OrphanAge < 0 {
		faults = append(faults, fmt.Errorf("TECKEN_ORPHAN_AGE: is %s, must be 0s or more", s.OrphanAge))
	}
	if s.SweepInterval <= 0 {
		faults = append(faults, fmt.Errorf("TECKEN_SWEEP_INTERVAL: is %s, must be more than 0s", s.SweepInterval))
	}
	if s.SweepTimeout <= 0 {
		faults = append(faults, fmt.Errorf("TECKEN_SWEEP_TIMEOUT: is %s, must be more than 0s", s.SweepTimeout))
	}
	if _, port, err := net.SplitHostPort(s.MetricsListen); err != nil || port == "" {
		faults = append(faults, fmt.Errorf("TECKEN_JANITOR_METRICS_LISTEN: is %q, must be <host>:<port>", s.MetricsListen))
	}
	return errors.Join(faults...)
}
