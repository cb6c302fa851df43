package record_test

import (
	"context"
	"database/sql"
	"errors"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tecken-upload/internal/record"
	"tecken-upload/internal/testenv"
	"tecken-upload/internal/upload"
)

func TestNothingWorksBeforeMigration(t *testing.T) {
	eachDatabase(t, func(t *testing.T, url string) {
		s := open(t, url, record.Options{})
		start := time.Now()
		wantUnavailable(t, s)
		if elapsed := time.Since(start); elapsed > testenv.Slack(t, time.Second) {
			t.Errorf("it took %v to say so", elapsed)
		}
		if err := s.Migrate(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := s.Check(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

func TestMigrateAgain(t *testing.T) {
	eachDatabase(t, func(t *testing.T, url string) {
		s := openMigrated(t, url, record.Options{MaxConns: 1})
		u := begun(t, s, newToken(t, s))
		if err := s.Migrate(t.Context()); err != nil {
			t.Fatal(err)
		}
		wantUpload(t, s, u)
		wantUpload(t, openMigrated(t, url, record.Options{MaxConns: 1}), u)
	})
}

func TestMigrateByManyAtOnce(t *testing.T) {
	eachDatabase(t, func(t *testing.T, url string) {
		stores := make([]*record.Store, 6)
		for i := range stores {
			stores[i] = open(t, url, record.Options{})
		}
		var wg sync.WaitGroup
		for _, s := range stores {
			wg.Go(func() {
				if err := s.Migrate(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		tok := newToken(t, stores[0])
		for _, s := range stores {
			begun(t, s, tok)
		}
		versions := column(t, stores[0], `SELECT version_id FROM goose_db_version ORDER BY id`)
		if want := migrationVersions(t); !slices.Equal(versions, want) {
			t.Errorf("migrations applied: %v, want %v", versions, want)
		}
	})
}

// During an upgrade older instances meet the newer schema.
func TestNewerSchemaIsToleratedAndKept(t *testing.T) {
	eachDatabase(t, func(t *testing.T, url string) {
		newer := openMigrated(t, url, record.Options{})
		tok := newToken(t, newer)
		exec(t, newer, `ALTER TABLE uploads ADD COLUMN colour TEXT`)
		exec(t, newer, `INSERT INTO goose_db_version (version_id, is_applied) VALUES ($1, $2)`, 9999, true)

		s := openMigrated(t, url, record.Options{})
		u := begun(t, s, tok)
		u.Outcome, u.EndedAt = upload.Completed, u.CreatedAt
		if err := s.Finish(t.Context(), &u); err != nil {
			t.Fatal(err)
		}
		wantUpload(t, s, u)
		versions := column(t, s, `SELECT version_id FROM goose_db_version ORDER BY id`)
		if want := append(migrationVersions(t), "9999"); !slices.Equal(versions, want) {
			t.Errorf("migrations applied: %v, want %v", versions, want)
		}
	})
}

// holdLock holds PostgreSQL's lock for migrations.
func holdLock(t *testing.T, url string) (release func()) {
	tx, err := openRaw(t, url).BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.ExecContext(t.Context(), `SELECT pg_advisory_xact_lock(4097083626)`); err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := tx.Rollback(); err != nil {
			t.Error(err)
		}
	}
}

// A schema that this program can't work with is reported otherwise than a database that is away: waiting does not help.
func TestSchemasThatDoNotFit(t *testing.T) {
	eachDatabase(t, func(t *testing.T, url string) {
		exec(t, openMigrated(t, url, record.Options{}), `ALTER TABLE uploads RENAME COLUMN bucket TO pail`)
		s := open(t, url, record.Options{})
		err := s.Migrate(t.Context())
		if err == nil || errors.Is(err, upload.ErrUnavailable) || !strings.Contains(err.Error(), "version") || !errors.Is(s.Misfit(), err) {
			t.Errorf("migrate: %v; misfit: %v", err, s.Misfit())
		}
		if err := s.Migrated(t.Context()); err == nil {
			t.Error("the schema is taken for migrated")
		}
		exec(t, s, `ALTER TABLE uploads RENAME COLUMN pail TO bucket`)
		if err := errors.Join(s.Migrate(t.Context()), s.Misfit(), s.Migrated(t.Context())); err != nil {
			t.Error(err)
		}
	})
}

// Every right that the server needs is checked before it serves.
func TestRightsThatAreMissing(t *testing.T) {
	address := testenv.Postgres(t)
	admin := openMigrated(t, address, record.Options{})
	role := newRole(t, admin, "NOINHERIT")
	s := open(t, asRole(t, address, role), record.Options{})
	for _, right := range []string{"INSERT ON uploads", "UPDATE ON tokens", "DELETE ON uploads", "INSERT ON files", "SELECT ON goose_db_version"} {
		exec(t, admin, `REVOKE `+right+` FROM "`+role+`"`)
		if err := s.Migrate(t.Context()); err == nil || errors.Is(err, upload.ErrUnavailable) || s.Misfit() == nil {
			t.Errorf("without %s: migrate: %v; misfit: %v", right, err, s.Misfit())
		}
		exec(t, admin, `GRANT `+right+` TO "`+role+`"`)
	}
	if err := errors.Join(s.Migrate(t.Context()), s.Misfit()); err != nil {
		t.Error(err)
	}
}

// A wait of a migration must not keep a program from ending.
func TestMigrateWaitsForAnotherWithinItsContext(t *testing.T) {
	hold := map[string]func(t *testing.T, url string) (release func()){
		"SQLite": func(t *testing.T, url string) func() {
			lock, err := os.Create(strings.TrimPrefix(url, "sqlite:") + "-migrate")
			if err == nil {
				err = syscall.Flock(int(lock.Fd()), syscall.LOCK_EX)
			}
			if err != nil {
				t.Fatal(err)
			}
			return func() {
				if err := lock.Close(); err != nil {
					t.Error(err)
				}
			}
		},
		"PostgreSQL": holdLock, "PgBouncer": holdLock,
	}
	eachDatabase(t, func(t *testing.T, url string) {
		s := open(t, url, record.Options{})
		release := hold[path.Base(t.Name())](t, url)

		ctx, cancel := context.WithTimeoutCause(t.Context(), 100*time.Millisecond, upload.ErrShutdown)
		defer cancel()
		wantErr(t, "Migrate", s.Migrate(ctx), upload.ErrShutdown)
		wantErr(t, "Run", s.Run(ctx, noFault(t)), upload.ErrShutdown)
		wantErr(t, "Check", s.Check(t.Context()), upload.ErrUnavailable)

		release()
		if err := s.Run(t.Context(), noFault(t)); err != nil {
			t.Fatal(err)
		}
		if err := s.Check(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// Both databases have the same tables, columns and indexes.
func TestSchemasAgree(t *testing.T) {
	lite := openMigrated(t, sqliteURL(t), record.Options{})
	post := openMigrated(t, testenv.Postgres(t), record.Options{})
	liteColumns := column(t, lite, `
		SELECT m.name || '.' || c.name || CASE WHEN c."notnull" OR c.pk THEN ' NOT NULL' ELSE '' END
		FROM sqlite_master m JOIN pragma_table_info(m.name) c
		WHERE m.type = 'table' AND m.name NOT LIKE 'sqlite%' AND m.name NOT LIKE 'goose%' AND m.name NOT LIKE 'files\_keys%' ESCAPE '\' ORDER BY 1`)
	postColumns := column(t, post, `
		SELECT table_name || '.' || column_name || CASE is_nullable WHEN 'NO' THEN ' NOT NULL' ELSE '' END
		FROM information_schema.columns WHERE table_schema = 'public' AND table_name NOT LIKE 'goose%' ORDER BY 1`)
	if diff := cmp.Diff(liteColumns, postColumns); diff != "" || len(liteColumns) < 30 {
		t.Errorf("columns (-SQLite +PostgreSQL)\n%s", diff)
	}
	// To SQLite the trigram index is a table.
	liteIndexes := column(t, lite, `SELECT name FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL OR name = 'files_keys' ORDER BY 1`)
	postIndexes := column(t, post, `
		SELECT indexname FROM pg_indexes
		WHERE schemaname = 'public' AND NOT EXISTS (SELECT FROM pg_constraint WHERE conname = indexname) ORDER BY 1`)
	if diff := cmp.Diff(liteIndexes, postIndexes); diff != "" || len(liteIndexes) == 0 {
		t.Errorf("indexes (-SQLite +PostgreSQL)\n%s", diff)
	}
	// A migration exists for both, or for none.
	names := func(dir string) []string {
		found, err := filepath.Glob("database/migrations/" + dir + "/*.sql")
		if err != nil || len(found) == 0 {
			t.Fatalf("migrations of %s: %v (%v)", dir, found, err)
		}
		for i := range found {
			found[i] = filepath.Base(found[i])
		}
		return found
	}
	if diff := cmp.Diff(names("sqlite"), names("postgres")); diff != "" {
		t.Errorf("migrations (-SQLite +PostgreSQL)\n%s", diff)
	}
}

// migrationVersions returns the versions of a migrated database.
func migrationVersions(t *testing.T) []string {
	t.Helper()
	found, err := filepath.Glob("database/migrations/sqlite/*.sql")
	if err != nil || len(found) == 0 {
		t.Fatalf("migrations: %v (%v)", found, err)
	}
	versions := []string{"0"}
	for _, f := range found {
		number, _, _ := strings.Cut(filepath.Base(f), "_")
		versions = append(versions, strings.TrimLeft(number, "0"))
	}
	return versions
}

// column returns the values of a query's only column.
func column(t *testing.T, s *record.Store, query string) (values []string) {
	t.Helper()
	rows, err := raw(t, s).QueryContext(t.Context(), query)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var v sql.NullString
		if err := rows.Scan(&v); err != nil {
			t.Fatal(err)
		}
		values = append(values, v.String)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return values
}
