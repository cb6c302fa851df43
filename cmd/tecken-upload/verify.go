package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"tecken-upload/internal/audit"
	"tecken-upload/internal/background"
	"tecken-upload/internal/config"
	"tecken-upload/internal/storage"
	"tecken-upload/internal/storage/dirstore"
	"tecken-upload/internal/storage/s3store"
)

// errIncomplete is wrapped by the error of a verify that could not read everything: exit status 2.
var errIncomplete = errors.New("incomplete")

// verifyCommand reads stored symbol files back. It needs storage alone: neither the database nor a running server.
type verifyCommand struct {
	config.Storage
	Prefix   string        `placeholder:"TEXT" help:"Only files with this beginning of their symbol key, such as xul.pdb/44E4. v1/xul.pdb/44E4 means regular uploads alone, try/xul.pdb/44E4 try uploads alone."`
	Since    config.Moment `placeholder:"DATE" help:"Only files stored or refreshed since that day (2026-01-31, UTC) or time (2026-01-31T12:00:00Z)."`
	After    string        `placeholder:"KEY" help:"Only files after this key, to continue an interrupted verify: it prints the key at its end and in each line of progress."`
	Repair   bool          `help:"Move broken files to broken/KEY, so that the next upload stores them again."`
	Parallel int           `default:"4" help:"Files read at once, each on at most one core."`
	Rate     config.Rate   `default:"32MiB/s" help:"Bytes read a second, of all files together, to leave disk and cores to a running server. 0/s: no limit."`
}

// Help is shown by kong.
func (c *verifyCommand) Help() string {
	return `Reads every file that storage lists, and compares its bytes, inflated if stored as gzip, with the size and the MD5 in its metadata. Files come in the order of their keys; another verify can continue after the last one. Servers may run meanwhile.

Standard output has a line for each bad file: its key, state and reason, separated by tabs. "broken": two readings differ from the metadata. "moved": the same, moved to broken/KEY. "not verifiable": without such metadata, stored by another server; never moved. "unreadable": two readings failed; never moved. Progress and a summary go to standard error.

Exit status: 0 no broken file is left, 1 some are left, 2 not all files could be read.`
}

// Validate is called by kong.
func (c *verifyCommand) Validate() error {
	var faults []error
	if _, err := storage.ParseURL(c.StorageURL); err != nil {
		faults = append(faults, fmt.Errorf("TECKEN_STORAGE_URL: %w", err))
	}
	if _, ok := storage.ParseObjectKey(c.After); !ok && c.After != "" {
		faults = append(faults, errors.New("--after: takes a key as verify prints it, such as v1/xul.pdb/44E4EC8C2F41492B9369D6B9A059577C2/xul.sym"))
	}
	if c.Parallel < 1 {
		faults = append(faults, fmt.Errorf("--parallel: is %d, must be 1 or more", c.Parallel))
	}
	return errors.Join(faults...)
}

// Run is called by kong.
func (c *verifyCommand) Run(p *process) error {
	ctx, stop := signal.NotifyContext(p.ctx, syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	background.AfterContext(ctx, "signal", stop) // a second signal ends the process at once: a disk may hang
	store, closeStore, err := c.open(ctx)
	if err != nil {
		return fmt.Errorf("verify: %w: TECKEN_STORAGE_URL: %w", errIncomplete, err)
	}
	defer closeStore()
	pass := audit.New(audit.Config{
		Storage: store, Prefix: c.Prefix, After: c.After, Since: time.Time(c.Since), Repair: c.Repair,
		Parallel: c.Parallel, Rate: int64(c.Rate),
		Report: func(f audit.Finding) error {
			_, err := fmt.Fprintln(p.stdout, f)
			return err
		},
	})
	stopReports := pass.PrintProgress(p.stderr)
	err = pass.Run(ctx)
	stopReports()
	return conclude(p.stderr, pass.Totals(), err)
}

// open opens the configured storage. A directory must exist: an empty new one would prove nothing.
func (c *verifyCommand) open(ctx context.Context) (store audit.Storage, closeStore func(), err error) {
	place, err := storage.ParseURL(c.StorageURL)
	if err != nil {
		return nil, nil, err
	}
	if place.Dir == "" {
		bucket, err := s3store.Open(ctx, place, s3store.Options{Conns: c.Parallel + 2}) // to list, and to move
		if err != nil {
			return nil, nil, err
		}
		return bucket, bucket.Close, nil
	}
	if _, err := os.Stat(place.Dir); err != nil {
		return nil, nil, err
	}
	dir, err := dirstore.Open(ctx, place.Dir)
	return dir, func() {}, err
}

// conclude prints the summary, and returns the error for the exit status.
func conclude(w io.Writer, t audit.Totals, err error) error {
	fmt.Fprintln(w, t)
	if t.Moved > 0 {
		fmt.Fprintln(w, "The next upload of a moved file stores it again. Servers may cache it for up to 10 minutes.")
	}
	if err != nil && t.Position != "" {
		fmt.Fprintf(w, "To continue: the same command with --after '%s'\n", t.Position)
	}
	switch {
	case err != nil:
		return fmt.Errorf("verify: %w: %w", errIncomplete, err)
	case t.Unreadable > 0:
		return fmt.Errorf("verify: %w: %d files could not be read; try each again with --prefix KEY", errIncomplete, t.Unreadable)
	case t.Broken > t.Moved:
		return fmt.Errorf("verify: %d broken files are left", t.Broken-t.Moved)
	}
	return nil
}
