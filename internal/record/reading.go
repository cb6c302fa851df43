package record

import (
	"context"
	"database/sql"
	"errors"
)

// A reading reads from the database. On PostgreSQL all its statements are in one transaction with its own settings, since a pooler may
// change connections between transactions.
type reading struct {
	*Store
	conn interface {
		QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
		QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
		ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
	}
}

// query runs fn, which reads, within queryTimeout. doing is for the error. fn is run again if its connection is lost.
func (s *Store) query(ctx context.Context, doing string, fn func(context.Context, *reading) error) error {
	return s.bounded(ctx, queryTimeout, doing, func(ctx context.Context) error {
		if s.beginReading == nil {
			return fn(ctx, &reading{s, s.read})
		}
		return s.transaction(ctx, fn)
	})
}

// transaction runs fn in a transaction of its own.
func (s *Store) transaction(ctx context.Context, fn func(context.Context, *reading) error) (err error) {
	conn, err := s.read.Conn(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, conn.Close()) }() // the pool closes a connection that is still in a transaction
	if err := s.beginReading(ctx, conn); err != nil {
		return err
	}
	if err := fn(ctx, &reading{s, conn}); err != nil {
		_, _ = conn.ExecContext(ctx, `ROLLBACK`) // no effect if the connection is gone
		return err
	}
	_, err = conn.ExecContext(ctx, `COMMIT`)
	return err
}

// rows runs a query with "?" for its parameters.
func (r *reading) rows(ctx context.Context, query string, args []any) (*sql.Rows, error) {
	query = numbered(query)
	if r.trace != nil {
		r.trace(query, args)
	}
	return r.conn.QueryContext(ctx, query, args...)
}

// row is rows for a query with one row.
func (r *reading) row(ctx context.Context, query string, args []any) *sql.Row {
	query = numbered(query)
	if r.trace != nil {
		r.trace(query, args)
	}
	return r.conn.QueryRowContext(ctx, query, args...)
}

// each calls scan for each row of a query with "?" for its parameters.
func (r *reading) each(ctx context.Context, query string, args []any, scan func(*sql.Rows) error) (err error) {
	rows, err := r.rows(ctx, query, args)
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
