package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"slices"
	"strings"
	"time"

	"tecken-upload/internal/janitor"
	"tecken-upload/internal/spool"
	"tecken-upload/internal/telemetry"
)

const (
	// checkInEvery is Sentry's expected interval of check-ins, unless sweeps are rarer: an alarm may be minutes late, and one long sweep
	// must cause none.
	checkInEvery = 10 * time.Minute
	// flushTimeout bounds the sending of the last events to Sentry.
	flushTimeout = 2 * time.Second
	// maxSlug is the longest name of a monitor in Sentry.
	maxSlug = 50
)

// A watch reports sweeps to the log, Prometheus and Sentry. Its methods are safe for concurrent use.
type watch struct {
	log      *slog.Logger
	reporter *telemetry.Reporter
	metrics  *metrics
	monitor  string        // Sentry's name for this instance's sweeps
	every    time.Duration // Sentry's expected interval

	reports telemetry.Throttle // of failures
}

func newWatch(s *settings, lines *telemetry.Lines) (*watch, error) {
	log, err := telemetry.NewLogger(lines, s.LogLevel, s.Instance)
	if err != nil {
		return nil, fmt.Errorf("TECKEN_LOG_LEVEL: %w", err)
	}
	reporter, err := telemetry.NewReporter(telemetry.ReporterOptions{
		DSN: s.SentryDSN, Environment: s.SentryEnvironment, Release: s.SentryRelease, Instance: s.Instance,
	})
	if err != nil {
		return nil, fmt.Errorf("SENTRY_DSN: %w", err)
	}
	return &watch{
		log: log, reporter: reporter, metrics: newMetrics(lines),
		monitor: slug("disk-manager-" + s.Instance),
		every:   max(checkInEvery, s.SweepInterval+s.SweepTimeout),
	}, nil
}

// slug turns a name into one that Sentry takes for a monitor.
func slug(name string) string {
	name = regexp.MustCompile(`[^a-z0-9_-]+`).ReplaceAllString(strings.ToLower(name), "-")
	return name[:min(len(name), maxSlug)]
}

func (w *watch) close() {
	if !w.reporter.Close(flushTimeout) {
		w.log.Warn("not everything reached Sentry")
	}
}

// swept reports a sweep, and the number of children that can't be killed.
func (w *watch) swept(ctx context.Context, o outcome, stuck int) {
	w.logSweep(ctx, o)
	w.metrics.swept(o, stuck)
	if o.result == resultInterrupted {
		return
	}
	w.reporter.CheckIn(telemetry.CheckIn{Monitor: w.monitor, OK: o.result == resultOK, Elapsed: o.elapsed, Every: w.every})
	w.report(o)
}

// report reports a sweep's failures to Sentry, each kind once an hour.
func (w *watch) report(o outcome) {
	facts := o.facts()
	switch {
	case o.kind == "" || !w.reports.Due(o.kind):
	case o.stack != nil:
		w.reporter.Panic(o.kind, o.err, o.stack, facts...)
	default:
		w.reporter.Error(o.kind, o.err, facts...)
	}
	for _, f := range o.report.Failures {
		if w.reports.Due(f.Kind) {
			w.reporter.Error(f.Kind, errors.New(f.Text), append(facts, slog.Int("count", f.Count))...)
		}
	}
}

// logSweep logs the one line of a sweep.
func (w *watch) logSweep(ctx context.Context, o outcome) {
	facts := o.facts()
	var reasons []error
	if o.err != nil {
		reasons = append(reasons, o.err)
	}
	for _, f := range o.report.Failures {
		reasons = append(reasons, fmt.Errorf("%s (%d): %s", f.Kind, f.Count, f.Text))
	}
	if err := errors.Join(reasons...); err != nil {
		facts = append(facts, slog.String("err", err.Error()))
	}
	if o.stack != nil {
		facts = append(facts, slog.String("stack", string(o.stack)))
	}
	w.log.LogAttrs(ctx, o.level(), "sweep", facts...)
}

// level returns the log level for a sweep's end. The spool may not have been made yet, and a signal is no fault.
func (o *outcome) level() slog.Level {
	switch {
	case o.result == resultOK:
		return slog.LevelInfo
	case o.result == resultInterrupted, o.kind == "sweep interrupted", o.kind == "spool missing":
		return slog.LevelWarn
	}
	return slog.LevelError
}

// facts are a sweep's facts, except its error.
func (o *outcome) facts() []slog.Attr {
	r := &o.report
	reclaimed, workspaces, freed := "reclaimed", "workspaces", "bytes"
	if o.dry {
		reclaimed, workspaces, freed = "due", "due_workspaces", "due_bytes"
	}
	facts := []slog.Attr{
		slog.String("outcome", string(o.result)),
		slog.Int("found", r.Found), slog.Int(reclaimed, r.Reclaimed), slog.Int(workspaces, r.Workspaces),
		slog.Int64(freed, r.Freed), slog.Int("failed", r.Failed), slog.Bool("low", r.Low),
		slog.Int("live", r.Live), slog.Duration("oldest_live", r.OldestLive), slog.Duration("oldest_left", r.OldestLeft),
		slog.Duration("elapsed", o.elapsed),
	}
	if o.status != "" && o.result != resultOK {
		facts = append(facts, slog.String("exit", o.status))
	}
	if o.stderr != "" {
		facts = append(facts, slog.String("stderr", o.stderr))
	}
	return slices.Clip(facts)
}

// autopsy reports a removed orphan. Sentry gets only workspaces, and entries with a workspace's manifest.
func (w *watch) autopsy(ctx context.Context, a *janitor.Autopsy, report bool) {
	w.logAutopsy(ctx, a, false)
	if report && (a.Workspace || a.Manifest != nil) {
		w.reporter.Warning("orphan reclaimed", errOwnerDied, autopsyFacts(a, "freed")...)
	}
}

var errOwnerDied = errors.New("the server that held it ended without removing it")

// logAutopsy logs a dead server's workspace above other remains.
func (w *watch) logAutopsy(ctx context.Context, a *janitor.Autopsy, dry bool) {
	msg, bytes := "orphan reclaimed", "freed"
	if dry {
		msg, bytes = "orphan due", "bytes"
	}
	level := slog.LevelInfo
	if a.Workspace {
		level = slog.LevelWarn
	}
	w.log.LogAttrs(ctx, level, msg, autopsyFacts(a, bytes)...)
}

func autopsyFacts(a *janitor.Autopsy, bytes string) []slog.Attr {
	facts := []slog.Attr{
		slog.String("name", a.Name), slog.Bool("workspace", a.Workspace),
		slog.Duration("age", a.Age), slog.Int64(bytes, a.Bytes),
	}
	if a.Manifest == nil {
		return facts
	}
	return append(facts, manifestFacts(a.Manifest)...)
}

// manifestFacts are what was being uploaded, and how far it came.
func manifestFacts(m *spool.Manifest) []slog.Attr {
	kinds := make([]slog.Attr, 0, len(m.Kinds))
	for kind, n := range m.Kinds {
		kinds = append(kinds, slog.Int(kind, n))
	}
	facts := []slog.Attr{
		slog.Int64("upload", m.Upload), slog.Int64("tenant", m.Tenant), slog.String("label", m.TokenLabel), slog.String("user", m.User),
		slog.String("server", m.Instance), slog.Int("pid", m.PID), slog.Time("started", m.Started), slog.Time("updated", m.Updated),
		slog.String("phase", m.Phase), slog.Int64("received", m.Received),
		slog.Int("members", m.Members), slog.Int("published", m.Published),
		{Key: "kinds", Value: slog.GroupValue(kinds...)},
	}
	if m.Declared >= 0 {
		facts = append(facts, slog.Int64("declared", m.Declared))
	}
	return facts
}
