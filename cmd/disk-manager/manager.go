package main

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"tecken-upload/internal/background"
	"tecken-upload/internal/janitor"
)

// maxGivenUp bounds the children that can't be killed. Each may still hold the disk, and another would hang too.
const maxGivenUp = 2

// An outcome is the result of a sweep.
type outcome struct {
	result result
	report janitor.Report // as far as it is known
	kind   string         // one of a few fixed texts; "" without a fault
	dry    bool           // a dry run: the report is what is due
	err    error          // nil unless more went wrong than the report's failures
	status string         // of the child: "exit status 1", "signal: killed"
	stderr string         // of the child
	stack  []byte         // of a panic
	// elapsed is the time until it ended or was given up.
	elapsed time.Duration
	// givenUp is not nil for a child that can't be killed; it is closed once it has ended after all.
	givenUp <-chan struct{}
}

// A result is how a sweep ended, in a word.
type result string

const (
	resultOK          result = "ok"          // it ended, and left nothing that should have gone
	resultIncomplete  result = "incomplete"  // it ended, and something could not be examined or removed
	resultFailed      result = "failed"      // it ended early: there is no spool, or it can't be read
	resultDied        result = "died"        // it panicked, crashed, was killed or could not be started
	resultTimedOut    result = "timed_out"   // it did not end in time
	resultGivenUp     result = "given_up"    // it can't be killed
	resultSuspended   result = "suspended"   // it was not begun: too many can't be killed
	resultInterrupted result = "interrupted" // the disk manager was told to stop
)

func results() []result {
	return []result{
		resultOK, resultIncomplete, resultFailed, resultDied, resultTimedOut, resultGivenUp, resultSuspended, resultInterrupted,
	}
}

var errSuspended = errors.New("no sweep was begun: earlier ones hang in the kernel and can't be killed; look at the disk")

// A manager sweeps one spool repeatedly.
type manager struct {
	settings *settings
	watch    *watch
	sweep    func(context.Context) outcome
	stuck    atomic.Int32 // children that can't be killed
}

// loop sweeps until ctx ends, whatever happens to a sweep.
func (m *manager) loop(ctx context.Context) {
	m.watch.log.Info("disk manager started", "spool", m.settings.SpoolDir,
		"orphan_age", m.settings.OrphanAge, "interval", m.settings.SweepInterval)
	for ctx.Err() == nil {
		background.Guard("report of a sweep", func() { m.turn(ctx) })
		select {
		case <-ctx.Done():
		case <-time.After(m.settings.SweepInterval):
		}
	}
	m.watch.log.Info("disk manager stopped")
}

// turn sweeps once, unless suspended, and reports it.
func (m *manager) turn(ctx context.Context) {
	o := outcome{result: resultSuspended, kind: "sweeps suspended", err: errSuspended}
	if m.stuck.Load() < maxGivenUp {
		o = m.guarded(ctx)
	}
	if o.givenUp != nil {
		m.stuck.Add(1)
		background.Go("stuck sweep", func() {
			<-o.givenUp
			m.stuck.Add(-1)
		})
	}
	if o.result != resultOK && o.result != resultIncomplete && ctx.Err() != nil {
		// Whatever it returned, we ended it.
		o.result, o.kind = resultInterrupted, ""
	}
	m.watch.swept(ctx, o, int(m.stuck.Load()))
}

// guarded sweeps, and survives a panic of its own.
func (m *manager) guarded(ctx context.Context) (o outcome) {
	began := time.Now()
	err := background.Try(func() error { o = m.sweep(ctx); return nil })
	if p, ok := errors.AsType[*background.PanicError](err); ok {
		o = outcome{result: resultDied, kind: "disk manager panicked", err: err, stack: p.Stack}
	}
	o.elapsed = time.Since(began)
	return o
}
