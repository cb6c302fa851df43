// Diskdrill plays incidents A1 and A2 with the real programs, checks that they are survived, and plots what the
// disk went through meanwhile. scripts/drill builds the programs and runs it:
//
//	diskdrill -dir DIR [-svg FILE] [-keep]
//
//	DIR/bin        tecken-upload and disk-manager, which must be there
//	DIR/disk       the spool's file system, where one can be mounted; the spool is in it
//	DIR/data       symbols and records
//	DIR/*.log      what the programs said
//
// A1: the server is killed in the middle of three uploads. A2: the disk fills up with what is not ours.
//
// DIR is removed in the end, however that comes, but for SIGKILL; its programs end even then. Where no file
// system can be mounted, the spool is a plain directory, and room is limited by the server's headroom: what
// else is written to that disk meanwhile can then spoil the figures.
//
// The exit status is 0 only if all went as promised.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

const (
	// playLimit bounds the play, from when both programs run. It is reached only when something is wrong.
	playLimit = 60 * time.Second
	// patience bounds every wait for what should be there in a moment.
	patience = 15 * time.Second
	// pollInterval is how often a condition is looked at.
	pollInterval = 20 * time.Millisecond
	// sampleInterval is how often the sampler looks, and answerLimit how long it waits for a heartbeat.
	sampleInterval = 100 * time.Millisecond
	answerLimit    = 500 * time.Millisecond
	// termPatience is how long a program may take to end before it is killed.
	termPatience = 3 * time.Second
	// breath is what a reader gets between two steps, and the plot to show them apart.
	breath = time.Second
)

var errLimit = errors.New("the drill took too long")

// options are what the command line says.
type options struct {
	dir, svg string
	keep     bool
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "drill:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) (err error) {
	var opts options
	flags := flag.NewFlagSet("drill", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.StringVar(&opts.dir, "dir", "", "the drill's own `directory`, set by scripts/drill")
	flags.StringVar(&opts.svg, "svg", "", "draw the plot into this `file`, too")
	flags.BoolVar(&opts.keep, "keep", false, "keep the directory with logs, symbols and records")
	parseErr := flags.Parse(args)
	// What is removed in the end must not be somebody's home.
	if !strings.HasPrefix(filepath.Base(opts.dir), "tecken-drill-") {
		return errors.Join(parseErr, errors.New("run scripts/drill"))
	}
	defer func() {
		if !opts.keep || parseErr != nil {
			err = errors.Join(err, os.RemoveAll(opts.dir))
		}
	}()
	if parseErr != nil {
		return parseErr
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("what is %q?", flags.Args())
	}
	err = perform(ctx, opts, stdout)
	if errors.Is(ctx.Err(), context.Canceled) {
		return errors.New("interrupted")
	}
	return err
}

// perform plays both incidents, shows the plot, and takes everything down but the directory.
func perform(ctx context.Context, opts options, out io.Writer) (err error) {
	d := &drill{dir: opts.dir, out: out, began: time.Now()}
	defer func() {
		err = errors.Join(err, d.close())
		if opts.keep {
			fmt.Fprintf(out, "\nkept: %s\n", opts.dir)
		}
	}()
	if err := d.prepare(ctx); err != nil {
		return err
	}
	limited, cancel := context.WithTimeoutCause(ctx, playLimit, errLimit)
	defer cancel()
	played := d.play(limited)
	if errors.Is(ctx.Err(), context.Canceled) {
		return played
	}
	rec := d.recording()
	fmt.Fprintf(out, "\n%s\n", rec.text())
	if opts.svg != "" {
		if err := os.WriteFile(opts.svg, []byte(rec.svg()), 0o644); err != nil {
			return errors.Join(played, err)
		}
	}
	return d.verdict(played)
}
