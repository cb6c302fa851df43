package record

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"tecken-upload/internal/upload"
)

const (
	// indexingRetry is the pause after an attempt that failed, or that found another instance at it.
	indexingRetry = time.Minute
	// indexingLock is the key of the advisory lock under which the index is made.
	indexingLock = 0x7465636b6b657973
)

var (
	// errNotGranted: the database does not let this program have the extension that its index of the insides of keys needs.
	errNotGranted = errors.New("the database does not grant the extension pg_trgm")
	// errIndexing: another instance makes the index.
	errIndexing = fmt.Errorf("%w: another instance is indexing keys", upload.ErrUnavailable)
)

// RunIndexing makes PostgreSQL's index of the insides of keys, while everything else goes on, and returns nil once there is one, or ctx
// ends. Until then parts of keys are looked for at their beginnings. Where the database does not grant the extension that the index needs,
// the log says so, and the next program that starts tries again. fault is told of attempts that failed for another reason than the database
// being unavailable.
func (s *Store) RunIndexing(ctx context.Context, fault func(error)) error {
	for {
		err := s.ensureKeysIndexed(ctx)
		switch {
		case err == nil:
			return nil
		case errors.Is(err, errNotGranted):
			s.log.WarnContext(ctx, "the API looks for keys by their beginnings alone", "err", err)
			return nil
		case !errors.Is(err, upload.ErrUnavailable) && ctx.Err() == nil:
			fault(err)
		}
		if sleep(ctx, indexingRetry) != nil {
			return nil
		}
	}
}

// ensureKeysIndexed makes the index of the insides of keys, unless it is there. It takes as long as it takes, over one connection.
func (s *Store) ensureKeysIndexed(ctx context.Context) error {
	if s.indexKeys == nil {
		return nil
	}
	err := s.bounded(ctx, migrateTimeout, "index the keys of files", func(ctx context.Context) error { return s.indexKeys(ctx, s) })
	if err == nil {
		s.indexed.Store(true)
	}
	return err
}

// indexKeys makes the index, one instance at a time: what an attempt that was cut off has left is not valid, and goes first.
func (p *postgres) indexKeys(ctx context.Context, s *Store) (err error) {
	conn, err := s.write.Conn(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, conn.Close()) }() // it goes back to the pool
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
	defer func() { _ = unlock() }() // it fails where the connection has ended, and the lock with it
	start := time.Now()
	if err := makeKeysIndex(ctx, conn); err != nil {
		return err
	}
	s.log.InfoContext(ctx, "keys of files indexed", "elapsed", time.Since(start))
	return nil
}

// keysIndexed reports whether the index is there.
func keysIndexed(ctx context.Context, conn *sql.Conn) (there bool, err error) {
	err = conn.QueryRowContext(ctx, `SELECT EXISTS (SELECT FROM pg_index WHERE indexrelid = to_regclass('files_keys') AND indisvalid)`).Scan(&there)
	return there, err
}

// makeKeysIndex makes the index, and the extension where it is not there yet, in whichever schema that is.
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

// granted makes an error that says that the program may not, or that the extension is not installed, one that wraps errNotGranted.
func granted(err error) error {
	if e, ok := errors.AsType[*pgconn.PgError](err); ok {
		switch e.Code {
		case "42501", "0A000", "58P01": // insufficient_privilege, feature_not_supported, undefined_file
			return fmt.Errorf("%w: %w", errNotGranted, err)
		}
	}
	return err
}
