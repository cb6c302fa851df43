package query

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"slices"

	"tecken-upload/internal/catalogue"
)

// StoredFiles returns the next stored files of an upload in its order, at most limit, after a position; -1 at the beginning.
func (r *Reader) StoredFiles(ctx context.Context, u *catalogue.Upload, behind int64, limit int) (files []catalogue.File, err error) {
	var c clauses
	c.add("upload_id = ?", u.ID)
	c.add("position > ?", behind)
	c.add("state = 'uploaded'")
	query := "SELECT " + listedColumns + " FROM files" + c.sql() + " ORDER BY upload_id, position LIMIT ?"
	err = r.read(ctx, fmt.Sprintf("list the files of upload %d", u.ID), func(ctx context.Context, r *reading) error {
		files = nil
		return r.each(ctx, query, append(c.args, limit), func(rows *sql.Rows) error {
			f, err := scanFile(rows)
			f.Upload = u
			files = append(files, f.File)
			return err
		})
	})
	return files, err
}

// PassedFiles returns the names of skipped and ignored members of uploads, by upload and position. A repeated ignored member counts once.
func (r *Reader) PassedFiles(ctx context.Context, q *catalogue.PassedQuery) (passed []catalogue.Passed, err error) {
	term, args := among("upload_id", q.Uploads)
	var c clauses
	c.add(term, args...)
	c.add("state IN ('skipped', 'ignored')") // the index has only these
	if q.Ignored {
		c.add("state = 'ignored'")
		c.add("debug_file IS NULL")
	} else {
		c.add("state = 'skipped'")
	}
	query := "SELECT upload_id, position, name FROM files"
	if len(q.Uploads) == 1 {
		c.add("position > ?", q.Behind)
		query += c.sql() + " ORDER BY upload_id, position LIMIT ?"
		c.args = append(c.args, q.Limit)
	} else {
		query += c.sql()
	}
	err = r.read(ctx, "list members that were passed over", func(ctx context.Context, r *reading) error {
		passed = nil
		return r.each(ctx, query, c.args, func(rows *sql.Rows) error {
			var p catalogue.Passed
			err := rows.Scan(&p.UploadID, &p.Position, &p.Name)
			passed = append(passed, p)
			return err
		})
	})
	slices.SortFunc(passed, func(a, b catalogue.Passed) int {
		return cmp.Or(cmp.Compare(a.UploadID, b.UploadID), cmp.Compare(a.Position, b.Position))
	})
	return passed, err
}
