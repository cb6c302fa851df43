package database

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/pressly/goose/v3"

	"tecken-upload/internal/background"
	"tecken-upload/internal/upload"
)

// The pauses between attempts to migrate, doubled after each failure from the first to the last. A server that was down for long can wait
// for one instance, but its operator can't.
const (
	firstMigrateRetry = 250 * time.Millisecond
	lastMigrateRetry  = 10 * time.Second
)

// errMisfit: this program can't work with the schema, or lacks rights to it.
var errMisfit = errors.New("the schema does not fit this program")

// Migrate brings the schema up to date. Several programs may do so at once: one migrates, the others wait. A newer schema stays as it is.
// After the first success the DB works.
//
// On PostgreSQL it blocks nothing for long: it waits 2 seconds for a lock that others would have to wait behind, then the attempt fails
// with upload.ErrUnavailable. Building indexes has no time limit.
func (d *DB) Migrate(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, migrateTimeout, errSlow)
	defer cancel()
	err := d.migrate(ctx)
	if d.forsake != nil && isLost(err) && ctx.Err() == nil {
		d.forsake()
	}
	if err = classify(ctx, "migrate the database", err); err == nil {
		d.ready.Store(true)
	}
	if ctx.Err() == nil {
		d.migration.Store(&err)
	}
	return err
}

// Migrated returns nil if the schema is there, else why it is not.
func (d *DB) Migrated(context.Context) error {
	if d.ready.Load() {
		return nil
	}
	if err := d.migration.Load(); err != nil {
		return *err
	}
	return ErrNotReady
}

// Misfit returns an error if the latest attempt to migrate failed for good though the database answers: a right is missing, or this program
// can't work with the schema.
func (d *DB) Misfit() error {
	if err := d.migration.Load(); err != nil && !errors.Is(*err, upload.ErrUnavailable) {
		return *err
	}
	return nil
}

func (d *DB) migrate(ctx context.Context) (err error) {
	waiting, cancel := context.WithTimeoutCause(ctx, migrateWait, errSlow)
	defer cancel()
	unlock, err := d.exclusive(waiting)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	provider, err := goose.NewProvider(d.dialect, d.write, d.migrations, goose.WithDisableGlobalRegistry(true), goose.WithSlog(d.options.Logger))
	if err != nil {
		return err
	}
	applied, err := provider.Up(ctx)
	for _, m := range applied {
		d.options.Logger.InfoContext(ctx, "schema migrated", "version", m.Source.Version, "elapsed", m.Duration)
	}
	if err != nil {
		return err
	}
	for _, statement := range d.options.Needed {
		if _, err := d.write.ExecContext(ctx, "EXPLAIN "+statement); err != nil {
			return d.misfit(ctx, provider, err)
		}
	}
	return nil
}

// misfit returns why the database would not explain a statement.
func (d *DB) misfit(ctx context.Context, provider *goose.Provider, err error) error {
	if isUnavailable(err) || ctx.Err() != nil {
		return err
	}
	there, versionErr := provider.GetDBVersion(ctx)
	if versionErr != nil {
		return versionErr
	}
	sources := provider.ListSources()
	return fmt.Errorf("%w: it is of version %d, the program's own is %d: %w", errMisfit, there, sources[len(sources)-1].Version, err)
}

// Run migrates the database. It retries with a jittered back-off, and logs failures. fault is called, once, when an attempt fails for good.
// Run returns nil once the DB works, or the cause of ctx's end.
func (d *DB) Run(ctx context.Context, fault func(error)) error {
	told := false
	for attempt := 0; ; attempt++ {
		err := d.Migrate(ctx)
		if err == nil {
			return nil
		}
		if misfit := d.Misfit(); misfit != nil && !told {
			told = true
			fault(misfit)
		}
		pause := background.Backoff(attempt, firstMigrateRetry, lastMigrateRetry)
		if ctx.Err() == nil {
			d.options.Logger.WarnContext(ctx, "the database is not ready", "err", err, "retry_in", pause)
		}
		if background.Sleep(ctx, pause) != nil {
			return fmt.Errorf("migrate the database: %w", context.Cause(ctx))
		}
	}
}
