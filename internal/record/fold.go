package record

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"

	"tecken-upload/internal/background"
	"tecken-upload/internal/record/database"
	"tecken-upload/internal/symbol"
	"tecken-upload/internal/upload"
)

// Names of older records are folded slowly: lookups find them as they were recorded.
const (
	// foldFiles is the number of files folded in one transaction.
	foldFiles = 500
	// foldPause is the least pause after a transaction. The pause is also at least foldRest times the transaction's time.
	foldPause = 100 * time.Millisecond
	foldRest  = 4
	// foldInterval is the time between two passes: older instances may still record files.
	foldInterval = time.Hour
	// foldRetry is the pause after a failed pass.
	foldRetry = time.Minute
)

// foldedNames returns the folded forms of a file's key and of the name for lookups by its code id. They are NULL for an ignored member; the
// latter also without a code id.
func foldedNames(debugFile, debugID, file, codeFile, codeID string) (key, code any) {
	if debugFile == "" {
		return nil, nil
	}
	if codeID != "" {
		code = database.Text(symbol.Fold(cmp.Or(codeFile, debugFile)))
	}
	return database.Text(symbol.Fold(debugFile + "/" + debugID + "/" + file)), code
}

// RunFolding folds the names in records of older versions until ctx ends, and returns nil. Any number of instances may share a database.
// fault is called when a pass fails for another reason than an unavailable database.
func (s *Store) RunFolding(ctx context.Context, fault func(error)) error {
	for {
		start, pause := time.Now(), foldInterval
		folded, err := s.Fold(ctx)
		if folded > 0 {
			s.log.InfoContext(ctx, "names of older records folded", "files", folded, "elapsed", time.Since(start))
		}
		if err != nil {
			pause = foldRetry
			if !errors.Is(err, upload.ErrUnavailable) && ctx.Err() == nil {
				fault(err)
			}
		}
		if background.Sleep(ctx, pause) != nil {
			return nil
		}
	}
}

// Fold folds the names in all records of older versions, newest first, and returns their number. It folds a few at a time with pauses; if
// interrupted, the next call continues.
func (s *Store) Fold(ctx context.Context) (folded int, err error) {
	before := int64(1<<63 - 1) // rows above it are done
	for {
		start, n, last := time.Now(), 0, before
		err := s.Change(ctx, finishTimeout, "fold the names of older records", func(ctx context.Context, tx *sql.Tx) error {
			files, err := s.unfolded(ctx, tx, before)
			if n = len(files); err != nil || n == 0 {
				return err
			}
			last = files[n-1].id
			return fold(ctx, tx, files)
		})
		if err != nil || n == 0 {
			return folded, err
		}
		before = last
		folded += n
		if err := background.Sleep(ctx, max(foldPause, foldRest*time.Since(start))); err != nil {
			return folded, fmt.Errorf("fold the names of older records: %w", err)
		}
	}
}

// unfolded is a file's record without folded names.
type unfolded struct {
	id                                         int64
	debugFile, debugID, file, codeFile, codeID string
}

// unfolded reads the next records to fold, below an id.
func (s *Store) unfolded(ctx context.Context, tx *sql.Tx, before int64) (files []unfolded, err error) {
	const query = `
		SELECT id, debug_file, debug_id, file, COALESCE(code_file, ''), COALESCE(code_id, '') FROM files
		WHERE folded_key IS NULL AND debug_file IS NOT NULL AND id < $1 ORDER BY folded_key DESC, id DESC LIMIT $2`
	err = s.claim(ctx, tx, query, []any{before, foldFiles}, func(rows *sql.Rows) error {
		var f unfolded
		err := rows.Scan(&f.id, &f.debugFile, &f.debugID, &f.file, &f.codeFile, &f.codeID)
		files = append(files, f)
		return err
	})
	return files, err
}

// fold records folded names, in one statement: a round trip for each file would take longer than all the rest.
func fold(ctx context.Context, tx *sql.Tx, files []unfolded) error {
	args := make([]any, 0, 3*len(files))
	for i := range files {
		f := &files[i]
		key, code := foldedNames(f.debugFile, f.debugID, f.file, f.codeFile, f.codeID)
		args = append(args, f.id, key, code)
	}
	values := strings.Repeat(", (CAST(? AS BIGINT), CAST(? AS TEXT), CAST(? AS TEXT))", len(files))
	_, err := tx.ExecContext(ctx, database.Numbered(`
		UPDATE files SET folded_key = v.column2, folded_code_file = v.column3
		FROM (VALUES `+values[2:]+`) AS v WHERE files.id = v.column1`), args...)
	return err
}
