package record

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"time"
)

// Options adjust a Store. The zero Options are ready for use.
type Options struct {
	MaxConns int              // bound of connections; 10 unless positive
	Logger   *slog.Logger     // nil: no log
	Now      func() time.Time // nil: time.Now
	Stale    time.Duration    // silence of an upload's process after which the upload is lost; 0: never
}

// A Store keeps records in one database. It implements upload.Records, and is safe for concurrent use.
type Store struct {
	database
	log       *slog.Logger
	now       func() time.Time
	stale     time.Duration                  // Options.Stale
	migration atomic.Pointer[error]          // result of the latest attempt to migrate
	ready     atomic.Bool                    // the schema is there, and the Store is open
	indexed   atomic.Bool                    // the trigram index of keys exists
	scan      int                            // scanLimit, less in tests
	patience  time.Duration                  // finishPatience, other in tests
	trace     func(query string, args []any) // receives the lists' statements in tests; may be nil
}

// Open returns a Store for url: "sqlite:PATH" with a relative or absolute path, or "postgres://…" as in pgx. It makes the directory of PATH. It
// makes no connection: it fails for a malformed url or a path that can't be a directory's, not for a server that is down or a disk that is
// full or read-only.
func Open(ctx context.Context, url string, opts Options) (*Store, error) {
	if opts.MaxConns <= 0 {
		opts.MaxConns = defaultMaxConns
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	var db database
	var err error
	scheme, rest, _ := strings.Cut(url, ":")
	switch scheme {
	case "sqlite":
		db, err = openSQLite(rest, opts.MaxConns)
	case "postgres", "postgresql":
		db, err = openPostgres(ctx, url, opts.MaxConns)
	default:
		// The URL itself may hold a password.
		err = errors.New("its URL is of neither scheme, sqlite or postgres")
	}
	if err != nil {
		return nil, fmt.Errorf("open the database: %w", err)
	}
	return &Store{database: db, log: opts.Logger, now: opts.Now, stale: opts.Stale, scan: scanLimit, patience: finishPatience}, nil
}

// needed are statements that change nothing. A database explains them only if it has all their tables and columns, and lets this program
// write them.
var needed = []string{
	`INSERT INTO users (email, created_at) SELECT email, created_at FROM users WHERE FALSE`,
	`INSERT INTO tokens (user_id, hash, permissions, weight, created_at, expires_at)
		SELECT user_id, hash, permissions, weight, created_at, expires_at FROM tokens WHERE FALSE`,
	`UPDATE tokens SET revoked_at = revoked_at WHERE FALSE`,
	`INSERT INTO uploads (user_id, token_id, token_label, filename, bucket, try, format, size, created_at, download_url)
		SELECT user_id, token_id, token_label, filename, bucket, try, format, size, created_at, download_url FROM uploads WHERE FALSE`,
	`UPDATE uploads SET ended_at = ended_at, outcome = outcome, error = error, uploaded_count = uploaded_count, skipped_count = skipped_count,
		ignored_count = ignored_count, pending_count = pending_count, redirect_urls = redirect_urls WHERE FALSE`,
	`DELETE FROM uploads WHERE FALSE`,
	`INSERT INTO files (` + fileColumns + `) SELECT ` + fileColumns + ` FROM files WHERE FALSE`,
	`UPDATE files SET folded_key = folded_key, folded_code_file = folded_code_file WHERE FALSE`,
	`INSERT INTO upload_days (day, user_id, upload_count, upload_size, file_count, file_size)
		SELECT day, user_id, upload_count, upload_size, file_count, file_size FROM upload_days WHERE FALSE`,
	`UPDATE upload_days SET upload_count = upload_count WHERE FALSE`,
	`DELETE FROM upload_days WHERE FALSE`,
	`INSERT INTO proofs (id, written_at) SELECT id, written_at FROM proofs WHERE FALSE`,
	`UPDATE proofs SET written_at = written_at WHERE FALSE`,
}
