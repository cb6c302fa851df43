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

	Run   struct{} `cmd:"" default:"1" help:"Sweep repeatedly until a signal (the default)."`
	Sweep struct {
		DryRun bool `name:"dry-run" xor:"how" help:"Remove nothing; print what is due."`
		JSON   bool `name:"json" xor:"how" hidden:"" help:"Report to the loop on standard output."`
	} `cmd:"" help:"Sweep once."`
}

// settings are the disk manager's settings.
type settings struct {
	config.Process
	config.Spool

	// OrphanAge is the least age of a removed orphan: now less the newest change of anything in it. 0s means at once.
	OrphanAge time.Duration `name:"tecken-orphan-age" default:"15m" help:"Least age of removed orphans. 0s: at once."`

	// SweepInterval is the time from the end of a sweep to the next.
	SweepInterval time.Duration `name:"tecken-sweep-interval" default:"1m" help:"Time from the end of a sweep to the next."`

	// SweepTimeout bounds a sweep; the next one continues.
	SweepTimeout time.Duration `name:"tecken-sweep-timeout" default:"4m" help:"Longest time of a sweep."`

	// MetricsListen is the address of /metrics of "disk-manager run". If it can't be bound, that is retried; sweeps go on.
	MetricsListen string `name:"tecken-janitor-metrics-listen" default:"127.0.0.1:8002" help:"Address for /metrics."`
}

// Validate reports all faults of the settings, each with its variable's name.
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
