package record

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/pressly/goose/v3"

	"tecken-upload/internal/background"
	"tecken-upload/internal/catalogue"
	"tecken-upload/internal/upload"
)

// Time limits, whatever the caller's context says: a hung database must not hold the goroutines of every request.
const (
	// queryTimeout bounds each call except Finish. It is many times what they need.
	queryTimeout = 10 * time.Second
	// finishTimeout bounds one attempt to write an upload's end with up to 10,000 files.
	finishTimeout = 30 * time.Second
	// finishPatience is how long Finish retries while the database is unavailable. An upload at its end has cost minutes: we would rather
	// wait out a failover than have the client send it again.
	finishPatience = 5 * time.Second
	// migrateWait is how long an attempt to migrate waits for another instance's.
	migrateWait = 5 * time.Minute
	// migrateTimeout bounds one attempt to migrate. Building an index of files, beside uploads, starts from its beginning after an
	// interruption: we would rather wait for a day than never finish.
	migrateTimeout = 24 * time.Hour
	// lockRetry is the pause between tries for another instance's lock.
	lockRetry = time.Second
	// forsakeInterval is the least time between two closings of the pool: we would rather lose a second after a failover than reconnect all
	// the time to a server that stays read-only.
	forsakeInterval = time.Second
	// unlockTimeout bounds the release of a lock, which the session's end releases anyway.
	unlockTimeout = 5 * time.Second
	// connectTimeout bounds an attempt to connect if the URL has no connect_timeout.
	connectTimeout = 5 * time.Second
	// connectPatience is how long a call waits for a server that refuses connections: enough for a restart, short enough for a prompt
	// answer to the client.
	connectPatience = 2 * time.Second
	// busyTimeout is how long SQLite itself waits for another process's transaction. It ignores contexts meanwhile, so the rest of the wait
	// is ours.
	busyTimeout = 250 * time.Millisecond
	// connLifetime, and a random part of it more, is the life of a connection: so a fleet spreads over the servers behind a name, but never
	// all at once.
	connLifetime = 30 * time.Minute
)

// defaultMaxConns is the default of Options.MaxConns.
const defaultMaxConns = 10

// errNotMigrated is every call's error until the schema is known to be there.
var errNotMigrated = fmt.Errorf("%w: the schema is not migrated yet", upload.ErrUnavailable)

// A database is what differs between SQLite and PostgreSQL.
type database struct {
	read, write  *sql.DB // the same one on PostgreSQL
	dialect      goose.Dialect
	migrations   fs.FS
	exclusive    func(context.Context) (func() error, error) // takes goose's lock for migrations
	present      func() error                                // fails if the database is gone; may be nil
	grow         func() error                                // takes space on the disk for a moment; nil if that is another machine's
	insertFiles  func(context.Context, *sql.Tx, *upload.Upload) error
	skipLocked   string                              // makes a SELECT lock its rows, without those already locked
	settings     string                              // of the planner, for transactions that read by an index; may be ""
	clock        string                              // queries the server's time, in microseconds; "": this machine's
	ranges       bool                                // how a walk is written
	like         string                              // compares a text with a pattern, in which \\ escapes wildcards
	indexKeys    func(context.Context, *Store) error // makes the trigram index of keys; nil if a migration does
	search       func(*reading, context.Context, *catalogue.FileQuery, keySearch) ([]listed, stretch, error)
	tickets      *tickets                               // for calls that may meet refused connections; may be nil
	beginReading func(context.Context, *sql.Conn) error // begins a transaction to read in; nil if reading needs none
	forsake      func()                                 // closes all connections; may be nil
	closers      []func() error
}

// Check returns nil if the database answers and its schema is there, else an error wrapping upload.ErrUnavailable. It ends soon after ctx.
func (s *Store) Check(ctx context.Context) error {
	return s.query(ctx, "check the database", func(ctx context.Context, r *reading) error {
		var id int64
		err := r.conn.QueryRowContext(ctx, `SELECT id FROM users ORDER BY id LIMIT 1`).Scan(&id)
		if errors.Is(err, sql.ErrNoRows) {
			return nil
		}
		return err
	})
}

// Close closes the database. It waits for calls in progress; later ones return upload.ErrUnavailable.
func (s *Store) Close() error {
	s.ready.Store(false)
	var errs []error
	for _, c := range s.closers {
		errs = append(errs, c())
	}
	return errors.Join(errs...)
}

// change runs fn in a transaction and commits it. It starts again if the connection is lost before the commit.
func (s *Store) change(ctx context.Context, limit time.Duration, doing string, fn func(context.Context, *sql.Tx) error) error {
	return s.bounded(ctx, limit, doing, func(ctx context.Context) error {
		tx, err := s.begin(ctx)
		if err != nil {
			return err
		}
		defer func() { _ = tx.Rollback() }() // no effect after a commit
		if err := fn(ctx, tx); err != nil {
			return err
		}
		if err := tx.Commit(); err != nil {
			return &uncertainError{err}
		}
		return nil
	})
}

// begin starts a transaction. On SQLite it writes from the start, so that it waits here for other processes and never fails for them later.
func (s *Store) begin(ctx context.Context) (*sql.Tx, error) {
	for {
		tx, err := s.write.BeginTx(ctx, nil)
		if err == nil || !isBusy(err) || ctx.Err() != nil {
			return tx, err
		}
	}
}

// plan makes a transaction read by indexes, as readings do.
func (s *Store) plan(ctx context.Context, tx *sql.Tx) (err error) {
	if s.settings != "" {
		_, err = tx.ExecContext(ctx, s.settings)
	}
	return err
}

// bounded runs fn within limit, and classifies its error.
func (s *Store) bounded(ctx context.Context, limit time.Duration, doing string, fn func(context.Context) error) error {
	if !s.ready.Load() {
		return fmt.Errorf("%s: %w", doing, errNotMigrated)
	}
	if s.present != nil {
		if err := s.present(); err != nil {
			return fmt.Errorf("%s: %w", doing, err)
		}
	}
	ctx, cancel := context.WithTimeoutCause(ctx, limit, errSlow)
	defer cancel()
	if s.tickets == nil {
		return classify(ctx, doing, fn(ctx))
	}
	return classify(ctx, doing, s.persist(ctx, fn))
}

// persist runs fn with a ticket. It repeats fn for up to connectPatience if its connection is lost before a commit: after a failover the
// same address leads to a server that works.
func (s *Store) persist(ctx context.Context, fn func(context.Context) error) error {
	began := time.Now()
	for attempt := 0; ; attempt++ {
		err := s.tickets.use(ctx, fn)
		if s.forsake == nil || !isLost(err) || ctx.Err() != nil {
			return err
		}
		s.forsake()
		_, uncertain := errors.AsType[*uncertainError](err)
		if uncertain || time.Since(began) >= connectPatience || background.Sleep(ctx, background.Backoff(attempt, firstReconnect, lastReconnect)) != nil {
			return err
		}
	}
}
