package record

import (
	"context"
	"database/sql"
	"time"

	"tecken-upload/internal/catalogue"
)

const dayMicros = 24 * 60 * 60 * 1_000_000

// statsDays is the number of days of the longest statistics.
const statsDays = 30

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

// Stats returns the tallies of one user's uploads, or of all if userID is 0, as of now. Expired records count too.
func (s *Store) Stats(ctx context.Context, userID int64, now time.Time) (stats catalogue.Stats, err error) {
	today := now.UnixMicro() / dayMicros
	var c clauses
	c.add("day > ?", today-statsDays)
	c.add("day <= ?", today)
	if userID != 0 {
		c.add("user_id = ?", userID)
	}
	err = s.query(ctx, "tally uploads", func(ctx context.Context, r *reading) error {
		stats = catalogue.Stats{}
		rows, err := r.rows(ctx, `SELECT day, CAST(sum(upload_count) AS BIGINT), CAST(sum(upload_size) AS BIGINT),
			CAST(sum(file_count) AS BIGINT), CAST(sum(file_size) AS BIGINT) FROM upload_days`+c.sql()+` GROUP BY day`, c.args)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var day int64
			var uploads, files catalogue.Tally
			if err := rows.Scan(&day, &uploads.Count, &uploads.Size, &files.Count, &files.Size); err != nil {
				return err
			}
			add(&stats.UploadsMonth, uploads)
			add(&stats.FilesMonth, files)
			switch day {
			case today:
				stats.UploadsToday, stats.FilesToday = uploads, files
			case today - 1:
				stats.UploadsYesterday, stats.FilesYesterday = uploads, files
			}
		}
		return rows.Err()
	})
	return stats, err
}

func add(to *catalogue.Tally, t catalogue.Tally) {
	to.Count += t.Count
	to.Size += t.Size
}
