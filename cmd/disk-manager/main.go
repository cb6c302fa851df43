// Command disk-manager removes from a spool what a dead server left behind.
//
//	disk-manager [run]               sweep every TECKEN_SWEEP_INTERVAL, until a signal ends it
//	disk-manager sweep [--dry-run]   sweep once
//
// It needs only the spool's file system, and survives the failures of that and of its own sweeps: each is a process of its own with a time
// limit, and the next is always tried. Each sweep logs one line on standard error, and so does each removed workspace. Failures go to
// Sentry too, each kind once an hour, and so do check-ins, so that Sentry notices silence. "run" serves metrics to Prometheus.
//
// It exits with 0; a single sweep with 1 if something could not be swept; and with 2 if its settings are faulty.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"tecken-upload/internal/background"
	"tecken-upload/internal/config"
	"tecken-upload/internal/telemetry"
)

const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
)

func main() {
	telemetry.SurviveReaders() // a sweep survives the reader of its log
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.LookupEnv, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run is the whole program: it returns the exit status once ctx or its work has ended.
func run(ctx context.Context, args []string, lookup func(string) (string, bool), stdout, stderr io.Writer) int {
	lines := telemetry.NewLines(stderr)
	defer lines.Close(flushTimeout)
	var c cli
	command, err := config.Parse(&c, "disk-manager", args, lookup, stdout, lines)
	switch {
	case errors.Is(err, config.ErrHelp):
		return exitOK
	case err != nil:
		fmt.Fprintf(lines, "disk-manager: %v\n", err)
		return exitUsage
	}
	if c.Sweep.JSON {
		return sweepForLoop(ctx, &c.settings, stdout)
	}
	w, err := newWatch(&c.settings, lines)
	if err != nil {
		fmt.Fprintf(lines, "disk-manager: %v\n", err)
		return exitUsage
	}
	defer w.close()
	telemetry.WatchPanics(w.log, w.reporter, w.metrics.Metrics)
	if command.Command() == "sweep" {
		return sweepForPeople(ctx, &c.settings, c.Sweep.DryRun, w)
	}
	return sweepForEver(ctx, &c.settings, w)
}

// sweepForEver sweeps until ctx ends.
func sweepForEver(ctx context.Context, s *settings, w *watch) int {
	ctx, stop := context.WithCancel(ctx)
	metrics, _ := background.NewGroup(ctx)
	metrics.Go(func() error {
		return background.Loop(ctx, "metrics", func(ctx context.Context) error { w.serve(ctx, s.MetricsListen); return nil })
	})
	m := &manager{settings: s, watch: w}
	m.sweep = m.inChild
	m.loop(ctx)
	stop()
	_ = metrics.Wait() // it only ends
	return exitOK
}
