package record

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
// After the first success the Store works.
//
// On PostgreSQL it blocks nothing for long: it waits 2 seconds for a lock that others would have to wait behind, then the attempt fails
// with upload.ErrUnavailable. Building indexes has no time limit.
func (s *Store) Migrate(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, migrateTimeout, errSlow)
	defer cancel()
	err := s.migrate(ctx)
	if s.forsake != nil && isLost(err) && ctx.Err() == nil {
		s.forsake()
	}
	if err = classify(ctx, "migrate the database", err); err == nil {
		s.ready.Store(true)
	}
	if ctx.Err() == nil {
		s.migration.Store(&err)
	}
	return err
}

// Migrated returns nil if the schema is there, else why it is not.
func (s *Store) Migrated(context.Context) error {
	if s.ready.Load() {
		return nil
	}
	if err := s.migration.Load(); err != nil {
		return *err
	}
	return errNotMigrated
}

// Misfit returns an error if the latest attempt to migrate failed for good though the database answers: a right is missing, or this program
// can't work with the schema.
func (s *Store) Misfit() error {
	if err := s.migration.Load(); err != nil && !errors.Is(*err, upload.ErrUnavailable) {
		return *err
	}
	return nil
}

func (s *Store) migrate(ctx context.Context) (err error) {
	waiting, cancel := context.WithTimeoutCause(ctx, migrateWait, errSlow)
	defer cancel()
	unlock, err := s.exclusive(waiting)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	provider, err := goose.NewProvider(s.dialect, s.write, s.migrations, goose.WithDisableGlobalRegistry(true), goose.WithSlog(s.log))
	if err != nil {
		return err
	}
	applied, err := provider.Up(ctx)
	for _, m := range applied {
		s.log.InfoContext(ctx, "schema migrated", "version", m.Source.Version, "elapsed", m.Duration)
	}
	if err != nil {
		return err
	}
	for _, statement := range needed {
		if _, err := s.write.ExecContext(ctx, "EXPLAIN "+statement); err != nil {
			return s.misfit(ctx, provider, err)
		}
	}
	return nil
}

// misfit returns why the database would not explain a statement.
func (s *Store) misfit(ctx context.Context, provider *goose.Provider, err error) error {
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
// Run returns nil once the Store works, or the cause of ctx's end.
func (s *Store) Run(ctx context.Context, fault func(error)) error {
	told := false
	for attempt := 0; ; attempt++ {
		err := s.Migrate(ctx)
		if err == nil {
			return nil
		}
		if misfit := s.Misfit(); misfit != nil && !told {
			told = true
			fault(misfit)
		}
		pause := background.Backoff(attempt, firstMigrateRetry, lastMigrateRetry)
		if ctx.Err() == nil {
			s.log.WarnContext(ctx, "the database is not ready", "err", err, "retry_in", pause)
		}
		if background.Sleep(ctx, pause) != nil {
			return fmt.Errorf("migrate the database: %w", context.Cause(ctx))
		}
	}
}
