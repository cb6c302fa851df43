package query

import (
	"context"
	"database/sql"

	"tecken-upload/internal/record/database"
)

// AbandonedStaged returns the first ids, bytewise behind one, of what was staged by uploads that have ended, are lost or have no record.
func (r *Reader) AbandonedStaged(ctx context.Context, after string, limit int) (ids []string, err error) {
	over := "u.id IS NULL OR u.ended_at IS NOT NULL"
	args := []any{database.Text(after)}
	if r.stale > 0 {
		over += " OR " + r.silence("u.") + " > ?"
		args = append(args, unseenByOthers.Microseconds(), r.stale.Microseconds())
	}
	query := "SELECT s.id FROM staged s LEFT JOIN uploads u ON u.id = s.upload_id WHERE s.id > ? AND (" + over + ") ORDER BY s.id LIMIT ?"
	return read(ctx, r, "list what was staged", func(ctx context.Context, r *reading) (ids []string, err error) {
		err = r.each(ctx, query, append(args, limit), func(rows *sql.Rows) error {
			var id string
			err := rows.Scan(&id)
			ids = append(ids, id)
			return err
		})
		return ids, err
	})
}
