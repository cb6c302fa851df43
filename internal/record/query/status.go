package query

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"tecken-upload/internal/upload"
)

// unseenByOthers is how long an upload without any sign of life may take: an older version, which records none, has it.
const unseenByOthers = time.Hour

// silence is, in a statement, how long ago an upload's process was last known to live, in microseconds. table is empty or ends with a dot. It
// has one parameter, unseenByOthers.
func (r *Reader) silence(table string) string {
	return r.db.Clock + " - COALESCE(" + table + "seen_at, " + table + "created_at + ?)"
}

// Status returns the upload with the given id, with its files once it has ended, or upload.ErrNotFound. An upload without an end is
// upload.Lost if its process has been silent for too long.
func (r *Reader) Status(ctx context.Context, id int64) (upload.Upload, error) {
	return read(ctx, r, fmt.Sprintf("read upload %d", id), func(ctx context.Context, r *reading) (upload.Upload, error) { return r.status(ctx, id) })
}

func (r *reading) status(ctx context.Context, id int64) (u upload.Upload, err error) {
	var phase upload.Phase
	var progress float64
	var unseen int64
	query := "SELECT COALESCE(phase, ''), COALESCE(progress, 0), " + r.silence("") + ", " + uploadColumns + " FROM uploads WHERE id = ?"
	found, err := scanUpload(behind{r.row(ctx, query, []any{unseenByOthers.Microseconds(), id}), []any{&phase, &progress, &unseen}})
	if err != nil {
		return u, err
	}
	u = found.Upload
	u.Phase, u.Progress = phase, progress
	if !u.EndedAt.IsZero() {
		return u, r.each(ctx, "SELECT "+listedColumns+" FROM files WHERE upload_id = ? ORDER BY position", []any{id}, func(rows *sql.Rows) error {
			f, err := scanFile(rows)
			u.Files = append(u.Files, f.File.File)
			return err
		})
	}
	// Its files come with its end, possibly right now: half of that is not to be seen.
	if r.stale > 0 && time.Duration(unseen)*time.Microsecond > r.stale {
		u.Lose()
	}
	return u, nil
}
