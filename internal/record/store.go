package record

import (
	"context"
	"database/sql"
	"log/slog"
	"time"

	"tecken-upload/internal/record/database"
	"tecken-upload/internal/record/query"
)

const (
	// writeTimeout bounds each call that writes, except Finish. It is many times what they need.
	writeTimeout = 10 * time.Second
	// finishTimeout bounds one attempt to write an upload's end with up to 10,000 files.
	finishTimeout = 30 * time.Second
	// finishPatience is how long Finish retries while the database is unavailable. An upload at its end has cost minutes: we would rather
	// wait out a failover than have the client send it again.
	finishPatience = 5 * time.Second
	// The pauses between tries of Finish, doubled after each from the first to the last.
	firstFinishRetry = 50 * time.Millisecond
	lastFinishRetry  = 2 * time.Second
)

// Options adjust a Store. The zero Options are ready for use.
type Options struct {
	MaxConns int              // bound of connections; 10 unless positive
	Logger   *slog.Logger     // nil: no log
	Now      func() time.Time // nil: time.Now
	Stale    time.Duration    // silence of an upload's process after which the upload is lost; 0: never
}

// A Store keeps records in one database, and reads them. It implements upload.Records, and is safe for concurrent use.
type Store struct {
	*database.DB
	*query.Reader
	log      *slog.Logger
	now      func() time.Time
	patience time.Duration // finishPatience, other in tests
}

// Open returns a Store for a URL as database.Open takes it. It makes no connection.
func Open(ctx context.Context, url string, opts Options) (*Store, error) {
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	db, err := database.Open(ctx, url, database.Options{MaxConns: opts.MaxConns, Logger: opts.Logger, Needed: needed})
	if err != nil {
		return nil, err
	}
	return &Store{DB: db, Reader: query.New(db, opts.Stale), log: opts.Logger, now: opts.Now, patience: finishPatience}, nil
}

// claim calls scan for each row that a query finds by an index. It locks them, and leaves out those that another instance has locked. A writer
// of SQLite is alone.
func (s *Store) claim(ctx context.Context, tx *sql.Tx, query string, args []any, scan func(*sql.Rows) error) error {
	if s.Postgres {
		query += ` FOR UPDATE SKIP LOCKED`
		if _, err := tx.ExecContext(ctx, database.ByIndexAlone); err != nil {
			return err
		}
	}
	return database.Each(ctx, tx, query, args, scan)
}

// needed are statements that change nothing. A database explains them only if it has all their tables and columns, and lets this program
// write them.
var needed = []string{
	`INSERT INTO users (email, created_at) SELECT email, created_at FROM users WHERE FALSE`,
	`INSERT INTO tokens (user_id, hash, permissions, weight, created_at, expires_at)
		SELECT user_id, hash, permissions, weight, created_at, expires_at FROM tokens WHERE FALSE`,
	`UPDATE tokens SET revoked_at = revoked_at WHERE FALSE`,
	`INSERT INTO uploads (user_id, token_id, token_label, filename, bucket, try, format, size, created_at, download_url, seen_at)
		SELECT user_id, token_id, token_label, filename, bucket, try, format, size, created_at, download_url, seen_at FROM uploads WHERE FALSE`,
	`UPDATE uploads SET ended_at = ended_at, outcome = outcome, error = error, uploaded_count = uploaded_count, skipped_count = skipped_count,
		ignored_count = ignored_count, pending_count = pending_count, redirect_urls = redirect_urls, phase = phase, progress = progress, seen_at = seen_at WHERE FALSE`,
	`DELETE FROM uploads WHERE FALSE`,
	`INSERT INTO files (` + fileColumns + `) SELECT ` + fileColumns + ` FROM files WHERE FALSE`,
	`UPDATE files SET folded_key = folded_key, folded_code_file = folded_code_file WHERE FALSE`,
	`INSERT INTO upload_days (day, user_id, upload_count, upload_size, file_count, file_size)
		SELECT day, user_id, upload_count, upload_size, file_count, file_size FROM upload_days WHERE FALSE`,
	`UPDATE upload_days SET upload_count = upload_count WHERE FALSE`,
	`DELETE FROM upload_days WHERE FALSE`,
	`INSERT INTO staged (id, upload_id, created_at) SELECT id, upload_id, created_at FROM staged WHERE FALSE`,
	`DELETE FROM staged WHERE FALSE`,
	`INSERT INTO proofs (id, written_at) SELECT id, written_at FROM proofs WHERE FALSE`,
	`UPDATE proofs SET written_at = written_at WHERE FALSE`,
}
