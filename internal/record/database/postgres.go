package database

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"

	"tecken-upload/internal/background"
)

const (
	// ByIndexAlone makes PostgreSQL's planner use an index's order if it can: each of our queries has its index, and wants few rows. The planner's
	// own guess of the number of rows is often wrong, and then it reads and sorts them all. Plans it can't avoid look costly, and must not
	// be compiled for that. The settings are for one transaction: a pooler may give the next one another connection, and this connection to
	// another program.
	ByIndexAlone = `SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off; SET LOCAL enable_sort = off; SET LOCAL enable_incremental_sort = off; SET LOCAL jit = off`
	// ByTrigrams allows in such a transaction the bitmap scans that the trigram index needs.
	ByTrigrams = `SET LOCAL enable_bitmapscan = on; SET LOCAL enable_indexscan = off; SET LOCAL enable_indexonlyscan = off`
	// ByIndexAgain forbids them again.
	ByIndexAgain = `SET LOCAL enable_bitmapscan = off; SET LOCAL enable_indexscan = on; SET LOCAL enable_indexonlyscan = on`
	// beginReading begins a transaction to read in, and asks whether the server is read-only, in one round trip.
	beginReading = `BEGIN READ ONLY; ` + ByIndexAlone + `; SELECT pg_is_in_recovery() OR current_setting('default_transaction_read_only')::boolean`
)

// openPostgres prepares a pool of at most maxConns connections, made when needed.
func openPostgres(ctx context.Context, url string, maxConns int) (engine, error) {
	config, err := pgxpool.ParseConfig(url)
	if err != nil {
		return engine{}, err // pgx leaves the password out
	}
	config.MaxConns = int32(min(maxConns, 1<<16))
	config.MaxConnLifetime, config.MaxConnLifetimeJitter = connLifetime, connLifetime
	if config.ConnConfig.ConnectTimeout == 0 {
		config.ConnConfig.ConnectTimeout = connectTimeout
	}
	// Statements have no names, and connections no state: behind a pooler the next statement may use another one.
	config.ConnConfig.DefaultQueryExecMode = pgx.QueryExecModeExec
	tickets := newTickets(int(config.MaxConns))
	config.AfterConnect = func(context.Context, *pgx.Conn) error {
		return background.Try(func() error { // the pool calls it in a goroutine
			tickets.connected()
			return nil
		})
	}

	// Connections outlive ctx: the pool uses only its values.
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return engine{}, err
	}
	sub, err := fs.Sub(migrations, "migrations/postgres")
	if err != nil {
		pool.Close()
		return engine{}, err
	}
	db := stdlib.OpenDBFromPool(pool)
	p := &postgres{config: config.ConnConfig, pool: pool}
	return engine{
		Postgres:     true,
		Clock:        `(SELECT CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS BIGINT))`,
		read:         db,
		write:        db,
		dialect:      goose.DialectPostgres,
		migrations:   sub,
		exclusive:    func(ctx context.Context) (func() error, error) { return p.lock(ctx, migrationLock) },
		indexKeys:    p.indexKeys,
		tickets:      tickets,
		beginReading: p.beginReading,
		forsake:      p.forsake,
		closers:      []func() error{db.Close, func() error { pool.Close(); return nil }},
	}, nil
}

// A postgres makes connections to PostgreSQL.
type postgres struct {
	config *pgx.ConnConfig
	pool   *pgxpool.Pool

	mu       sync.Mutex
	forsaken time.Time // when the pool was last closed
}

// forsake closes all connections, at most once in forsakeInterval; those in use are closed once released.
func (p *postgres) forsake() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if time.Since(p.forsaken) < forsakeInterval {
		return
	}
	p.pool.Reset()
	p.forsaken = time.Now() // afterwards: connections made meanwhile are new
}

// beginReading begins a transaction to read in. It reads from a read-only server, and then leaves it.
func (p *postgres) beginReading(ctx context.Context, conn *sql.Conn) error {
	return conn.Raw(func(driver any) error {
		readOnly, err := saysTrue(ctx, driver.(*stdlib.Conn).Conn().PgConn(), beginReading)
		if readOnly {
			p.forsake()
		}
		return err
	})
}

// saysTrue sends some statements at once, and reports whether the last answer is true.
func saysTrue(ctx context.Context, conn *pgconn.PgConn, statements string) (bool, error) {
	results, err := conn.Exec(ctx, statements).ReadAll()
	if err != nil {
		return false, err
	}
	answer := results[len(results)-1].Rows
	return len(answer) == 1 && string(answer[0][0]) == "t", nil
}

// migrationLock is the key of the advisory lock for migrations: goose's own.
const migrationLock = 4097083626

// errLocked: another instance holds the lock.
var errLocked = errors.New("another instance holds the lock")

// lock takes an advisory lock, waiting for it until ctx ends.
func (p *postgres) lock(ctx context.Context, key int64) (unlock func() error, err error) {
	for {
		unlock, err = p.tryLock(ctx, key)
		if !errors.Is(err, errLocked) {
			return unlock, err
		}
		if cause := background.Sleep(ctx, background.Backoff(0, lockRetry, lockRetry)); cause != nil {
			return nil, fmt.Errorf("%w: %w", err, cause)
		}
	}
}

// tryLock takes an advisory lock, or fails with errLocked. The lock is a transaction's, over a connection that does nothing else: a
// session's lock would stay with a pooler's connection. The isolation level leaves it without a snapshot, for which the building of indexes
// would wait.
func (p *postgres) tryLock(ctx context.Context, key int64) (unlock func() error, err error) {
	conn, release, err := p.lockConn(ctx)
	if err != nil {
		return nil, err
	}
	unlock = func() error {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), unlockTimeout)
		defer cancel()
		_, _ = conn.Exec(ctx, `ROLLBACK`) // fails if the connection is gone, and the lock with it
		return release(ctx)
	}
	// Not a query with parameters: it would keep its snapshot.
	locked, err := saysTrue(ctx, conn.PgConn(), fmt.Sprintf(
		`BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL idle_in_transaction_session_timeout = 0; SELECT pg_try_advisory_xact_lock(%d)`, key))
	if err == nil && !locked {
		err = errLocked
	}
	if err != nil {
		return nil, errors.Join(err, unlock())
	}
	return unlock, nil
}

// lockConn returns a connection of the pool, or an extra one if the pool would have none left for uploads.
func (p *postgres) lockConn(ctx context.Context) (conn *pgx.Conn, release func(context.Context) error, err error) {
	const fewConns = 2 // one for the lock, one for the work
	if p.pool.Config().MaxConns <= fewConns {
		conn, err = pgx.ConnectConfig(ctx, p.config)
		return conn, func(ctx context.Context) error { return conn.Close(ctx) }, err
	}
	pooled, err := p.pool.Acquire(ctx)
	if err != nil {
		return nil, nil, err
	}
	return pooled.Conn(), func(context.Context) error { pooled.Release(); return nil }, nil
}
