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
func (r *Reader) StoredFiles(ctx context.Context, u *catalogue.Upload, position int64, limit int) ([]catalogue.File, error) {
	return read(ctx, r, fmt.Sprintf("list the files of upload %d", u.ID), func(ctx context.Context, r *reading) (files []catalogue.File, err error) {
		err = r.members(ctx, []int64{u.ID}, clauses{terms: []string{"state = 'uploaded'"}}, position, listedColumns, limit, func(rows *sql.Rows) error {
			f, err := scanFile(rows)
			f.Upload = u
			files = append(files, f.File)
			return err
		})
		return files, err
	})
}

// PassedFiles returns the names of skipped and ignored members of uploads, by upload and position. A repeated ignored member counts once.
func (r *Reader) PassedFiles(ctx context.Context, q *catalogue.PassedQuery) ([]catalogue.Passed, error) {
	c := clauses{terms: []string{"state IN ('skipped', 'ignored')"}} // the index has only these
	if q.Ignored {
		c.add("state = 'ignored'")
		c.add("debug_file IS NULL")
	} else {
		c.add("state = 'skipped'")
	}
	return read(ctx, r, "list members that were passed over", func(ctx context.Context, r *reading) (passed []catalogue.Passed, err error) {
		err = r.members(ctx, q.Uploads, c, q.Behind, "upload_id, position, name", q.Limit, func(rows *sql.Rows) error {
			var p catalogue.Passed
			err := rows.Scan(&p.UploadID, &p.Position, &p.Name)
			passed = append(passed, p)
			return err
		})
		slices.SortFunc(passed, func(a, b catalogue.Passed) int {
			return cmp.Or(cmp.Compare(a.UploadID, b.UploadID), cmp.Compare(a.Position, b.Position))
		})
		return passed, err
	})
}

// members reads files: the next ones of one upload in order, after a position, or all of several uploads in any order.
func (r *reading) members(ctx context.Context, uploads []int64, filter clauses, position int64, columns string, limit int, scan func(*sql.Rows) error) error {
	term, args := among("upload_id", uploads)
	c := clauses{[]string{term}, args}
	c.and(&filter)
	query := "SELECT " + columns + " FROM files"
	if len(uploads) == 1 {
		c.add("position > ?", position)
		query += c.sql() + " ORDER BY upload_id, position LIMIT ?"
		c.args = append(c.args, limit)
	} else {
		query += c.sql()
	}
	return r.each(ctx, query, c.args, scan)
}
