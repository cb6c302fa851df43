package database

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"strings"
	"sync/atomic"
	"time"

	"github.com/pressly/goose/v3"

	"tecken-upload/internal/background"
	"tecken-upload/internal/upload"
)

// Time limits, whatever the caller's context says: a hung database must not hold the goroutines of every request.
const (
	// readTimeout bounds each Read. It is many times what they need.
	readTimeout = 10 * time.Second
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

// ErrNotReady is the error of every call until the schema is known to be there, and after Close.
var ErrNotReady = fmt.Errorf("%w: the schema is not migrated yet", upload.ErrUnavailable)

// Options adjust a DB.
type Options struct {
	MaxConns int          // bound of connections; 10 unless positive
	Logger   *slog.Logger // nil: no log
	// Needed are statements that change nothing. A database explains them only if it has all their tables and columns, and lets this
	// program write them.
	Needed []string
}

// A DB is one database with our schema. It is safe for concurrent use.
type DB struct {
	engine
	options   Options
	migration atomic.Pointer[error] // result of the latest attempt to migrate
	ready     atomic.Bool           // the schema is there, and the DB is open
	indexed   atomic.Bool           // the trigram index of keys exists
}

// An engine is what differs between SQLite and PostgreSQL.
type engine struct {
	Postgres     bool    // else SQLite
	Clock        string  // the database's time in a statement, in microseconds
	read, write  *sql.DB // the same one on PostgreSQL
	dialect      goose.Dialect
	migrations   fs.FS
	exclusive    func(context.Context) (func() error, error) // takes goose's lock for migrations
	present      func() error                                // fails if the database is gone; may be nil
	grow         func() error                                // takes space on the disk for a moment; nil if that is another machine's
	indexKeys    func(context.Context, *DB) error            // makes the trigram index of keys; nil if a migration does
	tickets      *tickets                                    // for calls that may meet refused connections; may be nil
	beginReading func(context.Context, *sql.Conn) error      // begins a transaction to read in; nil if reading needs none
	forsake      func()                                      // closes all connections; may be nil
	closers      []func() error
}

// Open returns a DB for url: "sqlite:PATH" with a relative or absolute path, or "postgres://…" as in pgx. It makes the directory of PATH. It
// makes no connection: it fails for a malformed url or a path that can't be a directory's, not for a server that is down or a disk that is
// full or read-only.
func Open(ctx context.Context, url string, opts Options) (*DB, error) {
	if opts.MaxConns <= 0 {
		opts.MaxConns = defaultMaxConns
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	var e engine
	var err error
	scheme, rest, _ := strings.Cut(url, ":")
	switch scheme {
	case "sqlite":
		e, err = openSQLite(rest, opts.MaxConns)
	case "postgres", "postgresql":
		e, err = openPostgres(ctx, url, opts.MaxConns)
	default:
		// The URL itself may hold a password.
		err = errors.New("its URL is of neither scheme, sqlite or postgres")
	}
	if err != nil {
		return nil, fmt.Errorf("open the database: %w", err)
	}
	return &DB{engine: e, options: opts}, nil
}

// Check returns nil if the database answers and its schema is there, else an error wrapping upload.ErrUnavailable. It ends soon after ctx.
func (d *DB) Check(ctx context.Context) error {
	return d.Read(ctx, "check the database", func(ctx context.Context, conn Conn) error {
		var id int64
		err := conn.QueryRowContext(ctx, `SELECT id FROM users ORDER BY id LIMIT 1`).Scan(&id)
		if errors.Is(err, sql.ErrNoRows) {
			return nil
		}
		return err
	})
}

// Close closes the database. It waits for calls in progress; later ones return upload.ErrUnavailable.
func (d *DB) Close() error {
	d.ready.Store(false)
	var errs []error
	for _, c := range d.closers {
		errs = append(errs, c())
	}
	return errors.Join(errs...)
}

// Change runs fn in a transaction within limit, and commits it. doing is for the error. It starts again if the connection is lost before the
// commit.
func (d *DB) Change(ctx context.Context, limit time.Duration, doing string, fn func(context.Context, *sql.Tx) error) error {
	return d.bounded(ctx, limit, doing, func(ctx context.Context) error {
		tx, err := d.begin(ctx)
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
func (d *DB) begin(ctx context.Context) (*sql.Tx, error) {
	for {
		tx, err := d.write.BeginTx(ctx, nil)
		if err == nil || !isBusy(err) || ctx.Err() != nil {
			return tx, err
		}
	}
}

// bounded runs fn within limit, and classifies its error.
func (d *DB) bounded(ctx context.Context, limit time.Duration, doing string, fn func(context.Context) error) error {
	if !d.ready.Load() {
		return fmt.Errorf("%s: %w", doing, ErrNotReady)
	}
	if d.present != nil {
		if err := d.present(); err != nil {
			return fmt.Errorf("%s: %w", doing, err)
		}
	}
	ctx, cancel := context.WithTimeoutCause(ctx, limit, errSlow)
	defer cancel()
	if d.tickets == nil {
		return classify(ctx, doing, fn(ctx))
	}
	return classify(ctx, doing, d.persist(ctx, fn))
}

// persist runs fn with a ticket. It repeats fn for up to connectPatience if its connection is lost before a commit: after a failover the
// same address leads to a server that works.
func (d *DB) persist(ctx context.Context, fn func(context.Context) error) error {
	began := time.Now()
	for attempt := 0; ; attempt++ {
		err := d.tickets.use(ctx, fn)
		if d.forsake == nil || !isLost(err) || ctx.Err() != nil {
			return err
		}
		d.forsake()
		_, uncertain := errors.AsType[*uncertainError](err)
		if uncertain || time.Since(began) >= connectPatience || background.Sleep(ctx, background.Backoff(attempt, firstReconnect, lastReconnect)) != nil {
			return err
		}
	}
}
