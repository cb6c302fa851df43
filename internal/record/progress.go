package record

import (
	"context"
	"database/sql"
	"fmt"
	"strconv"
	"strings"
	"time"

	"tecken-upload/internal/upload"
)

// progressChunk is how many uploads a statement of Progress has at most.
const progressChunk = 64

// Progress records the progress of uploads in flight, and that their process lives. It skips uploads that have ended, or without a
// record.
func (s *Store) Progress(ctx context.Context, uploads []upload.Upload) error {
	return s.change(ctx, queryTimeout, "record the progress of uploads", func(ctx context.Context, tx *sql.Tx) error {
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
		args = append(args, u.ID, micros(u.CreatedAt), text(string(u.Phase)), u.Progress, text(u.Filename), text(u.Format), u.Size, u.Try)
	}
	return numbered(`
		WITH now (id, created_at, phase, progress, filename, format, size, try) AS (VALUES ` + row + strings.Repeat(`, `+row, len(uploads)-1) + `)
		UPDATE uploads SET phase = now.phase, progress = now.progress, filename = now.filename, format = now.format, size = now.size, try = now.try,
			seen_at = ` + s.clockNow() + `
		FROM now WHERE uploads.id = now.id AND uploads.created_at = now.created_at AND uploads.ended_at IS NULL`), args
}

// clockNow is the database's time in a statement, in microseconds.
func (s *Store) clockNow() string {
	if s.clock == "" {
		return strconv.FormatInt(s.now().UnixMicro(), 10)
	}
	return "(" + s.clock + ")"
}

// Status returns the upload with the given id, with its files once it has ended, or upload.ErrNotFound. An upload without an end is
// upload.Lost if its process has not been seen for Options.Stale.
func (s *Store) Status(ctx context.Context, id int64) (u upload.Upload, err error) {
	err = s.query(ctx, fmt.Sprintf("read upload %d", id), func(ctx context.Context, r *reading) (err error) {
		u, err = r.status(ctx, id)
		return err
	})
	return u, err
}

func (r *reading) status(ctx context.Context, id int64) (upload.Upload, error) {
	u := upload.Upload{ID: id}
	var created, ended sql.NullInt64
	var redirects string
	var unseen int64
	err := r.row(ctx, `
		SELECT users.email, token_id, token_label, filename, bucket, try, format, size, uploads.created_at, ended_at,
			COALESCE(outcome, ''), COALESCE(error, ''), COALESCE(download_url, ''), COALESCE(redirect_urls, ''),
			COALESCE(phase, ''), COALESCE(progress, 0), `+r.clockNow()+` - COALESCE(seen_at, uploads.created_at)
		FROM uploads JOIN users ON users.id = user_id WHERE uploads.id = ?`, []any{id},
	).Scan(&u.User, &u.TokenID, &u.TokenLabel, &u.Filename, &u.Bucket, &u.Try, &u.Format, &u.Size, &created, &ended,
		&u.Outcome, &u.Error, &u.DownloadURL, &redirects, &u.Phase, &u.Progress, &unseen)
	if err != nil {
		return upload.Upload{}, err
	}
	u.CreatedAt, u.EndedAt, u.RedirectURLs = fromMicros(created), fromMicros(ended), fromLines(redirects)
	if !u.EndedAt.IsZero() {
		u.Files, err = r.files(ctx, id)
		return u, err
	}
	// Its files come with its end, possibly right now: half of that is not to be seen.
	if r.stale > 0 && time.Duration(unseen)*time.Microsecond > r.stale {
		u.Lose()
	}
	return u, nil
}
