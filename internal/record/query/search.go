package query

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"math"
	"slices"
	"strings"

	"tecken-upload/internal/catalogue"
	"tecken-upload/internal/record/database"
)

const (
	// rareKeys bounds the files that PostgreSQL may find for a page: it finds all of them before it sorts them.
	rareKeys = 5000
	// maxTrigrams bounds the trigrams in a query to SQLite. A few leave little to compare, and each costs: to find the next file with all
	// of them, SQLite may skip all files with one, of a million in about 10 ms.
	maxTrigrams = 3
)

// A keySearch is a search in keys.
type keySearch struct {
	parts []string // anywhere in them, each of at least 3 characters
	match clauses  // compares a key
	after []any    // the id to continue after, or nil
}

// searchSQLite follows the trigram index in the order of ids, and compares what it finds.
func (r *reading) searchSQLite(ctx context.Context, q *catalogue.FileQuery, k keySearch) (found []listed, read stretch, err error) {
	var filter clauses
	if none, err := r.filterFiles(ctx, &filter, q); err != nil || none {
		return nil, read, err
	}
	filter.and(&k.match)
	before := int64(math.MaxInt64)
	if k.after != nil {
		before = k.after[0].(int64)
	}
	query := "SELECT files.id, " + strings.Join(filter.terms, " AND ") + ` FROM files_keys CROSS JOIN files ON files.id = files_keys.rowid
		WHERE files_keys MATCH ? AND files_keys.rowid < ? ORDER BY files_keys.rowid DESC LIMIT ?`
	rows, err := r.rows(ctx, query, append(filter.args, strings.Join(trigrams(k.parts), " AND "), before, r.Scan))
	if err != nil {
		return nil, read, err
	}
	defer rows.Close()
	var ids []int64
	var at int64
	looked := 0
	for len(ids) <= q.Limit && rows.Next() {
		var matches sql.NullBool
		if err := rows.Scan(&at, &matches); err != nil {
			return nil, read, err
		}
		looked++
		switch {
		case !matches.Bool:
		case read.passed < q.Skip:
			read.passed++
		default:
			ids = append(ids, at)
		}
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil {
		return nil, read, err
	}
	switch {
	case len(ids) > q.Limit:
		ids = ids[:q.Limit]
		read.next = []any{ids[q.Limit-1]}
	case looked == r.Scan:
		read.next = []any{at}
	}
	found, err = r.filesByID(ctx, ids, clauses{})
	return found, read, err
}

// trigrams returns trigrams from all over the texts, in the database's syntax.
func trigrams(parts []string) (some []string) {
	var all []string
	for _, part := range parts {
		runes := []rune(part)
		for i := 0; i < len(runes); i += catalogue.MinPart {
			i := min(i, len(runes)-catalogue.MinPart)
			all = append(all, `"`+strings.ReplaceAll(string(runes[i:i+catalogue.MinPart]), `"`, `""`)+`"`)
		}
	}
	most := min(len(all), maxTrigrams)
	for i := range most {
		some = append(some, all[i*(len(all)-1)/max(1, most-1)])
	}
	return some
}

// searchPostgres reads the next files and, if few of them match, queries the trigram index for all that do.
func (r *reading) searchPostgres(ctx context.Context, q *catalogue.FileQuery, k keySearch) (found []listed, read stretch, err error) {
	w := &walk{table: "files", key: []string{"id"}, reverse: true, after: k.after}
	if none, err := r.filterFiles(ctx, &w.filter, q); err != nil || none {
		return nil, read, err
	}
	filter := w.filter
	w.filter.and(&k.match)
	read, err = w.page(ctx, r, listedColumns, q.Skip, q.Limit, func(rows *sql.Rows) ([]any, error) {
		f, err := scanFile(rows)
		found = append(found, f)
		return []any{f.ID}, err
	})
	if err != nil || read.next == nil || len(found) == q.Limit || !slices.ContainsFunc(k.parts, hasTrigram) {
		return found, read, err
	}
	ids, err := r.few(ctx, w, &k.match)
	if err != nil || ids == nil {
		return found, read, err
	}
	if k.after != nil {
		ids = slices.DeleteFunc(ids, func(id int64) bool { return id >= k.after[0].(int64) })
	}
	return r.pageOf(ctx, q, ids, filter)
}

// pageOf reads a page of some files, the newest first.
func (r *reading) pageOf(ctx context.Context, q *catalogue.FileQuery, ids []int64, filter clauses) (found []listed, read stretch, err error) {
	slices.SortFunc(ids, func(a, b int64) int { return cmp.Compare(b, a) })
	for chunk := range slices.Chunk(ids, idChunk) {
		files, err := r.filesByID(ctx, chunk, filter)
		if err != nil {
			return nil, read, err
		}
		passed := min(len(files), q.Skip-read.passed)
		read.passed += passed
		if found = append(found, files[passed:]...); len(found) > q.Limit {
			found = found[:q.Limit]
			read.next = []any{found[q.Limit-1].ID}
			break
		}
	}
	return found, read, nil
}

// hasTrigram reports whether a part has three letters or digits in a row, under any locale of the database. pg_trgm ignores other
// characters: for a part without them it reads the whole index.
func hasTrigram(part string) bool {
	run := 0
	for _, r := range part {
		run++
		if (r < '0' || r > '9') && (r < 'A' || r > 'Z') {
			run = 0
		}
		if run == catalogue.MinPart {
			return true
		}
	}
	return false
}

// few returns the ids of all matching files, or nil if a sample, the next rows of a walk, says that these may be too many.
func (r *reading) few(ctx context.Context, w *walk, match *clauses) ([]int64, error) {
	var matches, least, most sql.NullInt64
	query, args := w.selected("*", nil, r.Scan)
	err := r.row(ctx, "SELECT count(*) FROM ("+query+") AS found"+match.sql(), append(args, match.args...)).Scan(&matches)
	if err == nil {
		err = r.row(ctx, "SELECT min(id), max(id) FROM files", nil).Scan(&least, &most)
	}
	if err != nil || matches.Int64*(most.Int64-least.Int64)/int64(r.Scan) > rareKeys {
		return nil, err
	}
	return r.keyed(ctx, match)
}

// keyed queries the trigram index. It returns nil if more than rareKeys files match.
func (r *reading) keyed(ctx context.Context, match *clauses) (ids []int64, err error) {
	if _, err := r.conn.ExecContext(ctx, database.ByTrigrams); err != nil {
		return nil, err
	}
	c := clauses{terms: []string{"state = 'uploaded'"}}
	c.and(match)
	ids = []int64{}
	err = r.each(ctx, "SELECT id FROM files"+c.sql()+" LIMIT ?", append(c.args, rareKeys+1), func(rows *sql.Rows) error {
		var id int64
		err := rows.Scan(&id)
		ids = append(ids, id)
		return err
	})
	if err != nil {
		return nil, err
	}
	if len(ids) > rareKeys {
		ids = nil
	}
	_, err = r.conn.ExecContext(ctx, database.ByIndexAgain)
	return ids, err
}

// filesByID reads the files of some ids that a filter keeps, the newest first.
func (r *reading) filesByID(ctx context.Context, ids []int64, filter clauses) (files []listed, err error) {
	for chunk := range slices.Chunk(ids, idChunk) {
		term, args := among("id", chunk)
		c := clauses{terms: []string{term}, args: args}
		c.and(&filter)
		err := r.each(ctx, "SELECT "+listedColumns+" FROM files"+c.sql(), c.args, func(rows *sql.Rows) error {
			f, err := scanFile(rows)
			files = append(files, f)
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	slices.SortFunc(files, func(a, b listed) int { return cmp.Compare(b.ID, a.ID) })
	return files, nil
}
