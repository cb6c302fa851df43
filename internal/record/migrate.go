package record

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/pressly/goose/v3"
)

// The pauses between attempts to migrate: the first, doubled after each failure up to the last. A server
// that has been down for long is not in a hurry to get this one instance back, but its operator is.
const (
	firstMigrateRetry = 250 * time.Millisecond
	lastMigrateRetry  = 10 * time.Second
)

// Migrate brings the schema up to date. Several programs may do so at once: one migrates, the others wait.
// A schema newer than this program's is left as it is. From the first success on the Store works.
//
// On PostgreSQL it stops nobody for long: a lock that others would have to wait behind is waited for 2 seconds, then the attempt
// fails, with upload.ErrUnavailable. Building indexes takes as long as it takes.
func (s *Store) Migrate(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, migrateTimeout, errSlow)
	defer cancel()
	if err := s.migrate(ctx); err != nil {
		return classify(ctx, "migrate the database", err)
	}
	s.ready.Store(true)
	return nil
}

func (s *Store) migrate(ctx context.Context) (err error) {
	if s.exclusive != nil {
		waiting, cancel := context.WithTimeoutCause(ctx, migrateWait, errSlow)
		defer cancel()
		unlock, err := s.exclusive(waiting)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, unlock()) }()
	}
	options := []goose.ProviderOption{goose.WithDisableGlobalRegistry(true), goose.WithSlog(s.log)}
	if s.locker != nil {
		options = append(options, goose.WithSessionLocker(s.locker))
	}
	provider, err := goose.NewProvider(s.dialect, s.write, s.migrations, options...)
	if err != nil {
		return err
	}
	applied, err := provider.Up(ctx)
	for _, m := range applied {
		s.log.InfoContext(ctx, "schema migrated", "version", m.Source.Version, "elapsed", m.Duration)
	}
	return err
}

// Run migrates the database, trying again with a jittered back-off, and logging why, for as long as it fails.
// It returns nil once the Store works, or the cause of ctx's end.
func (s *Store) Run(ctx context.Context) error {
	for attempt := 0; ; attempt++ {
		err := s.Migrate(ctx)
		if err == nil {
			return nil
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
