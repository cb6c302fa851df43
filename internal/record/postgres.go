package record

import (
	"context"
	"database/sql"
	"io/fs"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"

	"tecken-upload/internal/background"
)

// byIndexAlone has the planner go through rows in an index's order where it can: every question of ours has its index,
// and wants few rows. Its own guess of how many there are is often wrong, and then it reads and sorts them all. What it
// can't avoid looks dear to it then, and is not to be compiled for that.
const byIndexAlone = `SET enable_seqscan = off; SET enable_bitmapscan = off; SET enable_sort = off; SET enable_incremental_sort = off; SET jit = off`

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
	tickets := newTickets(int(config.MaxConns))
	config.AfterConnect = func(ctx context.Context, conn *pgx.Conn) error {
		return background.Try(func() error { // it is called in a goroutine of the pool's
			tickets.connected()
			_, err := conn.Exec(ctx, byIndexAlone)
			return err
		})
	}

	// Connections outlive ctx: the pool takes only its values.
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return database{}, err
	}
	session, err := lock.NewPostgresSessionLocker(lock.WithLockTimeout(1, uint64(migrateWait/time.Second)))
	if err != nil {
		pool.Close()
		return database{}, err
	}
	sub, err := fs.Sub(migrations, "migrations/postgres")
	if err != nil {
		pool.Close()
		return database{}, err
	}
	db := stdlib.OpenDBFromPool(pool)
	return database{
		read:       db,
		write:      db,
		dialect:    goose.DialectPostgres,
		migrations: sub,
		locker:     &sessionLocker{session},
		clock:      `SELECT CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS BIGINT)`,
		ranges:     true,
		like:       " LIKE ?",
		indexKeys:  (*Store).indexKeysPostgres,
		search:     (*Store).searchPostgres,
		skipLocked: ` FOR UPDATE SKIP LOCKED`,
		tickets:    tickets,
		closers:    []func() error{db.Close, func() error { pool.Close(); return nil }},
	}, nil
}

// A sessionLocker is goose's, which would wait for ever for a server that hangs: its release heeds no context.
type sessionLocker struct{ lock.SessionLocker }

// SessionLock takes the lock, or gives up after migrateWait.
func (l *sessionLocker) SessionLock(ctx context.Context, conn *sql.Conn) error {
	ctx, cancel := context.WithTimeoutCause(ctx, migrateWait, errSlow)
	defer cancel()
	return l.SessionLocker.SessionLock(ctx, conn)
}

// SessionUnlock releases the lock, or gives up: it ends with the session, too.
func (l *sessionLocker) SessionUnlock(ctx context.Context, conn *sql.Conn) error {
	ctx, cancel := context.WithTimeout(ctx, unlockTimeout)
	defer cancel()
	return l.SessionLocker.SessionUnlock(ctx, conn)
}
