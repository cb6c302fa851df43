package record

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
	// byIndexAlone has the planner go through rows in an index's order where it can: every question of ours has its index,
	// and wants few rows. Its own guess of how many there are is often wrong, and then it reads and sorts them all. What it
	// can't avoid looks dear to it then, and is not to be compiled for that. It is said in each transaction: a pooler may give the
	// next one another connection, and this one to another program.
	byIndexAlone = `SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off; SET LOCAL enable_sort = off; SET LOCAL enable_incremental_sort = off; SET LOCAL jit = off`
	// beginReading begins a transaction to read in, and asks whether the server takes no writes, all in one round trip.
	beginReading = `BEGIN READ ONLY; ` + byIndexAlone + `; SELECT pg_is_in_recovery() OR current_setting('default_transaction_read_only')::boolean`
)

// openPostgres prepares a pool of at most maxConns connections; none is made before it is needed.
func openPostgres(ctx context.Context, url string, maxConns int) (database, error) {
	config, err := pgxpool.ParseConfig(url)
	if err != nil {
		return database{}, err // pgx leaves the password out
	}
	config.MaxConns = int32(min(maxConns, 1<<16))
	config.MaxConnLifetime, config.MaxConnLifetimeJitter = connLifetime, connLifetime
	if config.ConnConfig.ConnectTimeout == 0 {
		config.ConnConfig.ConnectTimeout = connectTimeout
	}
	// No statement has a name, and no connection a state: behind a pooler the next statement may go over another one.
	config.ConnConfig.DefaultQueryExecMode = pgx.QueryExecModeExec
	tickets := newTickets(int(config.MaxConns))
	config.AfterConnect = func(context.Context, *pgx.Conn) error {
		return background.Try(func() error { // it is called in a goroutine of the pool's
			tickets.connected()
			return nil
		})
	}

	// Connections outlive ctx: the pool takes only its values.
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return database{}, err
	}
	sub, err := fs.Sub(migrations, "migrations/postgres")
	if err != nil {
		pool.Close()
		return database{}, err
	}
	db := stdlib.OpenDBFromPool(pool)
	p := &postgres{config: config.ConnConfig, pool: pool}
	return database{
		read:         db,
		write:        db,
		dialect:      goose.DialectPostgres,
		migrations:   sub,
		exclusive:    func(ctx context.Context) (func() error, error) { return p.lock(ctx, migrationLock) },
		settings:     byIndexAlone,
		clock:        `SELECT CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS BIGINT)`,
		ranges:       true,
		like:         " LIKE ?",
		indexKeys:    p.indexKeys,
		insertFiles:  insertFileArrays,
		search:       (*reading).searchPostgres,
		skipLocked:   ` FOR UPDATE SKIP LOCKED`,
		tickets:      tickets,
		beginReading: p.beginReading,
		forsake:      p.forsake,
		closers:      []func() error{db.Close, func() error { pool.Close(); return nil }},
	}, nil
}

// A postgres is what connects to PostgreSQL.
type postgres struct {
	config *pgx.ConnConfig
	pool   *pgxpool.Pool

	mu       sync.Mutex
	forsaken time.Time // when connections were thrown away
}

// forsake throws all connections away, at most once in forsakeInterval: those in use once they are released.
func (p *postgres) forsake() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if time.Since(p.forsaken) < forsakeInterval {
		return
	}
	p.pool.Reset()
	p.forsaken = time.Now() // behind: those that are made meanwhile are new
}

// beginReading begins a transaction to read in. A server that takes no writes is read from, and left for another one.
func (p *postgres) beginReading(ctx context.Context, conn *sql.Conn) error {
	return conn.Raw(func(driver any) error {
		readOnly, err := saysTrue(ctx, driver.(*stdlib.Conn).Conn().PgConn(), beginReading)
		if readOnly {
			p.forsake()
		}
		return err
	})
}

// saysTrue sends some statements at once, and reports whether the last one answers true.
func saysTrue(ctx context.Context, conn *pgconn.PgConn, statements string) (bool, error) {
	results, err := conn.Exec(ctx, statements).ReadAll()
	if err != nil {
		return false, err
	}
	answer := results[len(results)-1].Rows
	return len(answer) == 1 && string(answer[0][0]) == "t", nil
}

// migrationLock is the key of the advisory lock that the schema is migrated under: goose's own.
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
		if cause := sleep(ctx, backoff(0, lockRetry, lockRetry)); cause != nil {
			return nil, fmt.Errorf("%w: %w", err, cause)
		}
	}
}

// tryLock takes an advisory lock, or fails with errLocked. The lock is that of a transaction, over a connection which does nothing
// else meanwhile: a session's would stay with a connection of the pooler's. Its isolation leaves it without a snapshot, which the
// building of indexes would wait for.
func (p *postgres) tryLock(ctx context.Context, key int64) (unlock func() error, err error) {
	conn, release, err := p.lockConn(ctx)
	if err != nil {
		return nil, err
	}
	unlock = func() error {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), unlockTimeout)
		defer cancel()
		_, _ = conn.Exec(ctx, `ROLLBACK`) // it fails where the connection is gone, and the lock with it
		return release(ctx)
	}
	// Not a query with parameters: that would keep its snapshot.
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

// lockConn returns a connection of the pool's or, where that would leave none to upload with, one beside it.
func (p *postgres) lockConn(ctx context.Context) (conn *pgx.Conn, release func(context.Context) error, err error) {
	const fewConns = 2 // one to lock, one to work under the lock
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
