package database

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"tecken-upload/internal/background"
	"tecken-upload/internal/upload"
)

const (
	// indexingRetry is the pause after an attempt that failed, or met another instance'd.
	indexingRetry = time.Minute
	// indexingLock is the key of the advisory lock for making the index.
	indexingLock = 0x7465636b6b657973
)

var (
	// errNotGranted: the database does not grant the extension for the trigram index of keys.
	errNotGranted = errors.New("the database does not grant the extension pg_trgm")
	// errIndexing: another instance makes the index.
	errIndexing = fmt.Errorf("%w: another instance is indexing keys", upload.ErrUnavailable)
)

// RunIndexing makes PostgreSQL's trigram index of keys while everything else goes on. It returns nil once the index exists, or ctx ends.
// Until then a part of a key means its beginning. If the database does not grant the extension, the log says so, and the next program to
// start tries again. fault is called when an attempt fails for another reason than an unavailable database.
func (d *DB) RunIndexing(ctx context.Context, fault func(error)) error {
	for {
		err := d.IndexKeys(ctx)
		switch {
		case err == nil:
			return nil
		case errors.Is(err, errNotGranted):
			d.options.Logger.WarnContext(ctx, "the API looks for keys by their beginnings alone", "err", err)
			return nil
		case !errors.Is(err, upload.ErrUnavailable) && ctx.Err() == nil:
			fault(err)
		}
		if background.Sleep(ctx, indexingRetry) != nil {
			return nil
		}
	}
}

// KeysIndexed reports whether any part of a key can be looked for, not only its beginning.
func (d *DB) KeysIndexed() bool { return d.indexKeys == nil || d.indexed.Load() }

// IndexKeys makes the trigram index of keys, unless it exists or another instance makes it. It has no time limit, and uses one connection.
func (d *DB) IndexKeys(ctx context.Context) error {
	if d.indexKeys == nil {
		return nil
	}
	err := d.bounded(ctx, migrateTimeout, "index the keys of files", func(ctx context.Context) error { return d.indexKeys(ctx, d) })
	if err == nil {
		d.indexed.Store(true)
	}
	return err
}

// indexKeys makes the index, one instance at a time. The invalid remains of an interrupted attempt are dropped first.
func (p *postgres) indexKeys(ctx context.Context, d *DB) (err error) {
	conn, err := d.write.Conn(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, conn.Close()) }() // it returns to the pool
	if there, err := keysIndexed(ctx, conn); there || err != nil {
		return err
	}
	unlock, err := p.tryLock(ctx, indexingLock)
	if errors.Is(err, errLocked) {
		return errIndexing
	}
	if err != nil {
		return err
	}
	defer func() { _ = unlock() }() // fails if the connection has ended, and the lock with it
	start := time.Now()
	if err := makeKeysIndex(ctx, conn); err != nil {
		return err
	}
	d.options.Logger.InfoContext(ctx, "keys of files indexed", "elapsed", time.Since(start))
	return nil
}

// keysIndexed reports whether the index exists.
func keysIndexed(ctx context.Context, conn *sql.Conn) (there bool, err error) {
	err = conn.QueryRowContext(ctx, `SELECT EXISTS (SELECT FROM pg_index WHERE indexrelid = to_regclass('files_keys') AND indisvalid)`).Scan(&there)
	return there, err
}

// makeKeysIndex makes the index, and the extension if it is missing, in whichever schema that is.
func makeKeysIndex(ctx context.Context, conn *sql.Conn) error {
	if _, err := conn.ExecContext(ctx, `CREATE EXTENSION IF NOT EXISTS pg_trgm`); err != nil {
		return granted(err)
	}
	var opclass string
	err := conn.QueryRowContext(ctx, `
		SELECT quote_ident(nspname) || '.gin_trgm_ops' FROM pg_extension JOIN pg_namespace n ON n.oid = extnamespace WHERE extname = 'pg_trgm'`).Scan(&opclass)
	if err != nil {
		return err
	}
	if _, err := conn.ExecContext(ctx, `DROP INDEX CONCURRENTLY IF EXISTS files_keys`); err != nil {
		return err
	}
	_, err = conn.ExecContext(ctx, `CREATE INDEX CONCURRENTLY files_keys ON files USING gin (folded_key `+opclass+`) WHERE state = 'uploaded'`)
	return granted(err)
}

// granted wraps an error about missing rights or a missing extension in errNotGranted.
func granted(err error) error {
	if e, ok := errors.AsType[*pgconn.PgError](err); ok {
		switch e.Code {
		case "42501", "0A000", "58P01": // insufficient_privilege, feature_not_supported, undefined_file
			return fmt.Errorf("%w: %w", errNotGranted, err)
		}
	}
	return err
}
