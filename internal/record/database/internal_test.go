package database

import (
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
	sqlite3 "modernc.org/sqlite/lib"

	"tecken-upload/internal/upload"
)

func TestClassify(t *testing.T) {
	refused := &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}
	cases := []struct {
		err         error
		unavailable bool
	}{
		{refused, true},
		{driver.ErrBadConn, true},
		{sql.ErrConnDone, true},
		{fmt.Errorf("read: %w", io.ErrUnexpectedEOF), true},
		{net.ErrClosed, true},
		{&pgconn.PgError{Code: "57P01"}, true},  // admin_shutdown
		{&pgconn.PgError{Code: "57P03"}, true},  // cannot_connect_now
		{&pgconn.PgError{Code: "53300"}, true},  // too_many_connections
		{&pgconn.PgError{Code: "53100"}, true},  // disk_full
		{&pgconn.PgError{Code: "08006"}, true},  // connection_failure
		{&pgconn.PgError{Code: "25006"}, true},  // read_only_sql_transaction
		{&pgconn.PgError{Code: "40P01"}, true},  // deadlock_detected
		{&pgconn.PgError{Code: "23505"}, false}, // unique_violation
		{&pgconn.PgError{Code: "42P01"}, false}, // undefined_table
		{errors.New("something else"), false},
		{sql.ErrNoRows, false},
	}
	for _, c := range cases {
		err := classify(t.Context(), "doing it", c.err)
		if errors.Is(err, upload.ErrUnavailable) != c.unavailable {
			t.Errorf("%v: %v", c.err, err)
		}
		if !errors.Is(err, c.err) && !errors.Is(err, upload.ErrNotFound) {
			t.Errorf("%v is lost in %v", c.err, err)
		}
	}
	if err := classify(t.Context(), "doing it", nil); err != nil {
		t.Error(err)
	}
}

// A row that refers to a deleted row, perhaps after a restore, can never be written.
func TestWhatRefersToNothingIsNotFound(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	db, err := openSQLiteDB(path, 1, url.Values{})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	_, violation := db.ExecContext(t.Context(), `CREATE TABLE a (id INTEGER PRIMARY KEY); CREATE TABLE b (a INTEGER REFERENCES a (id)); INSERT INTO b VALUES (1)`)
	for _, err := range []error{violation, &pgconn.PgError{Code: "23503"}} {
		if err := classify(t.Context(), "doing it", err); !errors.Is(err, upload.ErrNotFound) || errors.Is(err, upload.ErrUnavailable) {
			t.Errorf("%v", err)
		}
	}
}

func TestSQLiteCodes(t *testing.T) {
	for code, unavailable := range map[int]bool{
		sqlite3.SQLITE_BUSY: true, sqlite3.SQLITE_BUSY_SNAPSHOT: true, sqlite3.SQLITE_FULL: true,
		sqlite3.SQLITE_IOERR_FSYNC: true, sqlite3.SQLITE_CANTOPEN: true, sqlite3.SQLITE_READONLY: true,
		sqlite3.SQLITE_CONSTRAINT: false, sqlite3.SQLITE_CORRUPT: false, sqlite3.SQLITE_NOTADB: false, sqlite3.SQLITE_ERROR: false,
	} {
		if isUnavailableCode(code) != unavailable {
			t.Errorf("code %d: unavailable is not %v", code, unavailable)
		}
	}
}
