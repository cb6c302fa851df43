// Command disk-manager removes from a spool what a dead server left behind.
//
//	disk-manager [run]               sweep every TECKEN_SWEEP_INTERVAL, until a signal ends it
//	disk-manager sweep [--dry-run]   sweep once
//
// It needs nothing but the spool's file system, and outlives whatever is wrong with that: the next sweep
// is always tried. Each sweep is one line on standard error, and each orphan that goes is another. It exits with 0; a
// single sweep with 1 where something could not be swept; and with 2 where it can't read its settings.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"tecken-upload/internal/config"
)

const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.LookupEnv, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run is the whole program: it returns the exit status once ctx or its work has ended.
func run(ctx context.Context, args []string, lookup func(string) (string, bool), stdout, stderr io.Writer) int {
	var c cli
	command, err := config.Parse(&c, "disk-manager", args, lookup, stdout, stderr)
	switch {
	case errors.Is(err, config.ErrHelp):
		return exitOK
	case err != nil:
		fmt.Fprintf(stderr, "disk-manager: %v\n", err)
		return exitUsage
	}
	m := newManager(&c.settings, newLogger(&c.settings, stderr), c.Sweep.DryRun)
	if command.Command() == "sweep" {
		return m.once(ctx)
	}
	m.loop(ctx)
	return exitOK
}
