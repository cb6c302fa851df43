package record

import (
	"context"
	"database/sql"
	"time"

	"tecken-upload/internal/record/database"
)

// Staged records that storage is about to keep something for an upload, under an id of storage's.
func (s *Store) Staged(ctx context.Context, upload int64, id string) error {
	return s.Change(ctx, writeTimeout, "record what is staged", func(ctx context.Context, tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `INSERT INTO staged (upload_id, id, created_at) SELECT $1, $2, `+s.Clock, upload, database.Text(id)) //nolint:gosec // the clock is ours
		return err
	})
}

// Unstaged forgets all ids of an upload.
func (s *Store) Unstaged(ctx context.Context, upload int64) error {
	return s.Change(ctx, writeTimeout, "forget what is staged", func(ctx context.Context, tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `DELETE FROM staged WHERE upload_id = $1`, upload)
		return err
	})
}

// Abandoned returns the ids of uploads that have ended, whose record is gone, or whose process has been silent for longer than stale, by
// upload.
func (s *Store) Abandoned(ctx context.Context, stale time.Duration) (ids map[int64][]string, err error) {
	ids = make(map[int64][]string)
	err = s.Read(ctx, "list what is staged", func(ctx context.Context, conn database.Conn) error {
		return database.Each(ctx, conn, `
			SELECT s.upload_id, s.id FROM staged s LEFT JOIN uploads u ON u.id = s.upload_id
			WHERE u.id IS NULL OR u.ended_at IS NOT NULL OR `+s.Clock+` - COALESCE(u.seen_at, u.created_at) > $1`,
			[]any{stale.Microseconds()}, func(rows *sql.Rows) error {
				var upload int64
				var id string
				if err := rows.Scan(&upload, &id); err != nil {
					return err
				}
				ids[upload] = append(ids[upload], id)
				return nil
			})
	})
	return ids, err
}
