package main

import (
	"context"
	"math"
	"time"

	"tecken-upload/internal/config"
	"tecken-upload/internal/record"
)

const (
	// expireInterval is the time between an instance's passes through expired records.
	expireInterval = time.Hour
	// inFlightSlack is how much longer than its time-outs an upload may last: it waits for leases and slots, and its end for the database
	// to come back.
	inFlightSlack = 24 * time.Hour
)

// expireRecords removes, until ctx ends, records that are older than their symbols may become.
func (in *instance) expireRecords(ctx context.Context) error {
	c := in.config
	return in.records.RunRetention(ctx, record.Retention{
		Regular:  c.Retention,
		Try:      c.TryRetention,
		InFlight: inFlight(c),
		Interval: expireInterval,
		Fault:    in.fault("records were not expired"),
	})
}

// inFlight returns the longest time of an upload. Time-outs that overflow a Duration mean for ever.
func inFlight(c *config.Server) time.Duration {
	total := inFlightSlack
	for _, d := range []time.Duration{c.ReceiveTimeout, c.UploadTimeout} {
		total += min(d, math.MaxInt64-total)
	}
	return total
}
