package query

import (
	"cmp"
	"context"
	"database/sql"
	"slices"

	"tecken-upload/internal/catalogue"
)

const (
	// uploadsOfFiles is the number of uploads looked up at once, to find files in.
	uploadsOfFiles = 256
	// fileGroup is the number of files read at once from several uploads.
	fileGroup = 1000
)

// filesByUpload lists files upload by upload: filters of uploads limit where files are searched.
func (r *reading) filesByUpload(ctx context.Context, q *catalogue.FileQuery) (found []listed, read stretch, err error) {
	after, err := listFiles.key(q.After, false, aTime, anID, aPosition)
	if err != nil {
		return nil, read, err
	}
	if after != nil && !q.Created.Holds(after[0].(int64)) {
		return nil, read, catalogue.ErrCursor
	}
	files, uploads := conditionsOf(q)
	g := gathering{reading: r, clauses: files, uploads: uploads, query: q, skip: q.Skip, most: q.Limit + 1, left: r.Scan + 2*q.Skip, at: after} // each file may have its own upload
	read.next, err = g.run(ctx)
	read.passed = q.Skip - g.skip
	if len(g.files) == g.most {
		g.files = g.files[:q.Limit]
		f := g.files[q.Limit-1]
		read.next = []any{g.created[f.uploadID], f.uploadID, f.Position}
	}
	return g.files, read, err
}

// conditionsOf returns the filters of files, and those of their uploads.
func conditionsOf(q *catalogue.FileQuery) (files clauses, uploads []catalogue.Condition) {
	files.add("state = 'uploaded'")
	for _, c := range q.Conditions() {
		if c.OfUpload {
			uploads = append(uploads, c)
		} else {
			files.meets(&c)
		}
	}
	return files, uploads
}

// A holder is an upload in which files are searched.
type holder struct {
	id, created int64
	stored      int // number of its files
}

// A gathering collects files from uploads.
type gathering struct {
	*reading
	clauses // about files
	uploads []catalogue.Condition
	query   *catalogue.FileQuery
	skip    int   // files to skip
	most    int   // files to collect
	left    int   // rows of uploads and files that may still be read
	at      []any // the key of the last file read
	created map[int64]int64
	files   []listed
}

// run collects files. If it stops before it has enough, it returns the key to continue after, else nil.
func (g *gathering) run(ctx context.Context) (end []any, err error) {
	users, err := g.users(ctx, g.query.UserID, g.query.User)
	if err != nil || users.none {
		return nil, err
	}
	g.created = make(map[int64]int64)
	for {
		holders, next, err := g.holders(ctx, users)
		if err != nil {
			return nil, err
		}
		rest, err := g.collect(ctx, holders)
		if err != nil || len(g.files) == g.most || len(rest) == 0 && next == nil {
			return nil, err
		}
		if len(rest) == 0 {
			g.at = append(next, behindAll)
		}
		if g.left <= 0 {
			return g.at, nil
		}
	}
}

// holders returns the next uploads with files, beginning with that of the last file read if it may have more. next is the key of the last
// upload read, or nil at the end of all.
func (g *gathering) holders(ctx context.Context, users userSet) (holders []holder, next []any, err error) {
	_, w, err := uploadWalk(&catalogue.UploadQuery{}, g.uploads)
	if err != nil {
		return nil, nil, err
	}
	w.of(users)
	if g.at != nil {
		w.after, w.with = g.at[:2], g.at[2] != behindAll
	}
	seen := 0
	read, err := w.page(ctx, g.reading, "id, created_at, uploaded_count", 0, uploadsOfFiles, func(rows *sql.Rows) ([]any, error) {
		var h holder
		err := rows.Scan(&h.id, &h.created, &h.stored)
		if h.stored > 0 {
			holders = append(holders, h)
			g.created[h.id] = h.created
		}
		seen++
		return []any{h.created, h.id}, err
	})
	if seen < uploadsOfFiles && read.next != nil {
		seen = g.Scan // the number of uploads read to find these
	}
	g.left -= seen
	return holders, read.next, err
}

// collect skips files of uploads, then collects the following ones. It returns the uploads it did not reach.
func (g *gathering) collect(ctx context.Context, holders []holder) (rest []holder, err error) {
	behind := int64(-1)
	if g.at != nil && len(holders) > 0 && holders[0].id == g.at[1] {
		behind = g.at[2].(int64)
	}
	for first := true; len(holders) > 0 && len(g.files) < g.most && (first || g.left > 0); first = false { // progress even with little left
		n := g.group(holders, behind)
		done, at := n, int64(-1)
		if g.skip > 0 {
			done, at, err = g.pass(ctx, holders[:n], behind)
		} else {
			err = g.gather(ctx, holders[:n], behind)
		}
		if err != nil {
			return nil, err
		}
		if done > 0 {
			g.at = []any{holders[done-1].created, holders[done-1].id, behindAll}
			holders, behind = holders[done:], -1
		}
		if at >= 0 {
			g.at = []any{holders[0].created, holders[0].id, at}
			behind = at
		}
	}
	return holders, nil
}

// group returns the number of uploads to read files of at once: one, in its order and no more than needed, or several that have few
// together.
func (g *gathering) group(holders []holder, behind int64) int {
	most := fileGroup
	if len(g.terms) == 1 && g.skip == 0 {
		most = min(most, g.most-len(g.files))
	}
	n, sum := 1, holders[0].stored
	for behind < 0 && n < min(len(holders), idChunk) && sum+holders[n].stored <= most {
		sum += holders[n].stored
		n++
	}
	g.left -= sum
	return n
}

// pass skips files of uploads, those of the first one after a position. It returns the number of uploads skipped, and the position
// reached in the next one, or -1.
func (g *gathering) pass(ctx context.Context, holders []holder, behind int64) (done int, at int64, err error) {
	type place struct{ uploadID, position int64 }
	var places []place
	err = g.read(ctx, holders, behind, "upload_id, position", g.skip+1, func(rows *sql.Rows) error {
		var p place
		err := rows.Scan(&p.uploadID, &p.position)
		places = append(places, p)
		return err
	})
	if err != nil {
		return 0, -1, err
	}
	if len(places) <= g.skip {
		g.skip -= len(places)
		return len(holders), -1, nil
	}
	order := inOrder(holders)
	slices.SortFunc(places, func(a, b place) int {
		return cmp.Or(order[a.uploadID]-order[b.uploadID], cmp.Compare(a.position, b.position))
	})
	last := places[g.skip-1]
	g.skip = 0
	return order[last.uploadID], last.position, nil
}

// gather collects files of uploads, those of the first one after a position.
func (g *gathering) gather(ctx context.Context, holders []holder, behind int64) error {
	first := len(g.files)
	err := g.read(ctx, holders, behind, listedColumns, g.most-first, func(rows *sql.Rows) error {
		f, err := scanFile(rows)
		g.files = append(g.files, f)
		return err
	})
	order := inOrder(holders)
	slices.SortFunc(g.files[first:], func(a, b listed) int {
		return cmp.Or(order[a.uploadID]-order[b.uploadID], cmp.Compare(a.Position, b.Position))
	})
	g.files = g.files[:min(len(g.files), g.most)]
	return err
}

// inOrder returns each upload's index by its id.
func inOrder(holders []holder) map[int64]int {
	order := make(map[int64]int, len(holders))
	for i := range holders {
		order[holders[i].id] = i
	}
	return order
}

// read reads files of uploads, as members does.
func (g *gathering) read(ctx context.Context, holders []holder, behind int64, columns string, limit int, scan func(*sql.Rows) error) error {
	ids := make([]int64, len(holders))
	for i := range holders {
		ids[i] = holders[i].id
	}
	return g.members(ctx, ids, g.clauses, behind, columns, limit, scan)
}
