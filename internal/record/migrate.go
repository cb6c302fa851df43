package record

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/pressly/goose/v3"

	"tecken-upload/internal/upload"
)

// The pauses between attempts to migrate: the first, doubled after each failure up to the last. A server
// that has been down for long is not in a hurry to get this one instance back, but its operator is.
const (
	firstMigrateRetry = 250 * time.Millisecond
	lastMigrateRetry  = 10 * time.Second
)

// errMisfit: the schema is not one that this program works with, or the database does not let it.
var errMisfit = errors.New("the schema does not fit this program")

// Migrate brings the schema up to date. Several programs may do so at once: one migrates, the others wait.
// A schema newer than this program's is left as it is. From the first success on the Store works.
//
// On PostgreSQL it stops nobody for long: a lock that others would have to wait behind is waited for 2 seconds, then the attempt
// fails, with upload.ErrUnavailable. Building indexes takes as long as it takes.
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

// Misfit returns an error where the latest attempt to migrate failed of what waiting does not mend, of a database that answers:
// a right that is missing, a schema that this program does not work with.
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

// needed are statements that change nothing, and that a database explains only where it has all that is written, and lets this program
// write it.
var needed = []string{
	`INSERT INTO users (email, created_at) SELECT email, created_at FROM users WHERE FALSE`,
	`INSERT INTO tokens (user_id, hash, permissions, weight, created_at, expires_at)
		SELECT user_id, hash, permissions, weight, created_at, expires_at FROM tokens WHERE FALSE`,
	`UPDATE tokens SET revoked_at = revoked_at WHERE FALSE`,
	`INSERT INTO uploads (user_id, token_id, token_label, filename, bucket, try, format, size, created_at, download_url)
		SELECT user_id, token_id, token_label, filename, bucket, try, format, size, created_at, download_url FROM uploads WHERE FALSE`,
	`UPDATE uploads SET ended_at = ended_at, outcome = outcome, error = error, uploaded_count = uploaded_count, skipped_count = skipped_count,
		ignored_count = ignored_count, pending_count = pending_count, redirect_urls = redirect_urls WHERE FALSE`,
	`DELETE FROM uploads WHERE FALSE`,
	`INSERT INTO files (` + fileColumns + `) SELECT ` + fileColumns + ` FROM files WHERE FALSE`,
	`UPDATE files SET folded_key = folded_key, folded_code_file = folded_code_file WHERE FALSE`,
	`INSERT INTO upload_days (day, user_id, upload_count, upload_size, file_count, file_size)
		SELECT day, user_id, upload_count, upload_size, file_count, file_size FROM upload_days WHERE FALSE`,
	`UPDATE upload_days SET upload_count = upload_count WHERE FALSE`,
	`DELETE FROM upload_days WHERE FALSE`,
	`INSERT INTO proofs (id, written_at) SELECT id, written_at FROM proofs WHERE FALSE`,
	`UPDATE proofs SET written_at = written_at WHERE FALSE`,
}

// misfit tells of a schema that the database would not explain a statement by.
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

// Run migrates the database, trying again with a jittered back-off, and logging why, for as long as it fails. fault is told, once, of
// an attempt that failed of what waiting does not mend. It returns nil once the Store works, or the cause of ctx's end.
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
		pause := backoff(attempt, firstMigrateRetry, lastMigrateRetry)
		if ctx.Err() == nil {
			s.log.WarnContext(ctx, "the database is not ready", "err", err, "retry_in", pause)
		}
		if sleep(ctx, pause) != nil {
			return fmt.Errorf("migrate the database: %w", context.Cause(ctx))
		}
	}
}

// backoff returns the pause after the given failure, counted from 0: first, doubled each time, at most last;
// of that between a half and all, at random, so that those who failed together don't try again together.
func backoff(failure int, first, last time.Duration) time.Duration {
	d := last
	if failure < 16 {
		d = min(first<<failure, last)
	}
	return d/2 + rand.N(d/2+1)
}

// sleep waits, and returns the cause of ctx's end if that comes first.
func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
