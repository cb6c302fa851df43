// Loadtest loads the real server with many clients at once, and checks what it promises under load: the
// program behind scripts/load.
//
//	scripts/load                           300 clients, 3 minutes
//	scripts/load -clients 60 -time 20s     the short form: no archives of hundreds of MB, smaller ones of tens
//
// The clients behave like those in the field: they send all of a body before they read the answer, and retry
// what was refused with 429 or 503; most with a back-off of their own, which gives up after some 15 seconds, some as
// Retry-After says. Some send slowly, some in chunks, some wait for a 100 Continue, some hang up. Several
// tenants share the server, and one has most of the clients. What is sent follows from the seed; when it is, from
// the machine.
//
// Promised are: no error other than truthful refusals, each of which the server counts as one, and none before the wait for room; none at all for a few clients
// that are alone, after the run; nothing that the server logs as an error; every object of every accepted upload is in storage
// and equal, byte by byte, to what was sent, and nothing is there that was not; every accepted upload is recorded
// exactly once, and none as completed that was not; the server opens no more connections to storage than
// its pool has, and others only for those that were lost; soon after the last answer nothing is in use any more. It
// prints one Markdown table, and fails where one of these is broken.
//
// Clients, server and storage share this machine, so that the figures for information tell little of the server alone.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "loadtest:", err)
		stop()
		os.Exit(1)
	}
}

const (
	// longTime is from when on a run is of the long form.
	longTime = time.Minute
	// shortTime is from when on it has archives of tens of MB.
	shortTime = 10 * time.Second
)

// options are the flags.
type options struct {
	clients  int
	time     time.Duration
	seed     uint64
	server   string // program; "" until it is built
	database string // URL of an empty one; "" for SQLite
	settings []string
	slots    int           // storage slots of the server
	wait     time.Duration // for how long it keeps an upload waiting before it refuses it
	rest     time.Duration // within what it is to be idle again
	hangUps  int           // of 100 uploads
	keep     bool

	tenants []*tenant
}

// long reports whether the run is of the long form.
func (o options) long() bool { return o.time >= longTime }

func parse(args []string, stderr io.Writer) (options, error) {
	o := options{tenants: newTenants()}
	flags := flag.NewFlagSet("loadtest", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.IntVar(&o.clients, "clients", 300, "how many upload at once")
	flags.DurationVar(&o.time, "time", 3*time.Minute, "for how long they begin uploads")
	flags.Uint64Var(&o.seed, "seed", 1, "what is sent follows from it")
	flags.StringVar(&o.server, "server", "", "load this program, instead of building the server")
	flags.StringVar(&o.database, "database", "", "keep the records in this `URL`, an empty database, instead of SQLite")
	flags.IntVar(&o.slots, "slots", 16, "TECKEN_STORAGE_SLOTS, which bounds the connections to storage")
	flags.DurationVar(&o.wait, "wait", 10*time.Second, "TECKEN_ADMISSION_WAIT, before which nobody is to be refused")
	flags.DurationVar(&o.rest, "rest", 5*time.Second, "within what the server is to be idle after the last answer")
	flags.IntVar(&o.hangUps, "hang-ups", 10, "of 100 uploads, whose client does not wait for its answer")
	flags.Func("set", "a setting of the server, `TECKEN_NAME=VALUE`; may be repeated", func(s string) error {
		if name, _, ok := strings.Cut(s, "="); !ok || !strings.HasPrefix(name, "TECKEN_") {
			return errors.New("not TECKEN_NAME=VALUE")
		} else if name == "TECKEN_ADMISSION_WAIT" || name == "TECKEN_STORAGE_SLOTS" {
			return errors.New("what is checked needs it: use -wait or -slots")
		}
		o.settings = append(o.settings, s)
		return nil
	})
	flags.BoolVar(&o.keep, "keep", false, "keep the directory with logs, symbols and records, and tell where it is")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	if o.clients < 10 || o.clients >= common || o.time < time.Second || o.slots < 1 || o.wait < 0 || flags.NArg() > 0 {
		return o, errors.New("at least 10 clients, one second and one slot, and no arguments")
	}
	return o, nil
}

// run loads the server as args say, and prints the table to stdout, its progress to stderr.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) (err error) {
	o, err := parse(args, stderr)
	if errors.Is(err, flag.ErrHelp) {
		return nil
	}
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "tecken-load-")
	if err != nil {
		return err
	}
	defer func() {
		if o.keep {
			fmt.Fprintln(stderr, "kept:", dir)
			return
		}
		err = errors.Join(err, os.RemoveAll(dir))
	}()
	r := &load{options: o, dir: dir, progress: stderr, started: time.Now()}
	lines, err := r.run(ctx)
	if len(lines) == 0 {
		return err
	}
	return errors.Join(printTable(stdout, lines), err)
}
