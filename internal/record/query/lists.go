package query

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strings"

	"tecken-upload/internal/catalogue"
	"tecken-upload/internal/record/database"
)

// uploadColumns are the columns of an upload's record, in scanUpload's order.
const uploadColumns = `id, user_id, (SELECT email FROM users WHERE users.id = user_id), token_id, token_label, filename, bucket, try,
	format, size, created_at, ended_at, COALESCE(outcome, ''), COALESCE(error, ''), COALESCE(download_url, ''), redirect_urls,
	uploaded_count, skipped_count, ignored_count, pending_count`

func scanUpload(row interface{ Scan(...any) error }) (u catalogue.Upload, err error) {
	err = row.Scan(&u.ID, &u.UserID, &u.User, &u.TokenID, &u.TokenLabel, &u.Filename, &u.Bucket, &u.Try,
		&u.Format, &u.Size, (*database.Time)(&u.CreatedAt), (*database.Time)(&u.EndedAt), &u.Outcome, &u.Error, &u.DownloadURL, (*database.Lines)(&u.RedirectURLs),
		&u.Uploaded, &u.Skipped, &u.Ignored, &u.Pending)
	return u, err
}

// UploadRecord returns the record of the upload with the given id, or upload.ErrNotFound.
func (r *Reader) UploadRecord(ctx context.Context, id int64) (catalogue.Upload, error) {
	return read(ctx, r, fmt.Sprintf("read the record of upload %d", id), func(ctx context.Context, r *reading) (catalogue.Upload, error) {
		return scanUpload(r.row(ctx, "SELECT "+uploadColumns+" FROM uploads WHERE id = ?", []any{id}))
	})
}

// ListUploads returns a page of the uploads that q selects. The error wraps catalogue.ErrCursor if q.After is another list'r. The size of
// an upload in progress may change: a list by size may miss it, or show it twice.
func (r *Reader) ListUploads(ctx context.Context, q *catalogue.UploadQuery) (catalogue.Uploads, error) {
	return read(ctx, r, "list uploads", func(ctx context.Context, r *reading) (catalogue.Uploads, error) { return r.listUploads(ctx, q) })
}

func (r *reading) listUploads(ctx context.Context, q *catalogue.UploadQuery) (page catalogue.Uploads, err error) {
	conditions := q.Conditions()
	l, w, err := uploadWalk(q, conditions)
	if err != nil || impossible(conditions) {
		return page, err
	}
	users, err := r.users(ctx, q.UserID, q.User)
	if err != nil || users.none {
		return page, err
	}
	w.of(users)
	skip, limit, beyond := counted(q.Skip, q.Limit)
	read, err := w.page(ctx, r, uploadColumns, skip, limit, func(rows *sql.Rows) ([]any, error) {
		u, err := scanUpload(rows)
		page.Uploads = append(page.Uploads, u)
		if q.BySize {
			return []any{u.Size, u.ID}, err
		}
		return []any{u.CreatedAt.UnixMicro(), u.ID}, err
	})
	page.Next, page.Skipped = l.cursor(read.next), read.passed
	if beyond {
		page.Skipped, page.Uploads = page.Skipped+len(page.Uploads), nil
	}
	return page, err
}

// counted returns the number of rows to skip and to read. Rows beyond the counted ones are not shown; the last counted row is read for its
// key.
func counted(skip, limit int) (int, int, bool) {
	if skip < catalogue.MaxSkip {
		return skip, limit, false
	}
	return catalogue.MaxSkip - 1, 1, true
}

// impossible reports whether no row meets conditions.
func impossible(conditions []catalogue.Condition) bool {
	return slices.ContainsFunc(conditions, func(c catalogue.Condition) bool { return c.Span.Empty() })
}

// uploadWalk plans the walk through the uploads that meet conditions, in the order that q asks for, of any user.
func uploadWalk(q *catalogue.UploadQuery, conditions []catalogue.Condition) (l list, w *walk, err error) {
	w = &walk{table: "uploads", key: []string{"created_at", "id"}, reverse: !q.Ascending}
	first := aTime
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
	if q.BySize {
		w.key[0], first = "size", aSize
	}
	var span *catalogue.Span
	for i := range conditions {
		if c := &conditions[i]; c.Span != nil && c.Column == w.key[0] { // the index serves it
			span, w.from, w.until = c.Span, c.Span.From, c.Span.Until
		} else {
			w.filter.meets(c)
		}
	}
	if w.after, err = l.key(q.After, false, first, anID); err != nil {
		return l, w, err
	}
	if w.after != nil && !span.Holds(w.after[0].(int64)) {
		return l, w, fmt.Errorf("page %.40q: %w", q.After, catalogue.ErrCursor)
	}
	return l, w, nil
}

// idChunk bounds the ids of a statement.
const idChunk = 256

// among returns "column IN (?, …)" with its arguments, for at most idChunk ids. It repeats the last id up to one of three sizes, so that
// there are few statements.
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
func (r *reading) uploadsByID(ctx context.Context, ids []int64) (map[int64]*catalogue.Upload, error) {
	found := make(map[int64]*catalogue.Upload, len(ids))
	for chunk := range slices.Chunk(ids, idChunk) {
		term, args := among("id", chunk)
		err := r.each(ctx, "SELECT "+uploadColumns+" FROM uploads WHERE "+term, args, func(rows *sql.Rows) error {
			u, err := scanUpload(rows)
			found[u.ID] = &u
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	return found, nil
}

// relatedScan is the number of uploads read to find related ones.
const relatedScan = 1000

// Related returns the newest other uploads of the same archive, judged by user, size and name: at most limit, from the last thousand of
// that size.
func (r *Reader) Related(ctx context.Context, u *catalogue.Upload, limit int) ([]catalogue.Upload, error) {
	return read(ctx, r, fmt.Sprintf("list the uploads that are related to %d", u.ID), func(ctx context.Context, r *reading) (related []catalogue.Upload, err error) {
		w := walk{table: "uploads", key: []string{"user_id", "size", "id"}, same: []any{u.UserID, u.Size}, reverse: true, scan: relatedScan}
		w.filter.add("filename = ?", u.Filename)
		w.filter.add("id <> ?", u.ID)
		_, err = w.page(ctx, r, uploadColumns, 0, limit, func(rows *sql.Rows) ([]any, error) {
			other, err := scanUpload(rows)
			related = append(related, other)
			return []any{other.ID}, err
		})
		return related, err
	})
}
