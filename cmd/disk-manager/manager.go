package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"runtime/debug"
	"time"

	"tecken-upload/internal/janitor"
	"tecken-upload/internal/spool"
)

var errTimeout = errors.New("the sweep took longer than TECKEN_SWEEP_TIMEOUT")

// A manager sweeps one spool.
type manager struct {
	settings *settings
	log      *slog.Logger
	dryRun   bool
	sweep    func(context.Context) (janitor.Report, error)
}

func newManager(s *settings, log *slog.Logger, dryRun bool) *manager {
	if dryRun {
		log = log.With("dry_run", true)
	}
	m := &manager{settings: s, log: log, dryRun: dryRun}
	m.sweep = m.sweepSpool
	return m
}

// loop sweeps until ctx ends, whatever becomes of a sweep.
func (m *manager) loop(ctx context.Context) {
	m.log.Info("disk manager started", "spool", m.settings.SpoolDir,
		"orphan_age", m.settings.OrphanAge, "interval", m.settings.SweepInterval)
	for ctx.Err() == nil {
		m.once(ctx)
		select {
		case <-ctx.Done():
		case <-time.After(m.settings.SweepInterval):
		}
	}
	m.log.Info("disk manager stopped")
}

// once sweeps once, tells of it, and returns the exit status.
func (m *manager) once(ctx context.Context) int {
	report, err := m.guarded(ctx)
	m.tell(ctx, report, err)
	if err != nil || report.Failed > 0 {
		return exitFailed
	}
	return exitOK
}

// guarded sweeps within the time limit, and survives it.
func (m *manager) guarded(ctx context.Context) (report janitor.Report, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, m.settings.SweepTimeout, errTimeout)
	defer cancel()
	defer func() {
		if cause := recover(); cause != nil {
			err = &panicError{cause: cause, stack: debug.Stack()}
		}
	}()
	return m.sweep(ctx)
}

// sweepSpool sweeps the spool, which may be missing at one time and be another directory at the next.
func (m *manager) sweepSpool(ctx context.Context) (janitor.Report, error) {
	s, err := spool.Attach(m.settings.SpoolDir, spool.Options{ReadOnly: m.dryRun, Logger: m.log})
	if err != nil {
		return janitor.Report{}, err
	}
	report, err := janitor.Sweep(ctx, s, janitor.Policy{OrphanAge: m.settings.OrphanAge}, m.log)
	return report, errors.Join(err, s.Close())
}

// tell logs the one line of a sweep.
func (m *manager) tell(ctx context.Context, r janitor.Report, err error) {
	attrs := []any{"found", r.Found, "reclaimed", r.Reclaimed, "bytes", r.Freed, "failed", r.Failed, "elapsed", r.Duration}
	if reasons := errors.Join(append([]error{err}, r.Errors...)...); reasons != nil {
		attrs = append(attrs, "err", reasons)
	}
	if p, ok := errors.AsType[*panicError](err); ok {
		attrs = append(attrs, "stack", string(p.stack))
	}
	m.log.Log(ctx, level(ctx, r, err), "sweep", attrs...)
}

// level says how bad a sweep's end is. A spool may not have been made yet, and a signal is nobody's fault.
func level(ctx context.Context, r janitor.Report, err error) slog.Level {
	switch {
	case err != nil && ctx.Err() != nil, errors.Is(err, fs.ErrNotExist):
		return slog.LevelWarn
	case err != nil, r.Failed > 0:
		return slog.LevelError
	}
	return slog.LevelInfo
}

// A panicError is what a sweep panicked with.
type panicError struct {
	cause any
	stack []byte
}

// Error returns what was panicked with.
func (e *panicError) Error() string { return fmt.Sprintf("panic: %v", e.cause) }
