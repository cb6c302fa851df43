package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"tecken-upload/internal/background"
	"tecken-upload/internal/config"
	"tecken-upload/internal/record"
	"tecken-upload/internal/storage"
	"tecken-upload/internal/storage/dirstore"
	"tecken-upload/internal/storage/s3store"
	"tecken-upload/internal/storage/sweep"
	"tecken-upload/internal/upload"
)

// sweepInterval is the time between an instance's sweeps of storage.
const sweepInterval = 24 * time.Hour

// sweepStorage discards, until ctx ends, what dead uploads have staged. Several instances do no harm to each other, and the first one leaves
// nothing to do.
func (in *instance) sweepStorage(ctx context.Context) error {
	_, directory := in.storage.(*dirstore.Store) // which lists what is dead alone, and needs no rights for that
	task := &sweep.Task{
		Storage: in.storage, Listed: directory, Records: in.records, Interval: sweepInterval,
		Done: func(s *sweep.Sweep, err error) {
			in.swept.Add(int64(s.Discarded))
			if s.Discarded > 0 {
				in.logger.InfoContext(ctx, "storage swept", "discarded", s.Discarded, "left", s.Left)
			}
			if err == nil {
				err = s.Reason
			}
			switch {
			case err == nil:
			case errors.Is(err, upload.ErrUnavailable) && !errors.Is(err, upload.ErrRefused):
				in.logger.WarnContext(ctx, "storage was not swept", "err", err)
			default:
				in.fault("storage was not swept")(err)
			}
		},
	}
	return task.Run(ctx)
}

// sweepCommand discards what dead uploads have staged. It needs storage alone; with the records it finds more. Servers may run meanwhile.
type sweepCommand struct {
	config.Storage
	config.Database
	TenantStale time.Duration `name:"tecken-tenant-stale" default:"60s" help:"Silence of a server after which its uploads are lost. Must be the servers'."`
	DryRun      bool          `help:"Discard nothing, only list what is due."`
	OlderThan   time.Duration `default:"24h" placeholder:"DURATION" help:"Least age of what storage lists. Must be longer than any upload takes: listed is what is in progress too."`
}

// Help is shown by kong.
func (c *sweepCommand) Help() string {
	return `An upload stages large files before it is complete, where no reader sees them: in S3 as the parts of multipart uploads. A server that dies leaves them; a running server discards them about daily. This command does so at once, in two ways.

The records know the ids of what was staged. Those of uploads that have ended, are lost, or have no record any more are discarded. This needs the servers' database.

Storage lists the multipart uploads to keys of symbol files. Those older than --older-than are discarded. This needs the right s3:ListBucketMultipartUploads, and finds nothing on MinIO, which lists them for whole keys alone (and aborts them itself after 24 h). In a directory the files of dead writers are removed, of any age.

Standard output has a line for each: its id (of the multipart upload, with the key) and "discarded", "due" in a dry run, or "left" with the reason, separated by tabs.

Exit status: 0 nothing is left, 1 some are left, 2 the records or the listing could not be read.`
}

// Validate is called by kong.
func (c *sweepCommand) Validate() error {
	faults := []error{c.Database.Validate()}
	if _, err := storage.ParseURL(c.StorageURL); err != nil {
		faults = append(faults, fmt.Errorf("TECKEN_STORAGE_URL: %w", err))
	}
	if c.TenantStale <= 0 {
		faults = append(faults, fmt.Errorf("TECKEN_TENANT_STALE: is %v, must be more than 0s", c.TenantStale))
	}
	if c.OlderThan < 0 {
		faults = append(faults, fmt.Errorf("--older-than: is %v, must be 0s or more", c.OlderThan))
	}
	return errors.Join(faults...)
}

// Run is called by kong.
func (c *sweepCommand) Run(p *process) error {
	ctx, stop := signal.NotifyContext(p.ctx, syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	background.AfterContext(ctx, "signal", stop) // a second signal ends the process at once: a disk may hang
	store, closeStore, err := c.open(ctx)
	if err != nil {
		return fmt.Errorf("sweep storage: %w: TECKEN_STORAGE_URL: %w", errIncomplete, err)
	}
	defer closeStore()
	s := &sweep.Sweep{Storage: store, DryRun: c.DryRun, Report: c.reporter(p.stdout)}
	recordsErr := c.recorded(ctx, s)
	if recordsErr != nil {
		recordsErr = fmt.Errorf("the records: %w", recordsErr)
	}
	err = errors.Join(recordsErr, s.Listed(ctx, time.Now().Add(-c.OlderThan)))
	return c.conclude(p.stderr, s, err)
}

// reporter returns a function that prints one line.
func (c *sweepCommand) reporter(w io.Writer) func(id string, err error) {
	return func(id string, err error) {
		switch {
		case err != nil:
			fmt.Fprintf(w, "%s\tleft\t%v\n", id, err)
		case c.DryRun:
			fmt.Fprintf(w, "%s\tdue\n", id)
		default:
			fmt.Fprintf(w, "%s\tdiscarded\n", id)
		}
	}
}

// recorded sweeps what the records know.
func (c *sweepCommand) recorded(ctx context.Context, s *sweep.Sweep) (err error) {
	if err := existing(c.Database); err != nil {
		return err
	}
	records, err := record.Open(ctx, c.DatabaseURL, record.Options{MaxConns: c.DatabaseMaxConns, Stale: c.TenantStale, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, records.Close()) }()
	limited, cancel := context.WithTimeout(ctx, commandTimeout)
	defer cancel()
	if err := records.Migrate(limited); err != nil {
		return err
	}
	return s.Recorded(ctx, records)
}

// open opens the configured storage. A directory must exist, and is left as it is: to prepare it would remove what a dry run lists.
func (c *sweepCommand) open(ctx context.Context) (store sweep.Storage, closeStore func(), err error) {
	place, err := storage.ParseURL(c.StorageURL)
	if err != nil {
		return nil, nil, err
	}
	if place.Dir == "" {
		bucket, err := s3store.Open(ctx, place, s3store.Options{})
		if err != nil {
			return nil, nil, err
		}
		return bucket, bucket.Close, nil
	}
	if _, err := os.Stat(place.Dir); err != nil {
		return nil, nil, err
	}
	dir, err := dirstore.New(place.Dir)
	return dir, func() {}, err
}

// conclude prints the summary, and returns the error for the exit status.
func (c *sweepCommand) conclude(w io.Writer, s *sweep.Sweep, err error) error {
	if c.DryRun {
		fmt.Fprintf(w, "%d are due.\n", s.Discarded)
	} else {
		fmt.Fprintf(w, "%d discarded, %d left.\n", s.Discarded, s.Left)
	}
	switch {
	case err != nil:
		return fmt.Errorf("sweep storage: %w: %w", errIncomplete, err)
	case s.Left > 0:
		return fmt.Errorf("sweep storage: %d are left", s.Left)
	}
	return nil
}
