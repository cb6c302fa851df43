// Benchmark repeats the measurements of docs/performance.md with the real server: a plain static build of
// it, versitygw as S3, SQLite, everything on this machine's loopback. It prints one Markdown table.
//
//	scripts/bench                 all rows
//	scripts/bench cpu readback    these rows
//	scripts/bench -size 50MiB     all rows, with smaller archives: to try it out, the targets do not hold
//
// Rows: cpu, spool, memory8, memory1, headers, decoders, readback, leak, lookups. Whatever a row uploads is read back from storage and
// compared with what went in; the row "readback" adds uploads of every format to that.
//
// CPU is counted in seconds of the server's process, not in elapsed time, but on a busy machine these grow
// too: caches are shared. Each figure comes with its spread.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"tecken-upload/internal/config"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "benchmark:", err)
		stop()
		os.Exit(1)
	}
}

// A result is one line of the table.
type result struct {
	measure, target, measured string
	missed                    bool // the target was not reached
}

// rows are the measurements, in the order they run in.
var rows = []struct {
	name    string
	measure func(ctx context.Context, l *lab) ([]result, error)
}{
	{"spool", measureSpool},
	{"cpu", measureCPU},
	{"memory8", measureMemory8},
	{"memory1", measureMemory1},
	{"headers", measureHeaders},
	{"decoders", measureDecoders},
	{"leak", measureLeak},
	{"lookups", measureLookups},
	{"readback", measureReadback}, // the last: it tells of all the others
}

// options are the flags.
type options struct {
	size     config.Size
	pairs    int
	uploads  int
	server   string // program; "" until it is built
	archives string // directory; "" until one is made
	rows     []string
}

func parse(args []string, stderr io.Writer) (options, error) {
	o := options{size: 500 * config.MiB}
	flags := flag.NewFlagSet("benchmark", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Func("size", "of an archive (default 500MiB); memory1 uploads one four times as large",
		func(s string) error { return o.size.UnmarshalText([]byte(s)) })
	flags.IntVar(&o.pairs, "pairs", 5, "how often the server's CPU seconds are compared with the reference's")
	flags.IntVar(&o.uploads, "uploads", 200, "of the row leak")
	flags.StringVar(&o.server, "server", "", "measure this program, instead of building the server")
	flags.StringVar(&o.archives, "archives", "", "keep the archives in this directory, and use what is there")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	known := make([]string, 0, len(rows))
	for _, r := range rows {
		known = append(known, r.name)
	}
	for _, name := range flags.Args() {
		if !slices.Contains(known, name) {
			return o, fmt.Errorf("there is no row %q, only %s", name, strings.Join(known, ", "))
		}
	}
	if o.size < config.MiB || o.pairs < 1 || o.uploads < 1 {
		return o, errors.New("at least 1MiB, one pair and one upload")
	}
	o.rows = flags.Args()
	return o, nil
}

// run measures the rows that args name, and prints the table to stdout, its progress to stderr.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) (err error) {
	o, err := parse(args, stderr)
	if errors.Is(err, flag.ErrHelp) {
		return nil
	}
	if err != nil {
		return err
	}
	l, err := newLab(ctx, o, stderr)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.close()) }()
	var table []result
	var failures []error // what is measured is worth printing all the same
	for _, r := range rows {
		if len(o.rows) > 0 && !slices.Contains(o.rows, r.name) {
			continue
		}
		l.say("%s", r.name)
		lines, err := r.measure(ctx, l)
		table = append(table, lines...)
		if err != nil {
			failures = append(failures, fmt.Errorf("%s: %w", r.name, err))
		}
		if ctx.Err() != nil {
			break
		}
	}
	// Nothing to compare is no equality.
	if l.compared.uploads > 0 && !slices.ContainsFunc(table, func(r result) bool { return strings.HasPrefix(r.measure, readbackName) }) {
		table = append(table, l.comparedResult())
	}
	return errors.Join(printTable(stdout, table), errors.Join(failures...))
}

// printTable prints the results, and fails where one missed its target.
func printTable(w io.Writer, table []result) error {
	fmt.Fprint(w, "| measure | target | measured |\n|---|---|---|\n")
	var missed []string
	for _, r := range table {
		fmt.Fprintf(w, "| %s | %s | %s |\n", r.measure, r.target, r.measured)
		if r.missed {
			missed = append(missed, r.measure)
		}
	}
	if len(missed) > 0 {
		return fmt.Errorf("target missed: %s", strings.Join(missed, "; "))
	}
	return nil
}
