package record

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"

	"tecken-upload/internal/background"
	"tecken-upload/internal/record/database"
	"tecken-upload/internal/upload"
)

// fileColumns are the columns that Finish writes, in fileValues' order.
const fileColumns = `upload_id, position, name, debug_file, debug_id, file, state, size, stored_size, md5,
	module_os, module_arch, module_debug_file, module_debug_id, code_file, code_id, generator, folded_key, folded_code_file, replaced`

const fileColumnCount = 20

// Begin records u, without its end, and assigns u.ID. The user is the token's; a missing token is upload.ErrNotFound. A zero u.CreatedAt is
// set to now.
func (s *Store) Begin(ctx context.Context, u *upload.Upload) error {
	if u.CreatedAt.IsZero() {
		u.CreatedAt = s.now().UTC()
	}
	err := s.Change(ctx, writeTimeout, "begin an upload", func(ctx context.Context, tx *sql.Tx) error {
		return tx.QueryRowContext(ctx, `
			INSERT INTO uploads (user_id, token_id, token_label, filename, bucket, try, format, size, created_at, download_url, seen_at)
			SELECT user_id, id, $2, $3, $4, $5, $6, $7, $8, $9, `+s.Clock+` FROM tokens WHERE id = $1
			RETURNING id`,
			u.TokenID, database.Text(u.TokenLabel), database.Text(u.Filename), database.Text(u.Bucket), u.Try, database.Text(u.Format), u.Size, database.Time(u.CreatedAt),
			database.Optional(u.DownloadURL),
		).Scan(&u.ID)
	})
	if err != nil {
		u.ID = 0 // it may have been assigned before the commit failed
	}
	return err
}

// Finish records u's end, all that was learned of u since Begin, and its files. It is durable once it returns nil; for an ended upload it
// changes nothing. A zero u.EndedAt is set to now. While the database is unavailable it retries for 5 seconds, or until ctx ends.
func (s *Store) Finish(ctx context.Context, u *upload.Upload) error {
	if u.Outcome == "" {
		return fmt.Errorf("finish upload %d: it has no outcome", u.ID)
	}
	if u.EndedAt.IsZero() {
		u.EndedAt = s.now().UTC()
	}
	patience, cancel := context.WithTimeout(ctx, s.patience)
	defer cancel()
	for attempt := 0; ; attempt++ {
		err := s.Change(ctx, finishTimeout, fmt.Sprintf("finish upload %d", u.ID), func(ctx context.Context, tx *sql.Tx) error {
			return s.finish(ctx, tx, u)
		})
		if !errors.Is(err, upload.ErrUnavailable) || errors.Is(err, database.ErrNotReady) {
			return err
		}
		if background.Sleep(patience, background.Backoff(attempt, firstFinishRetry, lastFinishRetry)) != nil {
			return err
		}
	}
}

func (s *Store) finish(ctx context.Context, tx *sql.Tx, u *upload.Upload) error {
	count := make(map[upload.FileState]int)
	stored := int64(0)
	for i := range u.Files {
		count[u.Files[i].State]++
		stored += u.Files[i].StoredSize
	}
	var userID, created int64
	err := tx.QueryRowContext(ctx, `
		UPDATE uploads SET filename = $2, bucket = $3, try = $4, format = $5, size = $6, ended_at = $7, outcome = $8, error = $9,
			uploaded_count = $10, skipped_count = $11, ignored_count = $12, pending_count = $13, download_url = $14, redirect_urls = $15,
			phase = $16, progress = $17
		WHERE id = $1 AND created_at = $18 AND ended_at IS NULL
		RETURNING user_id, created_at`,
		u.ID, database.Text(u.Filename), database.Text(u.Bucket), u.Try, database.Text(u.Format), u.Size, database.Time(u.EndedAt), database.Text(u.Outcome), database.Optional(u.Error),
		count[upload.FileUploaded], count[upload.FileSkipped], count[upload.FileIgnored], count[upload.FilePending],
		database.Optional(u.DownloadURL), database.Lines(u.RedirectURLs), database.Optional(u.Phase), u.Progress, database.Time(u.CreatedAt),
	).Scan(&userID, &created)
	if errors.Is(err, sql.ErrNoRows) {
		// It has ended, or never began, or a restore gave its id to another.
		return tx.QueryRowContext(ctx, `SELECT id FROM uploads WHERE id = $1 AND created_at = $2`, u.ID, database.Time(u.CreatedAt)).Scan(new(int64))
	}
	if err != nil {
		return err
	}
	if err := s.insertFiles(ctx, tx, u); err != nil {
		return err
	}
	// Last: uploads of one user queue for this row.
	return addToDay(ctx, tx, userID, created, u.Size, count[upload.FileUploaded], stored)
}

// addToDay counts an ended upload.
func addToDay(ctx context.Context, tx *sql.Tx, userID, created, size int64, files int, stored int64) error {
	_, err := tx.ExecContext(ctx, `
		INSERT INTO upload_days AS d (day, user_id, upload_count, upload_size, file_count, file_size) VALUES ($1, $2, 1, $3, $4, $5)
		ON CONFLICT (day, user_id) DO UPDATE SET
			upload_count = d.upload_count + 1, upload_size = d.upload_size + excluded.upload_size,
			file_count = d.file_count + excluded.file_count, file_size = d.file_size + excluded.file_size`,
		created/dayMicros, userID, size, files, stored)
	return err
}

// insertFiles writes u's files.
func (s *Store) insertFiles(ctx context.Context, tx *sql.Tx, u *upload.Upload) error {
	if s.Postgres {
		return insertFileArrays(ctx, tx, u)
	}
	return insertFileRows(ctx, tx, u)
}

// rowFiles bounds the files of one statement to SQLite.
const rowFiles = 64

// insertFileRows writes u's files to SQLite, many in a statement. A statement is prepared for all chunks of one size, since parsing takes as
// long as running.
func insertFileRows(ctx context.Context, tx *sql.Tx, u *upload.Upload) error {
	var insert *sql.Stmt // ends with its transaction
	var args []any
	for first := 0; first < len(u.Files); first += rowFiles {
		files := u.Files[first:min(first+rowFiles, len(u.Files))]
		if first == 0 || len(files) < rowFiles {
			var err error
			if insert, err = tx.PrepareContext(ctx, insertFilesQuery(len(files))); err != nil {
				return err
			}
		}
		args = args[:0]
		for i := range files {
			args = appendFileValues(args, u.ID, first+i, &files[i])
		}
		if _, err := insert.ExecContext(ctx, args...); err != nil {
			return fmt.Errorf("files from %d: %w", first, err)
		}
	}
	return nil
}

// insertFilesQuery returns a statement that inserts n files.
func insertFilesQuery(n int) string {
	row := ", (?" + strings.Repeat(", ?", fileColumnCount-1) + ")"
	return "INSERT INTO files (" + fileColumns + ") VALUES " + strings.Repeat(row, n)[2:]
}

func appendFileValues(args []any, uploadID int64, position int, f *upload.File) []any {
	var md5 any
	if f.MD5 != (upload.MD5{}) {
		md5 = f.MD5[:]
	}
	key, codeFile := foldedNames(f.Key.DebugFile(), f.Key.DebugID(), f.Key.File(), f.Header.CodeFile, f.Header.CodeID)
	return append(args,
		uploadID, position, database.Text(f.Name),
		database.Optional(f.Key.DebugFile()), database.Optional(f.Key.DebugID()), database.Optional(f.Key.File()),
		database.Text(f.State), f.Size, f.StoredSize, md5,
		database.Optional(f.Header.OS), database.Optional(f.Header.Arch), database.Optional(f.Header.DebugFile), database.Optional(f.Header.DebugID),
		database.Optional(f.Header.CodeFile), database.Optional(f.Header.CodeID), database.Optional(f.Header.Generator),
		key, codeFile, f.Replaced)
}
