package record

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"tecken-upload/internal/background"
	"tecken-upload/internal/symbol"
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
	err := s.change(ctx, queryTimeout, "begin an upload", func(ctx context.Context, tx *sql.Tx) error {
		return tx.QueryRowContext(ctx, `
			INSERT INTO uploads (user_id, token_id, token_label, filename, bucket, try, format, size, created_at, download_url, seen_at)
			SELECT user_id, id, $2, $3, $4, $5, $6, $7, $8, $9, `+s.clockNow()+` FROM tokens WHERE id = $1
			RETURNING id`,
			u.TokenID, text(u.TokenLabel), text(u.Filename), text(u.Bucket), u.Try, text(u.Format), u.Size, micros(u.CreatedAt),
			optional(u.DownloadURL),
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
		err := s.change(ctx, finishTimeout, fmt.Sprintf("finish upload %d", u.ID), func(ctx context.Context, tx *sql.Tx) error {
			return s.finish(ctx, tx, u)
		})
		if !errors.Is(err, upload.ErrUnavailable) || !s.ready.Load() {
			return err
		}
		if background.Sleep(patience, background.Backoff(attempt, firstReconnect, lastReconnect)) != nil {
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
		u.ID, text(u.Filename), text(u.Bucket), u.Try, text(u.Format), u.Size, micros(u.EndedAt), text(string(u.Outcome)), optional(u.Error),
		count[upload.FileUploaded], count[upload.FileSkipped], count[upload.FileIgnored], count[upload.FilePending],
		optional(u.DownloadURL), lines(u.RedirectURLs), optional(string(u.Phase)), u.Progress, micros(u.CreatedAt),
	).Scan(&userID, &created)
	if errors.Is(err, sql.ErrNoRows) {
		// It has ended, or never began, or a restore gave its id to another.
		return tx.QueryRowContext(ctx, `SELECT id FROM uploads WHERE id = $1 AND created_at = $2`, u.ID, micros(u.CreatedAt)).Scan(new(int64))
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

// insertFiles writes u's files, many in a statement, since each has to be parsed. Only a few sizes of statements are used, each prepared
// once: parsing takes as long as running.
func insertFiles(ctx context.Context, tx *sql.Tx, u *upload.Upload) error {
	next := 0
	for _, size := range []int{64, 8, 1} {
		n := (len(u.Files) - next) / size
		if err := insertFilesBy(ctx, tx, u, next, next+n*size, size); err != nil {
			return fmt.Errorf("files from %d: %w", next, err)
		}
		next += n * size
	}
	return nil
}

// insertFilesBy writes the files from first to before end, size of them at a time.
func insertFilesBy(ctx context.Context, tx *sql.Tx, u *upload.Upload, first, end, size int) error {
	if first == end {
		return nil
	}
	insert, err := tx.PrepareContext(ctx, insertFilesQuery(size))
	if err != nil {
		return err
	}
	defer insert.Close() // a statement ends with its transaction
	args := make([]any, 0, size*fileColumnCount)
	for next := first; next < end; next += size {
		args = args[:0]
		for i := next; i < next+size; i++ {
			args = appendFileValues(args, u.ID, i, &u.Files[i])
		}
		if _, err := insert.ExecContext(ctx, args...); err != nil {
			return err
		}
	}
	return nil
}

// insertFilesQuery returns a statement that inserts n files.
func insertFilesQuery(n int) string {
	var b strings.Builder
	b.WriteString("INSERT INTO files (" + fileColumns + ") VALUES ")
	for i := range n * fileColumnCount {
		switch {
		case i == 0:
			b.WriteString("($")
		case i%fileColumnCount == 0:
			b.WriteString("), ($")
		default:
			b.WriteString(", $")
		}
		b.WriteString(strconv.Itoa(i + 1))
	}
	b.WriteString(")")
	return b.String()
}

func appendFileValues(args []any, uploadID int64, position int, f *upload.File) []any {
	var md5 any
	if f.MD5 != (upload.MD5{}) {
		md5 = f.MD5[:]
	}
	key, codeFile := foldedNames(f.Key.DebugFile(), f.Key.DebugID(), f.Key.File(), f.Header.CodeFile, f.Header.CodeID)
	return append(args,
		uploadID, position, text(f.Name),
		optional(f.Key.DebugFile()), optional(f.Key.DebugID()), optional(f.Key.File()),
		text(string(f.State)), f.Size, f.StoredSize, md5,
		optional(f.Header.OS), optional(f.Header.Arch), optional(f.Header.DebugFile), optional(f.Header.DebugID),
		optional(f.Header.CodeFile), optional(f.Header.CodeID), optional(f.Header.Generator),
		key, codeFile, f.Replaced)
}

// files reads the files of an upload in order; nil if there are none.
func (r *reading) files(ctx context.Context, uploadID int64) (files []upload.File, err error) {
	rows, err := r.read.QueryContext(ctx, `
		SELECT name, COALESCE(debug_file, ''), COALESCE(debug_id, ''), COALESCE(file, ''), state, size, stored_size, replaced, md5,
			COALESCE(module_os, ''), COALESCE(module_arch, ''), COALESCE(module_debug_file, ''), COALESCE(module_debug_id, ''),
			COALESCE(code_file, ''), COALESCE(code_id, ''), COALESCE(generator, '')
		FROM files WHERE upload_id = $1 ORDER BY position`, uploadID)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var f upload.File
		var debugFile, debugID, file string
		var md5 []byte
		if err := rows.Scan(&f.Name, &debugFile, &debugID, &file, &f.State, &f.Size, &f.StoredSize, &f.Replaced, &md5,
			&f.Header.OS, &f.Header.Arch, &f.Header.DebugFile, &f.Header.DebugID,
			&f.Header.CodeFile, &f.Header.CodeID, &f.Header.Generator); err != nil {
			return nil, err
		}
		if debugFile != "" {
			if f.Key, err = symbol.NewKey(debugFile, debugID, file); err != nil {
				return nil, err
			}
		}
		copy(f.MD5[:], md5)
		files = append(files, f)
	}
	return files, rows.Err()
}
