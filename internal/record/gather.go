package record

import (
	"context"
	"database/sql"
	"errors"
	"slices"

	"tecken-upload/internal/catalogue"
)

const (
	// uploadsOfFiles is how many uploads a page of files is looked for in.
	uploadsOfFiles = 256
	// fileGroup is how many files are read at once, where they are not of one upload.
	fileGroup = 1000
)

// filesByUpload lists files upload by upload: what is known of uploads narrows down where files are looked for.
func (s *Store) filesByUpload(ctx context.Context, q *catalogue.FileQuery) (found []listed, next string, err error) {
	after, err := listFiles.key(q.After, false, aTime, anID, aPosition)
	if err != nil {
		return nil, "", err
	}
	uploads, end, err := s.uploadsOf(ctx, q, after)
	if err != nil {
		return nil, "", err
	}
	behind := int64(-1)
	if after != nil && len(uploads) > 0 && uploads[0].ID == after[1] {
		behind = after[2].(int64)
	}
	var last *catalogue.Upload // that was looked into
	g := gathering{query: q, most: q.Limit + 1, left: s.scan, created: make(map[int64]int64)}
	for len(uploads) > 0 && len(g.files) < g.most && g.left > 0 {
		n := g.group(uploads, behind)
		if err := g.gather(ctx, s, uploads[:n], behind); err != nil {
			return nil, "", err
		}
		last, behind = &uploads[n-1], -1
		uploads = uploads[n:]
	}
	if len(g.files) == g.most {
		f := g.files[q.Limit-1]
		return g.files[:q.Limit], listFiles.cursor([]any{g.created[f.uploadID], f.uploadID, f.position}), nil
	}
	if len(uploads) > 0 {
		end = []any{last.CreatedAt.UnixMicro(), last.ID}
	}
	if end == nil {
		return g.files, "", nil
	}
	return g.files, listFiles.cursor(append(end, behindAll)), nil
}

// uploadsOf returns the next uploads that have files, beginning with that of the file at after, if there may be more in it.
// end is the key of the last upload looked at, or nil where that was the last of all.
func (s *Store) uploadsOf(ctx context.Context, q *catalogue.FileQuery, after []any) (uploads []catalogue.Upload, end []any, err error) {
	userID, ok, err := s.userOf(ctx, q.UserID, q.User)
	if err != nil || !ok {
		return nil, nil, err
	}
	of := catalogue.UploadQuery{Created: q.Created, Try: q.Try, Bucket: q.Bucket}
	_, w, err := uploadWalk(&of, userID)
	if err != nil {
		return nil, nil, err
	}
	if after != nil {
		if !q.Created.Holds(after[0].(int64)) {
			return nil, nil, catalogue.ErrCursor
		}
		w.after, w.with = after[:2], after[2] != behindAll
	}
	end, err = w.page(ctx, s, uploadColumns, uploadsOfFiles, func(rows *sql.Rows) ([]any, error) {
		u, err := scanUpload(rows)
		if files(&u) > 0 {
			uploads = append(uploads, u)
		}
		return []any{u.CreatedAt.UnixMicro(), u.ID}, err
	})
	return uploads, end, err
}

// files is how many files an upload has.
func files(u *catalogue.Upload) int { return u.Uploaded + u.Skipped + u.Ignored + u.Pending }

// A gathering collects files out of uploads.
type gathering struct {
	query   *catalogue.FileQuery
	most    int             // files to collect
	left    int             // files that may still be looked at
	created map[int64]int64 // when the uploads that were looked into began, in microseconds
	files   []listed
}

// group returns of how many uploads files are read at once: of one, in its order and no more than needed, or of
// some that have few together.
func (g *gathering) group(uploads []catalogue.Upload, behind int64) int {
	most := fileGroup
	if g.query.Size == nil {
		most = min(most, g.most-len(g.files))
	}
	n, sum := 1, files(&uploads[0])
	for behind < 0 && n < min(len(uploads), idChunk) && sum+files(&uploads[n]) <= most {
		sum += files(&uploads[n])
		n++
	}
	g.left -= sum
	return n
}

// gather reads the files of uploads, of the first one those behind a position.
func (g *gathering) gather(ctx context.Context, s *Store, uploads []catalogue.Upload, behind int64) (err error) {
	order := make(map[int64]int, len(uploads))
	ids := make([]int64, len(uploads))
	for i := range uploads {
		ids[i] = uploads[i].ID
		order[ids[i]] = i
		g.created[ids[i]] = uploads[i].CreatedAt.UnixMicro()
	}
	var c clauses
	term, args := among("upload_id", ids)
	c.add(term, args...)
	c.span("size", g.query.Size)
	query := "SELECT " + listedColumns + " FROM files"
	if len(ids) == 1 {
		c.add("position > ?", behind)
		query += c.sql() + " ORDER BY upload_id, position LIMIT ?"
		c.args = append(c.args, g.most-len(g.files))
	} else {
		query += c.sql()
	}
	rows, err := s.rows(ctx, query, c.args)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	first := len(g.files)
	for rows.Next() {
		f, err := scanFile(rows)
		if err != nil {
			return err
		}
		g.files = append(g.files, f)
	}
	slices.SortFunc(g.files[first:], func(a, b listed) int {
		if a.uploadID != b.uploadID {
			return order[a.uploadID] - order[b.uploadID]
		}
		return int(a.position - b.position)
	})
	if len(g.files) > g.most {
		g.files = g.files[:g.most]
	}
	return rows.Err()
}
