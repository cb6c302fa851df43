package record

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"

	"tecken-upload/internal/catalogue"
)

// uploadColumns are those of an upload's record, in the order that scanUpload reads them in.
const uploadColumns = `id, user_id, (SELECT email FROM users WHERE users.id = user_id), token_id, token_label, filename, bucket, try,
	format, size, created_at, ended_at, COALESCE(outcome, ''), COALESCE(error, ''), COALESCE(download_url, ''), COALESCE(redirect_urls, ''),
	uploaded_count, skipped_count, ignored_count, pending_count`

func scanUpload(row interface{ Scan(...any) error }) (u catalogue.Upload, err error) {
	var created, ended sql.NullInt64
	var redirects string
	err = row.Scan(&u.ID, &u.UserID, &u.User, &u.TokenID, &u.TokenLabel, &u.Filename, &u.Bucket, &u.Try,
		&u.Format, &u.Size, &created, &ended, &u.Outcome, &u.Error, &u.DownloadURL, &redirects,
		&u.Uploaded, &u.Skipped, &u.Ignored, &u.Pending)
	u.CreatedAt, u.EndedAt, u.RedirectURLs = fromMicros(created), fromMicros(ended), fromLines(redirects)
	return u, err
}

// UploadRecord returns the record of the upload with the given id, or upload.ErrNotFound.
func (s *Store) UploadRecord(ctx context.Context, id int64) (u catalogue.Upload, err error) {
	err = s.query(ctx, fmt.Sprintf("read the record of upload %d", id), func(ctx context.Context) error {
		u, err = scanUpload(s.row(ctx, "SELECT "+uploadColumns+" FROM uploads WHERE id = ?", []any{id}))
		return err
	})
	return u, err
}

// ListUploads returns a page of the uploads that q asks for. The error wraps catalogue.ErrCursor where q.After is not
// of this list. The size of an upload in progress may change: in a list by size it may be missed, or come twice.
func (s *Store) ListUploads(ctx context.Context, q *catalogue.UploadQuery) (page catalogue.Uploads, err error) {
	err = s.query(ctx, "list uploads", func(ctx context.Context) error {
		page, err = s.listUploads(ctx, q)
		return err
	})
	return page, err
}

func (s *Store) listUploads(ctx context.Context, q *catalogue.UploadQuery) (page catalogue.Uploads, err error) {
	userID, ok, err := s.userOf(ctx, q.UserID, q.User)
	if err != nil || !ok {
		return page, err
	}
	l, w, err := uploadWalk(q, userID)
	if err != nil || q.Size.Empty() || q.Created.Empty() {
		return page, err
	}
	next, err := w.page(ctx, s, uploadColumns, q.Limit, func(rows *sql.Rows) ([]any, error) {
		u, err := scanUpload(rows)
		page.Uploads = append(page.Uploads, u)
		if q.BySize {
			return []any{u.Size, u.ID}, err
		}
		return []any{u.CreatedAt.UnixMicro(), u.ID}, err
	})
	page.Next = l.cursor(next)
	return page, err
}

// userOf returns the id of the one user that a list is narrowed down to, 0 where it is not; ok is false where
// there is no such user.
func (s *Store) userOf(ctx context.Context, id int64, email string) (userID int64, ok bool, err error) {
	if email == "" {
		return id, true, nil
	}
	err = s.row(ctx, "SELECT id FROM users WHERE email = ?", []any{email}).Scan(&userID)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, false, nil
	}
	return userID, err == nil && (id == 0 || id == userID), err
}

// uploadWalk plans the way through the uploads that q asks for.
func uploadWalk(q *catalogue.UploadQuery, userID int64) (l list, w *walk, err error) {
	w = &walk{table: "uploads", reverse: !q.Ascending}
	span, other, column := q.Created, q.Size, "size"
	switch {
	case q.BySize && q.Ascending:
		l = listSizeUp
	case q.BySize:
		l = listSize
	case q.Ascending:
		l = listCreatedUp
	default:
		l = listCreated
	}
	w.key = []string{"created_at", "id"}
	if q.BySize {
		w.key[0], column = "size", "created_at"
		span, other = other, span
	}
	if span != nil {
		w.from, w.until = span.From, span.Until
	}
	if userID != 0 {
		w.key, w.same = append([]string{"user_id"}, w.key...), []any{userID}
	}
	w.filter.span(column, other)
	w.filterUploads(q.Try, q.Bucket)
	switch {
	case q.Running:
		w.filter.add("ended_at IS NULL")
	case q.Outcome != "":
		w.filter.add("outcome = ?", string(q.Outcome))
	}
	first := aTime
	if q.BySize {
		first = aSize
	}
	if w.after, err = l.key(q.After, false, first, anID); err != nil {
		return l, w, err
	}
	if w.after != nil && !span.Holds(w.after[0].(int64)) {
		return l, w, fmt.Errorf("page %.40q: %w", q.After, catalogue.ErrCursor)
	}
	return l, w, nil
}

func (w *walk) filterUploads(try *bool, bucket string) {
	if try != nil {
		w.filter.add("try = ?", *try)
	}
	if bucket != "" {
		w.filter.add("bucket = ?", bucket)
	}
}

// idChunk is how many ids a statement asks for at most.
const idChunk = 256

// among returns "column IN (?, …)" with its arguments, for at most idChunk ids. It repeats the last to fill up to one of three
// numbers, so that statements are few.
func among(column string, ids []int64) (string, []any) {
	n := idChunk
	switch {
	case len(ids) == 1:
		n = 1
	case len(ids) <= idChunk/8:
		n = idChunk / 8
	}
	args := make([]any, n)
	for i := range args {
		args[i] = ids[min(i, len(ids)-1)]
	}
	return column + " IN (" + strings.Repeat("?, ", n-1) + "?)", args
}

// uploadsByID reads the records of uploads.
func (s *Store) uploadsByID(ctx context.Context, ids []int64) (map[int64]*catalogue.Upload, error) {
	found := make(map[int64]*catalogue.Upload, len(ids))
	for len(ids) > 0 {
		n := min(len(ids), idChunk)
		if err := s.uploadChunk(ctx, ids[:n], found); err != nil {
			return nil, err
		}
		ids = ids[n:]
	}
	return found, nil
}

func (s *Store) uploadChunk(ctx context.Context, ids []int64, found map[int64]*catalogue.Upload) (err error) {
	term, args := among("id", ids)
	rows, err := s.rows(ctx, "SELECT "+uploadColumns+" FROM uploads WHERE "+term, args)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		u, err := scanUpload(rows)
		if err != nil {
			return err
		}
		found[u.ID] = &u
	}
	return rows.Err()
}
