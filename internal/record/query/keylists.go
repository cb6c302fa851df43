package query

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"tecken-upload/internal/catalogue"
)

// lastRune sorts after all characters of names.
const lastRune = "\U0010FFFF"

// parts returns the texts to find anywhere in keys, and those to find at their beginnings.
func (r *Reader) parts(q *catalogue.FileQuery) (inside, beginnings []string) {
	beginnings = slices.Clone(q.Prefixes)
	indexed := r.db.KeysIndexed()
	for _, part := range q.Keys {
		if indexed && utf8.RuneCountInString(part) >= catalogue.MinPart {
			inside = append(inside, part)
		} else {
			beginnings = append(beginnings, part)
		}
	}
	return inside, beginnings
}

// filesByPrefix lists files by their keys, which begin with all the given texts.
func (r *reading) filesByPrefix(ctx context.Context, q *catalogue.FileQuery, beginnings []string) (found []listed, read stretch, err error) {
	prefix := slices.MaxFunc(beginnings, func(a, b string) int { return len(a) - len(b) })
	w := walk{table: "files", key: []string{"folded_key", "id"}, from: prefix, until: prefix + lastRune, present: "debug_file", scan: max(1, r.Scan/5)}
	if w.after, err = listPrefix.key(q.After, true, anID); err != nil {
		return nil, read, err
	}
	if w.after != nil && (!strings.HasPrefix(w.after[0].(string), prefix) || !storable(w.after[0].(string))) {
		return nil, read, fmt.Errorf("page %.40q: %w", q.After, catalogue.ErrCursor)
	}
	if slices.ContainsFunc(beginnings, func(b string) bool { return !strings.HasPrefix(prefix, b) }) {
		return nil, read, nil
	}
	if none, err := r.filterFiles(ctx, &w.filter, q); err != nil || none {
		return nil, read, err
	}
	read, err = w.page(ctx, r, "folded_key, "+listedColumns, q.Skip, q.Limit, func(rows *sql.Rows) ([]any, error) {
		var key string
		f, err := scanFile(behind{rows, []any{&key}})
		found = append(found, f)
		return []any{key, f.ID}, err
	})
	return found, read, err
}

// storable reports whether a stored text may be s.
func storable(s string) bool { return utf8.ValidString(s) && !strings.Contains(s, "\x00") }

// behind is a row without its first columns, which are scanned into others.
type behind struct {
	row   interface{ Scan(...any) error }
	first []any
}

// Scan scans the row.
func (b behind) Scan(into ...any) error { return b.row.Scan(append(b.first, into...)...) }

// filterFiles adds the filters without an index of files. Those of uploads are subqueries for each row: with a join, a planner might read
// all uploads. It returns true if no user matches.
func (r *reading) filterFiles(ctx context.Context, c *clauses, q *catalogue.FileQuery) (none bool, err error) {
	users, err := r.users(ctx, q.UserID, q.User)
	if err != nil || users.none {
		return users.none, err
	}
	files, uploads := conditionsOf(q)
	c.and(&files)
	of := users.filter
	if users.id != 0 {
		of.add("user_id = ?", users.id)
	}
	for i := range uploads {
		of.meets(&uploads[i])
	}
	if len(of.terms) != 0 {
		c.add("(SELECT "+strings.Join(of.terms, " AND ")+" FROM uploads WHERE id = upload_id)", of.args...)
	}
	return false, nil
}

// filesByKey lists files with keys that contain some texts, and begin with others.
func (r *reading) filesByKey(ctx context.Context, q *catalogue.FileQuery, inside, beginnings []string) (found []listed, read stretch, err error) {
	after, err := listKeys.key(q.After, false, anID)
	if err != nil {
		return nil, read, err
	}
	var match clauses
	for _, part := range inside {
		match.add("folded_key"+r.like, containing(part))
	}
	for _, part := range beginnings {
		match.add("folded_key"+r.like, beginning(part))
	}
	k := keySearch{parts: inside, match: match, after: after}
	if r.db.Postgres {
		return r.searchPostgres(ctx, q, k)
	}
	return r.searchSQLite(ctx, q, k)
}
