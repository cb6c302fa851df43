package record

import (
	"context"
	"database/sql"
	"strings"

	"tecken-upload/internal/record/database"
	"tecken-upload/internal/upload"
)

// progressChunk is how many uploads a statement of Progress has at most.
const progressChunk = 64

// Progress records the progress of uploads in flight, and that their process lives. It skips uploads that have ended, or without a
// record.
func (s *Store) Progress(ctx context.Context, uploads []upload.Upload) error {
	return s.Change(ctx, writeTimeout, "record the progress of uploads", func(ctx context.Context, tx *sql.Tx) error {
		for len(uploads) > 0 {
			n := min(len(uploads), progressChunk)
			query, args := s.progressQuery(uploads[:n])
			if _, err := tx.ExecContext(ctx, query, args...); err != nil {
				return err
			}
			uploads = uploads[n:]
		}
		return nil
	})
}

// progressQuery returns a statement that records the progress of uploads.
func (s *Store) progressQuery(uploads []upload.Upload) (query string, args []any) {
	const row = `(CAST(? AS BIGINT), CAST(? AS BIGINT), CAST(? AS TEXT), CAST(? AS DOUBLE PRECISION), CAST(? AS TEXT), CAST(? AS TEXT), CAST(? AS BIGINT), CAST(? AS BOOLEAN))`
	for i := range uploads {
		u := &uploads[i]
		args = append(args, u.ID, database.Time(u.CreatedAt), database.Text(u.Phase), u.Progress, database.Text(u.Filename), database.Text(u.Format), u.Size, u.Try)
	}
	return database.Numbered(`
		WITH now (id, created_at, phase, progress, filename, format, size, try) AS (VALUES ` + row + strings.Repeat(`, `+row, len(uploads)-1) + `)
		UPDATE uploads SET phase = now.phase, progress = now.progress, filename = now.filename, format = now.format, size = now.size, try = now.try,
			seen_at = ` + s.Clock + `
		FROM now WHERE uploads.id = now.id AND uploads.created_at = now.created_at AND uploads.ended_at IS NULL`), args
}
