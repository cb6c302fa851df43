package database

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/pressly/goose/v3"
	_ "modernc.org/sqlite" // the driver "sqlite"

	"tecken-upload/internal/upload"
)

//go:embed migrations/sqlite/*.sql migrations/postgres/*.sql
var migrations embed.FS

// lockPoll is the interval of tries for another process's migration lock.
const lockPoll = 50 * time.Millisecond

// openSQLite prepares the file at path: one connection that writes, so that writers queue in this process and obey their contexts, and some
// that read beside it, as WAL mode allows. Only a migration makes the file: a lost one must not be replaced by an empty one.
func openSQLite(path string, maxConns int) (engine, error) {
	if path == "" || path == ":memory:" {
		return engine{}, errors.New("sqlite: needs the path of a file")
	}
	path = filepath.Clean(path)
	makeDir := func() error { return os.MkdirAll(filepath.Dir(path), 0o750) }
	if err := makeDir(); err != nil && !upload.MayPass(err) {
		return engine{}, err
	}
	writing := url.Values{
		"_txlock":       {"immediate"},
		"_journal_mode": {"WAL"},
		"_synchronous":  {"FULL"},
	}
	write, err := openSQLiteDB(path, 1, writing)
	if err != nil {
		return engine{}, err
	}
	read, err := openSQLiteDB(path, max(1, maxConns-1), url.Values{"_query_only": {"1"}})
	if err != nil {
		return engine{}, errors.Join(err, write.Close())
	}
	sub, err := fs.Sub(migrations, "migrations/sqlite")
	if err != nil {
		return engine{}, err
	}
	file := &sqliteFile{path: path}
	return engine{
		Clock:      `(CAST(unixepoch('subsec') * 1000000 AS BIGINT))`,
		read:       read,
		write:      write,
		dialect:    goose.DialectSQLite3,
		migrations: sub,
		exclusive: func(ctx context.Context) (func() error, error) {
			if err := makeDir(); err != nil {
				return nil, err
			}
			unlock, err := lockFile(ctx, path+"-migrate")
			if err != nil {
				return nil, err
			}
			if err := file.make(); err != nil {
				return nil, errors.Join(err, unlock())
			}
			return unlock, nil
		},
		present: file.check,
		grow:    file.grow,
		// The writer is closed last: the last connection moves the WAL into the file.
		closers: []func() error{read.Close, write.Close},
	}, nil
}

func openSQLiteDB(path string, conns int, params url.Values) (*sql.DB, error) {
	params.Set("mode", "rw")
	params.Set("_busy_timeout", strconv.FormatInt(busyTimeout.Milliseconds(), 10))
	params.Set("_foreign_keys", "1")
	params.Set("_dqs", "0")
	// A path may have characters with a meaning in a URI.
	dsn := "file:" + (&url.URL{Path: path}).EscapedPath() + "?" + params.Encode()
	db, err := sql.Open("sqlite", dsn)
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(conns)
	db.SetMaxIdleConns(conns)
	return db, nil
}

// A sqliteFile is a database's file. Connections continue to use it after it was removed or replaced by a copy; then their writes are lost.
type sqliteFile struct {
	path string
	made atomic.Pointer[fs.FileInfo]
}

// make makes a missing file, and remembers its identity.
func (s *sqliteFile) make() error {
	f, err := os.OpenFile(s.path, os.O_RDWR|os.O_CREATE, 0o640)
	if err != nil {
		return fmt.Errorf("%w: %w", upload.ErrUnavailable, err)
	}
	info, err := f.Stat()
	if err == nil {
		s.made.Store(&info)
	}
	return errors.Join(err, f.Close())
}

// check returns an error wrapping upload.ErrUnavailable if the file was removed or replaced.
func (s *sqliteFile) check() error {
	info, err := os.Stat(s.path)
	if err != nil {
		return fmt.Errorf("%w: %w", upload.ErrUnavailable, err)
	}
	if made := s.made.Load(); made == nil || !os.SameFile(*made, info) {
		return fmt.Errorf("%w: %s was replaced while it was in use; a restart takes the new one", upload.ErrUnavailable, s.path)
	}
	return nil
}

// lockFile takes a lock against other processes, and other Stores of this one. It is a file beside the database's: opening and closing that
// one would drop SQLite's own locks on it.
func lockFile(ctx context.Context, path string) (unlock func() error, err error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	tick := time.NewTicker(lockPoll)
	defer tick.Stop()
	for {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return f.Close, nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) && !errors.Is(err, syscall.EINTR) {
			return nil, errors.Join(fmt.Errorf("lock %s: %w", path, err), f.Close())
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil, errors.Join(fmt.Errorf("lock %s: %w", path, context.Cause(ctx)), f.Close())
		}
	}
}
