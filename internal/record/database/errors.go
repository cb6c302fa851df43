package database

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"tecken-upload/internal/upload"
)

// errSlow is the cause of contexts ended by this package.
var errSlow = fmt.Errorf("%w: the database took too long", upload.ErrUnavailable)

// classify returns err with its kind and what failed. It keeps the driver's own error and the cause of an ended context in the chain.
func classify(ctx context.Context, doing string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, sql.ErrNoRows), refersToNothing(err):
		return fmt.Errorf("%s: %w", doing, upload.ErrNotFound)
	case ctx.Err() != nil:
		cause := context.Cause(ctx)
		// A cancelled context has its own cause. A deadline means that the database was waited for.
		if errors.Is(ctx.Err(), context.DeadlineExceeded) && !errors.Is(cause, upload.ErrUnavailable) {
			cause = fmt.Errorf("%w: %w", upload.ErrUnavailable, cause)
		}
		return fmt.Errorf("%s: %w (%w)", doing, cause, err)
	case isUnavailable(err):
		if fault := diskFaultOf(err); fault != "" {
			err = &upload.DiskError{Disk: upload.DiskRecords, Fault: fault, Err: err}
		}
		return fmt.Errorf("%s: %w: %w", doing, upload.ErrUnavailable, err)
	}
	return fmt.Errorf("%s: %w", doing, err)
}

// isUnavailable reports whether the database can't be reached, refuses us or is overloaded, so that a later attempt may succeed.
func isUnavailable(err error) bool {
	if _, ok := errors.AsType[*pgconn.ConnectError](err); ok {
		return true
	}
	if e, ok := errors.AsType[*pgconn.PgError](err); ok {
		return isUnavailableState(e.Code)
	}
	if e, ok := errors.AsType[*sqlite.Error](err); ok {
		return isUnavailableCode(e.Code())
	}
	return isBroken(err)
}

// isBroken reports whether the connection to the database broke.
func isBroken(err error) bool {
	if _, ok := errors.AsType[net.Error](err); ok {
		return true
	}
	if _, ok := upload.DiskFaultOf(err); ok {
		return true
	}
	return pgconn.SafeToRetry(err) || errors.Is(err, driver.ErrBadConn) || errors.Is(err, sql.ErrConnDone) ||
		errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed)
}

// isLost reports whether a connection is useless: it broke, or its server is read-only or shuts down. Another one may lead to a better
// server.
func isLost(err error) bool {
	if _, ok := errors.AsType[*pgconn.ConnectError](err); ok {
		return false
	}
	if e, ok := errors.AsType[*pgconn.PgError](err); ok {
		return e.Code == readOnlyState || e.Code == "57P01" || e.Code == "57P02" || e.Code == "57P03" || strings.HasPrefix(e.Code, "08")
	}
	return isBroken(err)
}

// An uncertainError is the error of a commit that may have succeeded.
type uncertainError struct{ error }

// Unwrap returns the database's error.
func (e *uncertainError) Unwrap() error { return e.error }

// readOnlyState is read_only_sql_transaction, from a standby or a primary that is about to be one.
const readOnlyState = "25006"

// isUnavailableState reports whether an SQLSTATE means that the database is unavailable.
// Source: https://www.postgresql.org/docs/current/errcodes-appendix.html
func isUnavailableState(code string) bool {
	switch code {
	case readOnlyState,
		"40001", "40P01", // transactions that got into each other's way
		"55P03",                            // lock_not_available
		"57014",                            // query_canceled, by a statement_timeout of the server's
		"57P01", "57P02", "57P03", "57P05": // shutting down, crashed, starting up, idle too long
		return true
	}
	// Connection exceptions; insufficient resources (connections, memory, disk); system errors.
	return strings.HasPrefix(code, "08") || strings.HasPrefix(code, "53") || strings.HasPrefix(code, "58")
}

// isUnavailableCode does the same for an (extended) result code. Source: https://www.sqlite.org/rescode.html
func isUnavailableCode(code int) bool {
	switch code & 0xff {
	case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL, // locked by another process
		sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, // the disk
		sqlite3.SQLITE_NOMEM, sqlite3.SQLITE_INTERRUPT:
		return true
	}
	return false
}

// diskFaultOf returns SQLite's fault of its file's disk, or "". PostgreSQL's disk is another machine's.
func diskFaultOf(err error) upload.DiskFault {
	e, ok := errors.AsType[*sqlite.Error](err)
	if !ok {
		fault, _ := upload.DiskFaultOf(err)
		return fault
	}
	switch e.Code() & 0xff {
	case sqlite3.SQLITE_FULL:
		return upload.FaultFull
	case sqlite3.SQLITE_READONLY:
		return upload.FaultReadOnly
	case sqlite3.SQLITE_IOERR:
		return upload.FaultIO
	}
	return ""
}

// refersToNothing reports whether a row was to be written that refers to a deleted row.
func refersToNothing(err error) bool {
	if e, ok := errors.AsType[*pgconn.PgError](err); ok {
		return e.Code == "23503" // foreign_key_violation
	}
	e, ok := errors.AsType[*sqlite.Error](err)
	return ok && e.Code() == sqlite3.SQLITE_CONSTRAINT_FOREIGNKEY
}

// isBusy reports whether another process holds SQLite's write lock.
func isBusy(err error) bool {
	e, ok := errors.AsType[*sqlite.Error](err)
	return ok && e.Code()&0xff == sqlite3.SQLITE_BUSY
}
