package query

import (
	"context"
	"database/sql"
	"time"

	"tecken-upload/internal/catalogue"
)

// dayMicros is the length of a day in microseconds. Tallies are kept by the number of days since 1970.
const dayMicros = 24 * 60 * 60 * 1_000_000

// statsDays is the number of days of the longest statistics.
const statsDays = 30

// Stats returns the tallies of one user's uploads, or of all if userID is 0, as of now. Expired records count too.
func (r *Reader) Stats(ctx context.Context, userID int64, now time.Time) (catalogue.Stats, error) {
	today := now.UnixMicro() / dayMicros
	var c clauses
	c.add("day > ?", today-statsDays)
	c.add("day <= ?", today)
	if userID != 0 {
		c.add("user_id = ?", userID)
	}
	return read(ctx, r, "tally uploads", func(ctx context.Context, r *reading) (stats catalogue.Stats, err error) {
		err = r.each(ctx, `SELECT day, CAST(sum(upload_count) AS BIGINT), CAST(sum(upload_size) AS BIGINT),
			CAST(sum(file_count) AS BIGINT), CAST(sum(file_size) AS BIGINT) FROM upload_days`+c.sql()+` GROUP BY day`, c.args, func(rows *sql.Rows) error {
			var day int64
			var uploads, files catalogue.Tally
			err := rows.Scan(&day, &uploads.Count, &uploads.Size, &files.Count, &files.Size)
			add(&stats.UploadsMonth, uploads)
			add(&stats.FilesMonth, files)
			switch day {
			case today:
				stats.UploadsToday, stats.FilesToday = uploads, files
			case today - 1:
				stats.UploadsYesterday, stats.FilesYesterday = uploads, files
			}
			return err
		})
		return stats, err
	})
}

func add(to *catalogue.Tally, t catalogue.Tally) {
	to.Count += t.Count
	to.Size += t.Size
}
