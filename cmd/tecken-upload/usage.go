package main

import (
	"context"
	"errors"
	"time"

	"tecken-upload/internal/spool"
)

// usageTimeout bounds measuring the spool for a heartbeat or a scrape of the metrics.
const usageTimeout = 2 * time.Second

// errMeasuring is returned where the spool's disk does not answer.
var errMeasuring = errors.New("measuring the spool takes too long")

// A usageMeter measures the spool for those who can't wait for a disk that hangs. One measurement is under way at a time,
// so that such a disk does not cost a thread for each who asks.
type usageMeter struct {
	usage func(ctx context.Context) (spool.Usage, error)
	turn  chan struct{} // holds an element while a measurement is under way
}

func newUsageMeter(usage func(ctx context.Context) (spool.Usage, error)) *usageMeter {
	return &usageMeter{usage: usage, turn: make(chan struct{}, 1)}
}

// measure measures the spool, or fails within usageTimeout.
func (m *usageMeter) measure(ctx context.Context) (spool.Usage, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, usageTimeout, errMeasuring)
	defer cancel()
	select {
	case m.turn <- struct{}{}:
	case <-ctx.Done():
		return spool.Usage{}, context.Cause(ctx)
	}
	type result struct {
		usage spool.Usage
		err   error
	}
	results := make(chan result, 1)
	go func() {
		defer func() { <-m.turn }()
		usage, err := m.usage(ctx)
		results <- result{usage, err}
	}()
	select {
	case r := <-results:
		return r.usage, r.err
	case <-ctx.Done():
		return spool.Usage{}, context.Cause(ctx)
	}
}
