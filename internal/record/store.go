package record

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

	"tecken-upload/internal/catalogue"
	"tecken-upload/internal/upload"
)

// How long things may take. Whatever the caller's context says, nothing takes longer than these: a database
// that hangs must not hold the goroutines of every request.
const (
	// queryTimeout bounds one call but Finish. It is many times what any of them needs.
	queryTimeout = 10 * time.Second
	// finishTimeout bounds one attempt to write an upload's end with up to 10,000 files.
	finishTimeout = 30 * time.Second
	// finishPatience is how long Finish keeps trying while the database is unavailable. An upload that
	// reached its end has cost minutes: rather wait out a failover than make the client send it again.
	finishPatience = 5 * time.Second
	// migrateWait is how long one attempt to migrate waits for another instance that is at it.
	migrateWait = 5 * time.Minute
	// migrateTimeout bounds one attempt to migrate. An index of files is built beside uploads, and one that is cut off is
	// built again from its beginning: rather wait for a day than never end.
	migrateTimeout = 24 * time.Hour
	// lockRetry is the pause before a lock is asked for again that another instance holds.
	lockRetry = time.Second
	// forsakeInterval is the least time between two moments in which all connections are thrown away: rather lose a second after a
	// failover than make connections over and over to a server that stays read-only.
	forsakeInterval = time.Second
	// unlockTimeout bounds the release of a lock, of a migration or of indexing, which the end of a session releases anyway.
	unlockTimeout = 5 * time.Second
	// connectTimeout bounds one connection attempt where the URL does not say connect_timeout.
	connectTimeout = 5 * time.Second
	// connectPatience is how long a call waits for a server that refuses connections before it gives up:
	// enough for a restart, short enough to tell a client the truth.
	connectPatience = 2 * time.Second
	// busyTimeout is how long SQLite itself waits for another process's transaction. It does not heed
	// a context meanwhile, so the rest of the wait is ours.
	busyTimeout = 250 * time.Millisecond
	// connLifetime, and as much of it again at random: a connection is replaced now and then, so that
	// a fleet spreads over the servers behind a name, and never all at once.
	connLifetime = 30 * time.Minute
)

// defaultMaxConns is used where Options.MaxConns is not positive.
const defaultMaxConns = 10

// errNotMigrated is what everything returns until the schema is known to be there.
var errNotMigrated = fmt.Errorf("%w: the schema is not migrated yet", upload.ErrUnavailable)

// Options adjust a Store. The zero Options are ready for use.
type Options struct {
	MaxConns int              // bound of connections; 10 unless positive
	Logger   *slog.Logger     // nothing is logged without one
	Now      func() time.Time // time.Now without one
}

// A Store keeps records in one database. It implements upload.Records, and is safe for concurrent use.
type Store struct {
	database
	log       *slog.Logger
	now       func() time.Time
	migration atomic.Pointer[error]          // what came of the latest attempt to migrate
	ready     atomic.Bool                    // the schema is there, and the Store is not closed
	indexed   atomic.Bool                    // the index of the insides of keys has been seen
	scan      int                            // scanLimit, less in tests
	patience  time.Duration                  // finishPatience, but for tests
	trace     func(query string, args []any) // told of the lists' statements, for tests; may be nil
}

// A database is what differs between the two.
type database struct {
	read, write  *sql.DB // the same one on PostgreSQL
	dialect      goose.Dialect
	migrations   fs.FS
	exclusive    func(context.Context) (func() error, error) // takes the lock that goose migrates under
	present      func() error                                // fails where the database is not there any more; may be nil
	grow         func() error                                // takes space on the disk for a moment; nil where that is another machine's
	insertFiles  func(context.Context, *sql.Tx, *upload.Upload) error
	skipLocked   string                              // has a SELECT lock its rows, but for those that are locked
	settings     string                              // of the planner, made by a transaction that reads by an index; may be ""
	clock        string                              // asks for the server's time, in microseconds; "" where it is this machine's
	ranges       bool                                // how a walk is written
	like         string                              // compares a text with a pattern, in which \\ stands before what is no wildcard
	indexKeys    func(context.Context, *Store) error // makes the index of the insides of keys; nil where a migration does
	search       func(*reading, context.Context, *catalogue.FileQuery, keySearch) ([]listed, stretch, error)
	tickets      *tickets                               // for calls, where connecting may be refused; may be nil
	beginReading func(context.Context, *sql.Conn) error // begins a transaction to read in; nil where reading needs none
	forsake      func()                                 // throws all connections away; may be nil
	closers      []func() error
}

// Open returns a Store for url, "sqlite:PATH" with a relative or absolute path, whose directory is made, or
// "postgres://…" as pgx takes it. It connects to nothing, so it does not fail because a server is down, or a disk full or
// read-only; it fails where url is malformed, or the path can't be a directory's.
func Open(ctx context.Context, url string, opts Options) (*Store, error) {
	if opts.MaxConns <= 0 {
		opts.MaxConns = defaultMaxConns
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	var db database
	var err error
	scheme, rest, _ := strings.Cut(url, ":")
	switch scheme {
	case "sqlite":
		db, err = openSQLite(rest, opts.MaxConns)
	case "postgres", "postgresql":
		db, err = openPostgres(ctx, url, opts.MaxConns)
	default:
		// The URL itself may hold a password.
		err = errors.New("its URL is of neither scheme, sqlite or postgres")
	}
	if err != nil {
		return nil, fmt.Errorf("open the database: %w", err)
	}
	return &Store{database: db, log: opts.Logger, now: opts.Now, scan: scanLimit, patience: finishPatience}, nil
}

// Check returns nil if the database answers and its schema is there, else an error wrapping
// upload.ErrUnavailable. It ends soon after ctx.
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

// Close ends the use of the database. It waits for calls in progress; later ones return
// upload.ErrUnavailable.
func (s *Store) Close() error {
	s.ready.Store(false)
	var errs []error
	for _, c := range s.closers {
		errs = append(errs, c())
	}
	return errors.Join(errs...)
}

// change runs fn in a transaction that it commits, again where its connection is lost before that.
func (s *Store) change(ctx context.Context, limit time.Duration, doing string, fn func(context.Context, *sql.Tx) error) error {
	return s.bounded(ctx, limit, doing, func(ctx context.Context) error {
		tx, err := s.begin(ctx)
		if err != nil {
			return err
		}
		defer func() { _ = tx.Rollback() }() // after a commit it does nothing
		if err := fn(ctx, tx); err != nil {
			return err
		}
		if err := tx.Commit(); err != nil {
			return &uncertainError{err}
		}
		return nil
	})
}

// begin starts a transaction. On SQLite it is one that writes from the start, so that it waits here for
// other processes and never fails for them later.
func (s *Store) begin(ctx context.Context) (*sql.Tx, error) {
	for {
		tx, err := s.write.BeginTx(ctx, nil)
		if err == nil || !isBusy(err) || ctx.Err() != nil {
			return tx, err
		}
	}
}

// plan has a transaction read by an index, as readings do.
func (s *Store) plan(ctx context.Context, tx *sql.Tx) (err error) {
	if s.settings != "" {
		_, err = tx.ExecContext(ctx, s.settings)
	}
	return err
}

// bounded runs fn within limit, and gives its error its kind.
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

// persist runs fn with a ticket, and again for as long as connectPatience while its connection is lost before anything was committed:
// after a failover the same address leads to a server that does what the old one refuses.
func (s *Store) persist(ctx context.Context, fn func(context.Context) error) error {
	began := time.Now()
	for attempt := 0; ; attempt++ {
		err := s.tickets.use(ctx, fn)
		if s.forsake == nil || !isLost(err) || ctx.Err() != nil {
			return err
		}
		s.forsake()
		_, uncertain := errors.AsType[*uncertainError](err)
		if uncertain || time.Since(began) >= connectPatience || sleep(ctx, backoff(attempt, firstReconnect, lastReconnect)) != nil {
			return err
		}
	}
}
