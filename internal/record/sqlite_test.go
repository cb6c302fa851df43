package record_test

import (
	"context"
	"database/sql"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"tecken-upload/internal/record"
	"tecken-upload/internal/upload"
)

func TestSQLitePragmas(t *testing.T) {
	s := openMigrated(t, sqliteURL(t), record.Options{})
	for pragma, want := range map[string]string{
		"journal_mode": "wal",
		"synchronous":  "2", // FULL
		"foreign_keys": "1",
		"busy_timeout": "250",
	} {
		if got := written(t, s, "PRAGMA "+pragma); got != want {
			t.Errorf("%s is %s, want %s", pragma, got, want)
		}
	}
}

// written returns the answer of a statement over the connection that s writes with.
func written(t *testing.T, s *record.Store, statement string) (answer string) {
	t.Helper()
	err := s.Change(t.Context(), time.Minute, statement, func(ctx context.Context, tx *sql.Tx) error {
		return tx.QueryRowContext(ctx, statement).Scan(&answer)
	})
	if err != nil {
		t.Fatal(err)
	}
	return answer
}

func TestSQLitePathsAreTakenAsTheyAre(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	for _, path := range []string{"plain.db", "./a/../b/c.db", "what?mode=memory", "100%25 #1.db", "file:x.db", filepath.Join(dir, "absolute.db"), "//" + dir + "/slashes.db"} {
		s := openMigrated(t, "sqlite:"+path, record.Options{})
		newToken(t, s)
		if _, err := os.Stat(filepath.Clean(path)); err != nil {
			t.Errorf("%s: %v", path, err)
		}
	}
}

// A command makes a token while the server runs, and the reverse.
func TestSQLiteIsSharedByTwoStores(t *testing.T) {
	url := sqliteURL(t)
	server, command := openMigrated(t, url, record.Options{}), openMigrated(t, url, record.Options{})
	for _, s := range []*record.Store{server, command, server} {
		plaintext, tok, err := s.CreateToken(t.Context(), record.TokenSpec{
			User: "a@example.com", Permissions: []upload.Permission{upload.PermissionUpload}, Weight: 1,
		})
		if err != nil {
			t.Fatal(err)
		}
		hash, _, _ := upload.ParseToken(plaintext)
		wantToken(t, server, hash, tok)
		wantToken(t, command, hash, tok)
	}
}

// While another process writes, reads work and writes wait as long as their context allows.
func TestSQLiteWaitsForAnotherWriter(t *testing.T) {
	t.Parallel()
	url := sqliteURL(t)
	s, other := openMigrated(t, url, record.Options{}), openMigrated(t, url, record.Options{})
	tok := newToken(t, s)
	tx, err := raw(t, other).BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback() }()

	if tokens, err := s.Tokens(t.Context()); err != nil || len(tokens) != 1 {
		t.Errorf("reading: %v, %v", tokens, err)
	}
	ctx, cancel := context.WithTimeoutCause(t.Context(), 600*time.Millisecond, upload.ErrDeadline)
	defer cancel()
	start := time.Now()
	err = s.Begin(ctx, &upload.Upload{TokenID: tok.ID})
	wantErr(t, "Begin", err, upload.ErrUnavailable)
	wantErr(t, "Begin", err, upload.ErrDeadline)
	if elapsed := time.Since(start); elapsed < 500*time.Millisecond {
		t.Errorf("Begin waited for %v", elapsed)
	}

	begin := make(chan error, 1)
	go func() { begin <- s.Begin(t.Context(), &upload.Upload{TokenID: tok.ID}) }()
	select {
	case err := <-begin:
		t.Errorf("Begin did not wait: %v", err)
	case <-time.After(400 * time.Millisecond): // longer than SQLite's own patience
	}
	if err := tx.Rollback(); err != nil {
		t.Fatal(err)
	}
	if err := <-begin; err != nil {
		t.Error(err)
	}
}

// A full disk is not the client's fault, and nothing is half written.
func TestSQLiteFull(t *testing.T) {
	t.Parallel()
	s := openMigrated(t, sqliteURL(t), record.Options{})
	u := begun(t, s, newToken(t, s))
	written(t, s, `PRAGMA max_page_count = 1`) // the current size
	ended := u
	ended.Outcome, ended.EndedAt = upload.Completed, u.CreatedAt
	for range 1000 {
		ended.Files = append(ended.Files, upload.File{Name: strings.Repeat("x", 200), State: upload.FileIgnored})
	}
	s.SetFinishPatience(0)
	err := s.Finish(t.Context(), &ended)
	wantErr(t, "Finish", err, upload.ErrUnavailable)
	if disk, ok := errors.AsType[*upload.DiskError](err); !ok || disk.Disk != upload.DiskRecords || disk.Fault != upload.FaultFull {
		t.Errorf("Finish: %v; want the records' disk to be full", err)
	}
	wantUpload(t, s, u)

	written(t, s, `PRAGMA max_page_count = 100000`)
	if err := s.Finish(t.Context(), &ended); err != nil {
		t.Fatal(err)
	}
	wantUpload(t, s, ended)
}

// A file that can't be opened yet is waited for by Run.
func TestSQLiteBecomesReadyLater(t *testing.T) {
	t.Parallel()
	url := sqliteURL(t)
	path := strings.TrimPrefix(url, "sqlite:")
	s := open(t, url, record.Options{})
	if err := os.Mkdir(path, 0o700); err != nil { // in its place
		t.Fatal(err)
	}
	wantErr(t, "Migrate", s.Migrate(t.Context()), upload.ErrUnavailable)

	ran := make(chan error, 1)
	go func() { ran <- s.Run(t.Context(), noFault(t)) }()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := <-ran; err != nil {
		t.Fatal(err)
	}
	if err := s.Check(t.Context()); err != nil {
		t.Error(err)
	}
}

// A removed database is noticed: nothing is written to the removed file, and no empty one takes its place.
func TestSQLiteIsLost(t *testing.T) {
	t.Parallel()
	for name, lose := range map[string]func(path string) error{
		"removed": os.Remove,
		"replaced": func(path string) error {
			return errors.Join(os.Rename(path, path+".old"), os.WriteFile(path, nil, 0o600))
		},
	} {
		t.Run(name, func(t *testing.T) {
			url := sqliteURL(t)
			path := strings.TrimPrefix(url, "sqlite:")
			s := openMigrated(t, url, record.Options{})
			tok := newToken(t, s)
			if err := lose(path); err != nil {
				t.Fatal(err)
			}
			wantErr(t, "Check", s.Check(t.Context()), upload.ErrUnavailable)
			wantErr(t, "Begin", s.Begin(t.Context(), &upload.Upload{TokenID: tok.ID}), upload.ErrUnavailable)
			if info, err := os.Stat(path); err == nil && info.Size() > 0 || name == "removed" && err == nil {
				t.Errorf("something was made in its place: %v", info)
			}
		})
	}
}
