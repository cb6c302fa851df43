package record

import (
	"context"
	"database/sql"
	"database/sql/driver"
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
	"github.com/pressly/goose/v3/lock"
)

// The pauses between attempts to connect: the first, doubled after each failure up to the last.
const (
	firstReconnect = 50 * time.Millisecond
	lastReconnect  = 2 * time.Second
)

// errBackingOff is returned instead of trying to connect so soon after a failure.
var errBackingOff = errors.New("not connecting again yet")

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
	g := &gate{}
	config.BeforeConnect = func(context.Context, *pgx.ConnConfig) error { return g.check() }
	config.AfterConnect = func(context.Context, *pgx.Conn) error { g.succeeded(); return nil }

	// Connections outlive ctx: the pool takes only its values.
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return database{}, err
	}
	session, err := lock.NewPostgresSessionLocker(lock.WithLockTimeout(1, uint64(migrateTimeout/time.Second)))
	if err != nil {
		pool.Close()
		return database{}, err
	}
	sub, err := fs.Sub(migrations, "migrations/postgres")
	if err != nil {
		pool.Close()
		return database{}, err
	}
	db := sql.OpenDB(&connector{Connector: stdlib.GetPoolConnector(pool), gate: g})
	db.SetMaxIdleConns(0) // the pool keeps them
	return database{
		read:       db,
		write:      db,
		dialect:    goose.DialectPostgres,
		migrations: sub,
		locker:     &sessionLocker{session},
		closers:    []func() error{db.Close, func() error { pool.Close(); return nil }},
	}, nil
}

// A connector takes connections from the pool. Where the server refuses a new one it waits, for a while,
// either for the server or for a connection that another call gives back.
type connector struct {
	driver.Connector
	gate *gate
}

// Connect returns a connection of the pool's.
func (c *connector) Connect(ctx context.Context) (driver.Conn, error) {
	patience, cancel := context.WithTimeout(ctx, connectPatience)
	defer cancel()
	for {
		conn, err := c.Connector.Connect(ctx)
		if err == nil {
			return conn, nil
		}
		backingOff := errors.Is(err, errBackingOff)
		if _, refused := errors.AsType[*pgconn.ConnectError](err); !refused && !backingOff {
			return nil, err
		}
		if !backingOff {
			c.gate.failed(err)
		}
		if sleep(patience, c.gate.pause()) != nil {
			return nil, err
		}
	}
}

// A gate keeps those that need a new connection from trying all at once, and again and again, while the
// server refuses. It is open until an attempt fails, then shut for a time that grows with each failure.
type gate struct {
	mu       sync.Mutex
	failures int
	opens    time.Time
	last     error
}

// check returns an error wrapping errBackingOff while the gate is shut.
func (g *gate) check() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if time.Now().Before(g.opens) {
		return fmt.Errorf("%w: %w", errBackingOff, g.last)
	}
	return nil
}

// pause returns how long the gate stays shut.
func (g *gate) pause() time.Duration {
	g.mu.Lock()
	defer g.mu.Unlock()
	return max(time.Until(g.opens), firstReconnect)
}

func (g *gate) failed(err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	// Attempts that were under way together count as one.
	if now := time.Now(); !now.Before(g.opens) {
		g.opens = now.Add(backoff(g.failures, firstReconnect, lastReconnect))
		g.failures++
	}
	g.last = err
}

func (g *gate) succeeded() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.failures, g.opens, g.last = 0, time.Time{}, nil
}

// A sessionLocker is goose's, whose release heeds no context and would wait for ever for a server that hangs.
type sessionLocker struct{ lock.SessionLocker }

// SessionUnlock releases the lock, or gives up: it ends with the session, too.
func (l *sessionLocker) SessionUnlock(ctx context.Context, conn *sql.Conn) error {
	ctx, cancel := context.WithTimeout(ctx, unlockTimeout)
	defer cancel()
	return l.SessionLocker.SessionUnlock(ctx, conn)
}
