package record_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"

	"tecken-upload/internal/catalogue"
	"tecken-upload/internal/record"
	"tecken-upload/internal/symbol"
	"tecken-upload/internal/testenv"
	"tecken-upload/internal/upload"
)

var _ upload.Records = (*record.Store)(nil)

// bothDatabases runs a test against a new database of both kinds.
func bothDatabases(t *testing.T, test func(t *testing.T, url string)) {
	t.Run("SQLite", func(t *testing.T) { test(t, sqliteURL(t)) })
	t.Run("PostgreSQL", func(t *testing.T) { test(t, testenv.Postgres(t)) })
}

// eachDatabase is bothDatabases plus PostgreSQL behind a pooler.
func eachDatabase(t *testing.T, test func(t *testing.T, url string)) {
	bothDatabases(t, test)
	t.Run("PgBouncer", func(t *testing.T) { test(t, testenv.PgBouncer(t)) })
}

func sqliteURL(t *testing.T) string {
	return "sqlite:" + filepath.Join(t.TempDir(), "a folder", "tecken.db")
}

// databases are those of the open Stores, over connections of the tests' own.
var databases sync.Map

// raw returns s's database.
func raw(t testing.TB, s *record.Store) *sql.DB {
	t.Helper()
	db, ok := databases.Load(s)
	if !ok {
		t.Fatal("the Store is not from open")
	}
	return db.(*sql.DB)
}

// openRaw opens a database past the Store.
func openRaw(t testing.TB, address string) *sql.DB {
	t.Helper()
	if path, ok := strings.CutPrefix(address, "sqlite:"); ok {
		db, err := sql.Open("sqlite", "file:"+(&url.URL{Path: path}).EscapedPath()+"?_txlock=immediate&_busy_timeout=5000&_foreign_keys=1")
		if err != nil {
			t.Fatal(err)
		}
		return db
	}
	config, err := pgx.ParseConfig(address)
	if err != nil {
		t.Fatal(err)
	}
	config.DefaultQueryExecMode = pgx.QueryExecModeExec // a pooler may be in between
	return stdlib.OpenDB(*config)
}

// open returns a Store without a migration.
func open(t testing.TB, url string, opts record.Options) *record.Store {
	t.Helper()
	s, err := record.Open(t.Context(), url, opts)
	if err != nil {
		t.Fatal(err)
	}
	db := openRaw(t, url)
	databases.Store(s, db)
	t.Cleanup(func() {
		databases.Delete(s)
		if err := errors.Join(db.Close(), s.Close()); err != nil {
			t.Error(err)
		}
	})
	return s
}

// setClock stops the clock of s's database.
func setClock(s *record.Store, at time.Time) {
	s.Clock = fmt.Sprintf(`CAST(%d AS BIGINT)`, at.UnixMicro())
}

func openMigrated(t testing.TB, url string, opts record.Options) *record.Store {
	t.Helper()
	s := open(t, url, opts)
	if opts.Now != nil {
		setClock(s, opts.Now())
	}
	if err := s.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	indexed(t, s)
	return s
}

// noFault fails a test on a fault.
func noFault(t testing.TB) func(error) {
	return func(err error) { t.Error(err) }
}

// indexed makes s's trigram index of keys.
func indexed(t testing.TB, s *record.Store) {
	t.Helper()
	if err := s.RunIndexing(t.Context(), noFault(t)); err != nil {
		t.Fatal(err)
	}
}

// exec runs SQL past the Store.
func exec(t *testing.T, s *record.Store, statement string, args ...any) {
	t.Helper()
	if _, err := raw(t, s).ExecContext(t.Context(), statement, args...); err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
}

// newToken makes a token that may upload.
func newToken(t *testing.T, s *record.Store) upload.Token {
	t.Helper()
	_, tok, err := s.CreateToken(t.Context(), record.TokenSpec{
		User: "ci@example.com", Permissions: []upload.Permission{upload.PermissionUpload}, Weight: 1,
	})
	if err != nil {
		t.Fatal(err)
	}
	return tok
}

// begun begins an upload.
func begun(t *testing.T, s *record.Store, tok upload.Token) upload.Upload {
	t.Helper()
	u := upload.Upload{User: tok.User, TokenID: tok.ID, Bucket: "symbols", CreatedAt: time.UnixMicro(1_700_000_000_123_456).UTC()}
	if err := s.Begin(t.Context(), &u); err != nil {
		t.Fatal(err)
	}
	return u
}

func mustKey(t *testing.T, name string) symbol.Key {
	t.Helper()
	key, err := symbol.ParseKey(name)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// wantUpload compares s's record of an upload.
func wantUpload(t *testing.T, s *record.Store, want upload.Upload) {
	t.Helper()
	got, err := s.Status(t.Context(), want.ID)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(symbol.Key{})); diff != "" {
		t.Errorf("upload %d (-want +got)\n%s", want.ID, diff)
	}
}

// eventually waits until cond returns nil, and fails with its last error.
func eventually(t *testing.T, limit time.Duration, cond func() error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		err := cond()
		if err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("still after %v: %v", limit, err)
		}
	}
}

func TestOpenRefusesMalformedURLs(t *testing.T) {
	for _, url := range []string{
		"", "data/tecken.db", "mysql://localhost/tecken", "sqlite:", "sqlite::memory:",
		"postgres://localhost:notaport/tecken", "postgres://localhost/tecken?sslmode=perhaps",
		"sqlite:" + filepath.Join("/dev/null", "tecken.db"),
	} {
		s, err := record.Open(t.Context(), url, record.Options{})
		if err == nil {
			t.Errorf("Open(%q) succeeded", url)
			_ = s.Close()
		}
	}
}

func TestCloseLeavesNothingBehind(t *testing.T) {
	eachDatabase(t, func(t *testing.T, url string) {
		before := runtime.NumGoroutine()
		s, err := record.Open(t.Context(), url, record.Options{})
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Migrate(t.Context()); err != nil {
			t.Fatal(err)
		}
		begun(t, s, newToken(t, s))
		if err := s.Check(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		eventually(t, 10*time.Second, func() error {
			if n := runtime.NumGoroutine(); n > before {
				stacks := make([]byte, 1<<20)
				return fmt.Errorf("%d goroutines, %d before\n%s", n, before, stacks[:runtime.Stack(stacks, true)])
			}
			return nil
		})
		wantUnavailable(t, s)
	})
}

// wantUnavailable asserts that every method fails as unavailable.
func wantUnavailable(t *testing.T, s *record.Store) {
	t.Helper()
	_, _, createErr := s.CreateToken(t.Context(), record.TokenSpec{
		User: "a@example.com", Permissions: []upload.Permission{upload.PermissionUpload}, Weight: 1,
	})
	_, tokenErr := s.Token(t.Context(), upload.TokenHash{})
	_, tokensErr := s.Tokens(t.Context())
	_, uploadErr := s.Status(t.Context(), 1)
	_, recordErr := s.UploadRecord(t.Context(), 1)
	_, fileErr := s.FileRecord(t.Context(), 1)
	_, uploadsErr := s.ListUploads(t.Context(), &catalogue.UploadQuery{Limit: 1})
	_, filesErr := s.ListFiles(t.Context(), &catalogue.FileQuery{Limit: 1})
	_, statsErr := s.Stats(t.Context(), 0, time.Now())
	_, expireErr := s.Expire(t.Context(), record.Retention{})
	for name, err := range map[string]error{
		"Begin":       s.Begin(t.Context(), &upload.Upload{TokenID: 1}),
		"Finish":      s.Finish(t.Context(), &upload.Upload{ID: 1, Outcome: upload.Failed}),
		"Check":       s.Check(t.Context()),
		"RevokeToken": s.RevokeToken(t.Context(), 1),
		"CreateToken": createErr, "Token": tokenErr, "Tokens": tokensErr, "Status": uploadErr,
		"UploadRecord": recordErr, "FileRecord": fileErr, "ListUploads": uploadsErr, "ListFiles": filesErr, "Stats": statsErr, "Expire": expireErr,
	} {
		wantErr(t, name, err, upload.ErrUnavailable)
	}
}
