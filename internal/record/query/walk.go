package query

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"slices"
	"strings"

	"tecken-upload/internal/catalogue"
)

// scanLimit bounds the rows read for one page. Filters without an index are applied to that many rows at a time: few enough for 50 ms.
const scanLimit = 10_000

// clauses are terms joined by AND, with the arguments of their "?" in order.
type clauses struct {
	terms []string
	args  []any
}

func (c *clauses) add(term string, args ...any) {
	c.terms = append(c.terms, term)
	c.args = append(c.args, args...)
}

// tuple adds a comparison of an order's columns with values.
func (c *clauses) tuple(columns []string, op string, values []any) {
	left, right := columns[0], "?"
	if len(columns) > 1 {
		left, right = "("+strings.Join(columns, ", ")+")", "("+strings.Repeat("?, ", len(columns)-1)+"?)"
	}
	c.add(left+" "+op+" "+right, values...)
}

// and adds the terms of others.
func (c *clauses) and(others *clauses) {
	c.terms = slices.Concat(c.terms, others.terms)
	c.args = slices.Concat(c.args, others.args)
}

// meets adds a condition.
func (c *clauses) meets(condition *catalogue.Condition) {
	if span := condition.Span; span != nil {
		c.add(condition.Column+" >= ?", span.From)
		c.add(condition.Column+" < ?", span.Until)
		return
	}
	c.add(condition.Term, condition.Args...)
}

func (c *clauses) sql() string {
	if len(c.terms) == 0 {
		return ""
	}
	return " WHERE " + strings.Join(c.terms, " AND ")
}

// A walk goes through a table in the order of an index, from the end of the last page.
//
// It reads at most scanLimit rows. Rows that the index finds are read first, in a subquery with a LIMIT that binds the planner; only these are
// compared with filters that have no index.
//
// The order names the index's columns, though the first may be constant. PostgreSQL gets the last constant one as a range: for an equation
// it may drop the column from the order, and use another index for rows that it believes to be frequent. SQLite gets equations alone: of a
// range that includes the row's id, it uses only the columns before the id, and so would read the rows of all earlier pages.
type walk struct {
	table       string
	key         []string // the index's columns, unique together
	same        []any    // the constant values of the first of them
	from, until any      // bounds of the next one, from included and until excluded; nil: none
	reverse     bool
	after       []any  // a value for each of key but the same; nil: from the beginning
	with        bool   // the row at after is part of the page
	equated     int    // number of the same that are equations
	present     string // the index has only rows with a value in this column; "": all rows
	filter      clauses
	scan        int // rows read for one page, if fewer than scanLimit
}

// rest are the variable columns of the key.
func (w *walk) rest() []string { return w.key[len(w.same):] }

// bound adds a comparison with the constant values and, unless it is nil, more.
func (w *walk) bound(c *clauses, op string, more ...any) {
	values := slices.Concat(w.same[w.equated:], more)
	if len(values) > 0 {
		c.tuple(w.key[w.equated:w.equated+len(values)], op, values)
	}
}

// bounds are the comparisons that the index serves; last is the key of the last row to read, or nil.
func (w *walk) bounds(last []any) (c clauses) {
	if w.present != "" {
		c.add(w.present + " IS NOT NULL")
	}
	for i, v := range w.same[:w.equated] {
		c.add(w.key[i]+" = ?", v)
	}
	above, below := ">", "<"
	if w.with {
		above, below = ">=", "<="
	}
	// Of two bounds on one side only the tighter one, or a planner may begin at the other.
	switch {
	case w.after != nil && !w.reverse:
		w.bound(&c, above, w.after...)
	case w.reverse && last != nil:
		w.bound(&c, ">=", last...)
	case w.from != nil:
		w.bound(&c, ">=", w.from)
	default:
		w.bound(&c, ">=")
	}
	switch {
	case w.after != nil && w.reverse:
		w.bound(&c, below, w.after...)
	case !w.reverse && last != nil:
		w.bound(&c, "<=", last...)
	case w.until != nil:
		w.bound(&c, "<", w.until)
	default:
		w.bound(&c, "<=")
	}
	return c
}

// selected is the part of the statement that reads rows off the index. Its limit is a parameter, so that a database's statistics show pages
// of all sizes as one statement.
func (w *walk) selected(columns string, last []any, limit int) (string, []any) {
	c := w.bounds(last)
	return "SELECT " + columns + " FROM " + w.table + c.sql() + w.order() + " LIMIT ?", append(c.args, limit)
}

// at returns the key of a row, counted from 0 at the page's beginning, or nil if there are fewer. It reads the index alone, and a bounded
// number of rows.
func (w *walk) at(ctx context.Context, r *reading, row int) ([]any, error) {
	query, args := w.selected(strings.Join(w.rest(), ", "), nil, 1)
	found := make([]any, len(w.rest()))
	into := make([]any, len(found))
	for i := range found {
		into[i] = &found[i]
	}
	err := r.row(ctx, query+" OFFSET ?", append(args, row)).Scan(into...)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	return found, err
}

// count returns the number of rows from the page's beginning, up to a bound.
func (w *walk) count(ctx context.Context, r *reading, most int) (n int, err error) {
	query, args := w.selected("*", nil, most)
	return n, r.row(ctx, "SELECT count(*) FROM ("+query+") AS found", args).Scan(&n)
}

// A stretch is a part of a list: the key to continue after, nil at the list's end, and the number of rows skipped first.
type stretch struct {
	next   []any
	passed int
}

// page skips rows, and reads up to limit. scan is called for each row, and returns its key.
func (w *walk) page(ctx context.Context, r *reading, columns string, skip, limit int, scan func(*sql.Rows) ([]any, error)) (stretch, error) {
	if w.equated = len(w.same); r.db.Postgres {
		w.equated = max(0, w.equated-1)
	}
	if len(w.filter.terms) != 0 {
		return w.filtered(ctx, r, columns, skip, limit, scan)
	}
	if skip > 0 {
		behind, err := w.at(ctx, r, skip-1)
		if err == nil && behind == nil {
			skip, err = w.count(ctx, r, skip)
		}
		if err != nil || behind == nil {
			return stretch{passed: skip}, err
		}
		w.after, w.with = behind, false
	}
	query, args := w.selected("*", nil, limit+1)
	next, _, err := r.scanPage(ctx, "SELECT "+columns+" FROM ("+query+") AS found"+w.order(), args, limit, scan)
	return stretch{next, skip}, err
}

// filtered is page with a filter: it searches the next rows.
func (w *walk) filtered(ctx context.Context, r *reading, columns string, skip, limit int, scan func(*sql.Rows) ([]any, error)) (stretch, error) {
	most := cmp.Or(w.scan, r.Scan)
	last, err := w.at(ctx, r, most-1)
	if err != nil {
		return stretch{}, err
	}
	query, args := w.selected("*", last, most)
	query = " FROM (" + query + ") AS found" + w.filter.sql()
	args = append(args, w.filter.args...)
	next, rows, err := r.scanPage(ctx, "SELECT "+columns+query+w.order()+" LIMIT ? OFFSET ?", append(args, limit+1, skip), limit, scan)
	if err == nil && skip > 0 && rows == 0 {
		var n int
		err = r.row(ctx, "SELECT count(*)"+query, args).Scan(&n)
		skip = min(skip, n)
	}
	if next == nil {
		next = last
	}
	return stretch{next, skip}, err
}

// scanPage reads up to limit rows; next is the last one's key if there are more.
func (r *reading) scanPage(ctx context.Context, query string, args []any, limit int, scan func(*sql.Rows) ([]any, error)) (next []any, n int, err error) {
	rows, err := r.rows(ctx, query, args)
	if err != nil {
		return nil, 0, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	var key []any
	for ; rows.Next(); n++ {
		if n == limit {
			return key, n, nil
		}
		if key, err = scan(rows); err != nil {
			return nil, n, err
		}
	}
	return nil, n, rows.Err()
}

func (w *walk) order() string {
	dir := ""
	if w.reverse {
		dir = " DESC"
	}
	return " ORDER BY " + strings.Join(w.key[w.equated:], dir+", ") + dir
}
