package record

import (
	"context"
	"database/sql"
	"errors"
	"slices"
	"strconv"
	"strings"

	"tecken-upload/internal/catalogue"
)

// scanLimit is how many rows one page may be looked for in. What can't be found by an index is looked for in
// that many rows at a time: few enough for 50 ms.
const scanLimit = 2000

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

// span adds the bounds of a column.
func (c *clauses) span(column string, span *catalogue.Span) {
	if span != nil {
		c.add(column+" >= ?", span.From)
		c.add(column+" < ?", span.Until)
	}
}

func (c *clauses) sql() string {
	if len(c.terms) == 0 {
		return ""
	}
	return " WHERE " + strings.Join(c.terms, " AND ")
}

// A walk goes through a table in the order of an index, from where the last page ended.
//
// It looks at no more than scanLimit rows: those that the index finds are read first, in a subquery whose LIMIT keeps
// the planner from doing otherwise, and only these are looked at for what no index tells.
//
// The order names the index's columns, though the first may be the same in all rows. PostgreSQL is given the last of
// these as a range: an equation lets it leave the column out of the order, and go through another index for rows
// that it believes to be frequent. SQLite is given equations alone: of a range that the row's id is a part of, it
// uses what stands before the id, and so passes over the rows of all pages before.
type walk struct {
	table       string
	key         []string // the index's columns, unique together
	same        []any    // what the first of them are
	from, until any      // bounds of the next one, from included and until excluded; nil: none
	reverse     bool
	after       []any // a value for each of key but the same; nil: from the beginning
	with        bool  // the row at after is part of the page
	equated     int   // how many of the same are given as equations
	present     bool  // the index has only rows whose first column is there
	filter      clauses
}

// rest are the columns of the key that differ.
func (w *walk) rest() []string { return w.key[len(w.same):] }

// bound adds a comparison with what the rows have in common and, unless it is nil, more.
func (w *walk) bound(c *clauses, op string, more ...any) {
	values := slices.Concat(w.same[w.equated:], more)
	if len(values) > 0 {
		c.tuple(w.key[w.equated:w.equated+len(values)], op, values)
	}
}

// bounds are the comparisons that the index serves; last is the key of the last row to read, or nil.
func (w *walk) bounds(last []any) (c clauses) {
	if w.present {
		c.add(w.key[0] + " IS NOT NULL")
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

// selected is the part of the statement that reads rows off the index. Its limit is a parameter, or there were as many statements
// as there are sizes of pages, more than are kept prepared.
func (w *walk) selected(columns string, last []any, limit int) (string, []any) {
	c := w.bounds(last)
	return "SELECT " + columns + " FROM " + w.table + c.sql() + w.order() + " LIMIT ?", append(c.args, limit)
}

// boundary returns the key of the last row that this page is looked for in, or nil where all of them are.
func (w *walk) boundary(ctx context.Context, s *Store) ([]any, error) {
	if len(w.filter.terms) == 0 {
		return nil, nil
	}
	// The offset is bounded: the index alone is read, once.
	query, args := w.selected(strings.Join(w.rest(), ", "), nil, 1)
	found := make([]any, len(w.rest()))
	into := make([]any, len(found))
	for i := range found {
		into[i] = &found[i]
	}
	err := s.row(ctx, query+" OFFSET ?", append(args, s.scan-1)).Scan(into...)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	return found, err
}

// page reads up to limit rows, and tells whether there may be more: next is the key to go on behind, or nil. scan
// is called for each row, and returns its key.
func (w *walk) page(ctx context.Context, s *Store, columns string, limit int, scan func(*sql.Rows) ([]any, error)) (next []any, err error) {
	if w.equated = len(w.same); s.ranges {
		w.equated = max(0, w.equated-1)
	}
	last, err := w.boundary(ctx, s)
	if err != nil {
		return nil, err
	}
	query, args := w.selected("*", last, limit+1)
	if len(w.filter.terms) != 0 {
		query, args = w.selected("*", last, s.scan)
		query = "SELECT " + columns + " FROM (" + query + ") AS found" + w.filter.sql()
		query += w.order() + " LIMIT ?"
		args = append(append(args, w.filter.args...), limit+1)
	} else {
		query = "SELECT " + columns + " FROM (" + query + ") AS found" + w.order()
	}
	rows, err := s.rows(ctx, query, args)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	var key []any
	for n := 0; rows.Next(); n++ {
		if n == limit {
			return key, nil
		}
		if key, err = scan(rows); err != nil {
			return nil, err
		}
	}
	return last, rows.Err()
}

func (w *walk) order() string {
	dir := ""
	if w.reverse {
		dir = " DESC"
	}
	return " ORDER BY " + strings.Join(w.key[w.equated:], dir+", ") + dir
}

// rows runs a query whose parameters are written "?".
func (s *Store) rows(ctx context.Context, query string, args []any) (*sql.Rows, error) {
	query = numbered(query)
	if s.trace != nil {
		s.trace(query, args)
	}
	return s.read.QueryContext(ctx, query, args...)
}

// row is rows for a query with one row.
func (s *Store) row(ctx context.Context, query string, args []any) *sql.Row {
	query = numbered(query)
	if s.trace != nil {
		s.trace(query, args)
	}
	return s.read.QueryRowContext(ctx, query, args...)
}

// numbered writes $1, $2, … for each "?". No text of ours has one otherwise.
func numbered(query string) string {
	var b strings.Builder
	for n := 1; ; n++ {
		before, after, found := strings.Cut(query, "?")
		b.WriteString(before)
		if !found {
			return b.String()
		}
		b.WriteString("$" + strconv.Itoa(n))
		query = after
	}
}
