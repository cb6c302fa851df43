package record_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/pressly/goose/v3"

	"tecken-upload/internal/catalogue"
	"tecken-upload/internal/record"
	"tecken-upload/internal/testenv"
)

// migratedTo returns a Store of a database with the migrations up to one, a user, a token and two uploads of a file each: one now, one long
// ago.
func migratedTo(t *testing.T, url string, version int64) *record.Store {
	t.Helper()
	s := open(t, url, record.Options{})
	dialect, dir := goose.DialectSQLite3, "database/migrations/sqlite"
	if strings.HasPrefix(url, "postgres") {
		dialect, dir = goose.DialectPostgres, "database/migrations/postgres"
	} else if err := os.WriteFile(strings.TrimPrefix(url, "sqlite:"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	provider, err := goose.NewProvider(dialect, raw(t, s), os.DirFS(dir), goose.WithDisableGlobalRegistry(true))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := provider.UpTo(t.Context(), version); err != nil {
		t.Fatal(err)
	}
	exec(t, s, `INSERT INTO users (email, created_at) VALUES ('ci@example.com', 1)`)
	exec(t, s, `INSERT INTO tokens (user_id, hash, permissions, weight, created_at) VALUES (1, $1, 'upload_symbols', 1, 1)`, []byte("x"))
	now := time.Now().UnixMicro()
	for i, created := range []int64{now, 1_000_000} {
		exec(t, s, fmt.Sprintf(`
			INSERT INTO uploads (user_id, token_id, token_label, filename, bucket, try, format, size, created_at, ended_at, outcome, uploaded_count)
			VALUES (1, 1, '', '', '', 1 = 0, '', 7, %d, %d, 'completed', 1)`, created, created))
		exec(t, s, insertFile(i+1, 0))
	}
	return s
}

func insertFile(upload, position int) string {
	return fmt.Sprintf(`
		INSERT INTO files (upload_id, position, name, debug_file, debug_id, file, state, size, stored_size)
		VALUES (%d, %d, 'n', 'a.so', 'AA', 'a.sym', 'uploaded', 9, 5)`, upload, position)
}

func TestUpgradeKeepsAndCountsWhatIsThere(t *testing.T) {
	eachDatabase(t, func(t *testing.T, url string) {
		s := migratedTo(t, url, 1)
		// The remains of an interrupted attempt.
		if strings.HasPrefix(url, "postgres") {
			exec(t, s, `CREATE INDEX files_debug_id ON files (size)`)
		}
		if err := s.Migrate(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := allFiles(t, s, catalogue.FileQuery{Limit: 1}, nil); len(got) != 2 {
			t.Errorf("files: %v", got)
		}
		if strings.HasPrefix(url, "postgres") {
			def := column(t, s, `SELECT indexdef FROM pg_indexes WHERE indexname = 'files_debug_id'`)
			if !strings.Contains(def[0], "(debug_file, debug_id, id)") {
				t.Errorf("the index is %s", def)
			}
		}
		stats, err := s.Stats(t.Context(), 1, time.Now())
		want := catalogue.Stats{UploadsMonth: catalogue.Tally{Count: 1, Size: 7}, FilesMonth: catalogue.Tally{Count: 1, Size: 5}}
		if err != nil || stats.UploadsMonth != want.UploadsMonth || stats.FilesMonth != want.FilesMonth {
			t.Errorf("stats: %+v (%v), want %+v", stats, err, want)
		}
	})
}

// While PostgreSQL builds the indexes of files, which takes minutes for millions, uploads go on.
func TestUploadsGoOnWhileIndexesAreBuilt(t *testing.T) {
	url := testenv.Postgres(t)
	s := migratedTo(t, url, 3)
	old := open(t, url, record.Options{}) // of an instance that is not upgraded yet
	tx, err := raw(t, old).BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback() }() // no effect after a commit
	if _, err := tx.ExecContext(t.Context(), insertFile(1, 1)); err != nil {
		t.Fatal(err)
	}
	migrated := make(chan error, 1)
	go func() { migrated <- s.Migrate(t.Context()) }()
	eventually(t, testenv.Patience, func() error { // it waits for the transaction
		if waiting := column(t, old, `SELECT query FROM pg_stat_activity WHERE query LIKE 'CREATE INDEX CONCURRENTLY%' AND wait_event_type = 'Lock'`); len(waiting) != 1 {
			return fmt.Errorf("waiting: %v", waiting)
		}
		return nil
	})
	ctx, cancel := context.WithTimeout(t.Context(), testenv.Patience)
	defer cancel()
	for _, statement := range []string{insertFile(2, 1), `UPDATE uploads SET size = 8 WHERE id = 2`} {
		if _, err := raw(t, old).ExecContext(ctx, statement); err != nil {
			t.Errorf("%s: %v", statement, err)
		}
	}
	if err := tx.Commit(); err != nil {
		t.Error(err)
	}
	if err := <-migrated; err != nil {
		t.Fatal(err)
	}
	if got := allFiles(t, s, catalogue.FileQuery{Limit: 10}, nil); len(got) != 4 {
		t.Errorf("files: %v", got)
	}
}

// A backup reads for as long as it takes. A migration retries meanwhile, and delays uploads of older instances by less than their token's
// lookup may wait.
func TestUploadsGoOnWhileTheSchemaWaitsForAReader(t *testing.T) {
	url := testenv.Postgres(t)
	s := migratedTo(t, url, 1)
	old := open(t, url, record.Options{})
	backup, err := raw(t, old).BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = backup.Rollback() }() // no effect the second time
	if _, err := backup.ExecContext(t.Context(), `LOCK TABLE users, tokens, uploads, files IN ACCESS SHARE MODE`); err != nil {
		t.Fatal(err)
	}
	migrated := make(chan error, 1)
	go func() { migrated <- s.Run(t.Context(), noFault(t)) }()
	limit := 2*time.Second + testenv.Slack(t, 2*time.Second) // lock_timeout, and the time of the statements themselves
	for range 2 {                                            // attempts
		eventually(t, testenv.Patience, func() error {
			if waiting := column(t, old, `SELECT query FROM pg_stat_activity WHERE query LIKE 'ALTER TABLE%' AND wait_event_type = 'Lock'`); len(waiting) != 1 {
				return fmt.Errorf("waiting: %v", waiting)
			}
			return nil
		})
		for _, statement := range []string{`SELECT id FROM uploads WHERE id = 1`, `UPDATE uploads SET size = 8 WHERE id = 2`} {
			ctx, cancel := context.WithTimeout(t.Context(), limit)
			if _, err := raw(t, old).ExecContext(ctx, statement); err != nil {
				t.Errorf("%s: %v", statement, err)
			}
			cancel()
		}
	}
	if err := backup.Rollback(); err != nil {
		t.Error(err)
	}
	if err := <-migrated; err != nil {
		t.Fatal(err)
	}
	if left := column(t, s, `SELECT indexname FROM pg_indexes WHERE indexname IN ('uploads_created', 'uploads_user')`); len(left) != 0 {
		t.Errorf("still there: %v", left)
	}
}

// A migration waits briefly for a lock that others wait behind.
func TestMigrationsBoundTheirWaitForLocks(t *testing.T) {
	files, err := filepath.Glob("database/migrations/postgres/*.sql")
	if err != nil || len(files) < 2 {
		t.Fatal(files, err)
	}
	for _, file := range files[1:] { // the first has nothing to wait for
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		_, up, _ := strings.Cut(string(text), "-- +goose Up\n")
		bounded := strings.HasPrefix(up, "SET LOCAL lock_timeout = '2s';")
		alone := strings.Contains(string(text), "-- +goose NO TRANSACTION\n")
		if alone == bounded || alone && strings.Count(up, " INDEX ") != strings.Count(up, " INDEX CONCURRENTLY ") {
			t.Errorf("%s: it is a transaction that bounds its waits, or none and only has indexes built and dropped CONCURRENTLY", file)
		}
	}
}

func TestStats(t *testing.T) {
	eachDatabase(t, func(t *testing.T, url string) {
		s := openMigrated(t, url, atExpiry())
		tok := newToken(t, s)
		_, other, err := s.CreateToken(t.Context(), record.TokenSpec{User: "dev@example.com", Permissions: tok.Permissions, Weight: 1})
		if err != nil {
			t.Fatal(err)
		}
		now := expiryNow.Add(time.Hour)
		uploaded(t, s, tok, 0, false, true, 3)
		uploaded(t, s, tok, -time.Minute, true, true, 0)
		uploaded(t, s, tok, time.Microsecond, false, true, 2)
		uploaded(t, s, tok, 29*day, false, true, 1)
		uploaded(t, s, tok, 29*day+time.Microsecond, false, true, 1)
		uploaded(t, s, tok, -day, false, true, 1) // by a clock that is ahead
		uploaded(t, s, tok, 0, false, false, 0)
		uploaded(t, s, other, 0, false, true, 5)
		tally := func(n int64) catalogue.Tally { return catalogue.Tally{Count: n, Size: n} }
		files := func(n int64) catalogue.Tally { return catalogue.Tally{Count: n} }
		for userID, want := range map[int64]catalogue.Stats{
			tok.UserID: {UploadsToday: tally(2), UploadsYesterday: tally(1), UploadsMonth: tally(4), FilesToday: files(3), FilesYesterday: files(2), FilesMonth: files(6)},
			0:          {UploadsToday: tally(3), UploadsYesterday: tally(1), UploadsMonth: tally(5), FilesToday: files(8), FilesYesterday: files(2), FilesMonth: files(11)},
			99:         {},
		} {
			got, err := s.Stats(t.Context(), userID, now)
			if diff := cmp.Diff(want, got); diff != "" || err != nil {
				t.Errorf("of %d: %v (-want +got)\n%s", userID, err, diff)
			}
		}
	})
}
