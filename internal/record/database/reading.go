package database

import (
	"context"
	"database/sql"
	"errors"
	"strconv"
	"strings"
)

// A Conn runs statements: a transaction, a connection or a pool.
type Conn interface {
	// QueryContext runs a query.
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	// QueryRowContext runs a query with one row.
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
	// ExecContext runs a statement without rows.
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
}

// Read runs fn, which reads, within 10 seconds. doing is for the error. fn is run again if its connection is lost. On PostgreSQL all its
// statements are in one transaction with its own settings, since a pooler may change connections between transactions.
func (d *DB) Read(ctx context.Context, doing string, fn func(context.Context, Conn) error) error {
	return d.bounded(ctx, readTimeout, doing, func(ctx context.Context) error {
		if d.beginReading == nil {
			return fn(ctx, d.read)
		}
		return d.transaction(ctx, fn)
	})
}

// transaction runs fn in a transaction of its own.
func (d *DB) transaction(ctx context.Context, fn func(context.Context, Conn) error) (err error) {
	conn, err := d.read.Conn(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, conn.Close()) }() // the pool closes a connection that is still in a transaction
	if err := d.beginReading(ctx, conn); err != nil {
		return err
	}
	if err := fn(ctx, conn); err != nil {
		_, _ = conn.ExecContext(ctx, `ROLLBACK`) // no effect if the connection is gone
		return err
	}
	_, err = conn.ExecContext(ctx, `COMMIT`)
	return err
}

// Each calls scan for each row of a query.
func Each(ctx context.Context, conn Conn, query string, args []any, scan func(*sql.Rows) error) (err error) {
	rows, err := conn.QueryContext(ctx, query, args...)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		if err := scan(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}

// Numbered writes $1, $2, … for each "?". Our statements have no other "?".
func Numbered(query string) string {
	var b strings.Builder
	for n := 1; ; n++ {
		before, after, found := strings.Cut(query, "?")
		b.WriteString(before)
		if !found {
			return b.String()
		}
		b.WriteString("$" + strconv.Itoa(n))
		query = after
	}
}
