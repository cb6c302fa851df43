package query

import (
	"context"
	"database/sql"
	"time"

	"tecken-upload/internal/record/database"
)

// A Reader reads records. It is safe for concurrent use.
type Reader struct {
	Scan  int                            // bound of the rows read for one page, as New sets it
	Trace func(query string, args []any) // receives each statement; may be nil

	db    *database.DB
	stale time.Duration
	like  string // compares a text with a pattern, in which \ escapes wildcards
}

// New returns a Reader of db. An upload without an end is lost if its process has been silent for stale, unless that is 0.
func New(db *database.DB, stale time.Duration) *Reader {
	like := ` LIKE ? ESCAPE '\'`
	if db.Postgres {
		like = " LIKE ?" // \ is its default
	}
	return &Reader{db: db, stale: stale, like: like, Scan: scanLimit}
}

// A reading is what one call reads.
type reading struct {
	*Reader
	conn database.Conn
}

// read returns what fn reads. doing is for the error. fn is run again if its connection is lost.
func read[T any](ctx context.Context, r *Reader, doing string, fn func(context.Context, *reading) (T, error)) (result T, err error) {
	err = r.db.Read(ctx, doing, func(ctx context.Context, conn database.Conn) (err error) {
		result, err = fn(ctx, &reading{r, conn})
		return err
	})
	return result, err
}

// traced returns a query with "?" for its parameters as the database takes it.
func (r *reading) traced(query string, args []any) string {
	query = database.Numbered(query)
	if r.Trace != nil {
		r.Trace(query, args)
	}
	return query
}

// rows runs a query with "?" for its parameters.
func (r *reading) rows(ctx context.Context, query string, args []any) (*sql.Rows, error) {
	return r.conn.QueryContext(ctx, r.traced(query, args), args...)
}

// row is rows for a query with one row.
func (r *reading) row(ctx context.Context, query string, args []any) *sql.Row {
	return r.conn.QueryRowContext(ctx, r.traced(query, args), args...)
}

// each calls scan for each row of a query with "?" for its parameters.
func (r *reading) each(ctx context.Context, query string, args []any, scan func(*sql.Rows) error) error {
	return database.Each(ctx, r.conn, r.traced(query, args), args, scan)
}
