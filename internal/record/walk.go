package record

import (
	"context"
	"database/sql"
	"errors"
	"strconv"
	"strings"
)

// scanLimit is how many rows one page may be looked for in. What can't be found by an index is looked for in
// that many rows at a time: few enough for 50 ms.
const scanLimit = 4000

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

// span adds the bounds of a column; either may be nil.
func (c *clauses) span(column string, from, until any) {
	if from != nil {
		c.add(column+" >= ?", from)
	}
	if until != nil {
		c.add(column+" < ?", until)
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
type walk struct {
	table   string
	key     []string // the index's columns behind those of where; unique together with them
	reverse bool
	where   clauses // columns before the key are equal to something
	from    any     // bounds of the key's first column, from included and until excluded; nil: none
	until   any
	after   []any // a value for each of key; nil: from the beginning
	with    bool  // the row at after is part of the page
	filter  clauses
}

// selected is the part of the statement that reads rows off the index.
func (w *walk) selected(columns string, last []any, limit int) (string, []any) {
	c := clauses{terms: w.where.terms[:len(w.where.terms):len(w.where.terms)], args: w.where.args[:len(w.where.args):len(w.where.args)]}
	from, until, forth, back, dir := w.from, w.until, " >", " <", ""
	if w.reverse {
		forth, back, dir = " <", " >", " DESC"
	}
	if w.with {
		forth += "="
	}
	if w.after != nil {
		// The tighter bound alone, or a planner may begin at the other one.
		if w.reverse {
			until = nil
		} else {
			from = nil
		}
		c.tuple(w.key, forth, w.after)
	}
	c.span(w.key[0], from, until)
	if last != nil {
		c.tuple(w.key, back+"=", last)
	}
	return "SELECT " + columns + " FROM " + w.table + c.sql() + " ORDER BY " + strings.Join(w.key, dir+", ") + dir +
		" LIMIT " + strconv.Itoa(limit), c.args
}

// boundary returns the key of the last row that this page is looked for in, or nil where all of them are.
func (w *walk) boundary(ctx context.Context, s *Store) ([]any, error) {
	if len(w.filter.terms) == 0 {
		return nil, nil
	}
	// The offset is bounded: the index alone is read, once.
	query, args := w.selected(strings.Join(w.key, ", "), nil, 1)
	found := make([]any, len(w.key))
	into := make([]any, len(w.key))
	for i := range found {
		into[i] = &found[i]
	}
	err := s.row(ctx, query+" OFFSET "+strconv.Itoa(s.scan-1), args).Scan(into...)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	return found, err
}

// page reads up to limit rows, and tells whether there may be more: next is the key to go on behind, or nil. scan
// is called for each row, and returns its key.
func (w *walk) page(ctx context.Context, s *Store, columns string, limit int, scan func(*sql.Rows) ([]any, error)) (next []any, err error) {
	last, err := w.boundary(ctx, s)
	if err != nil {
		return nil, err
	}
	query, args := w.selected("*", last, limit+1)
	if len(w.filter.terms) != 0 {
		query, args = w.selected("*", last, s.scan)
		query = "SELECT " + columns + " FROM (" + query + ") AS " + w.table + w.filter.sql()
		query += w.order() + " LIMIT " + strconv.Itoa(limit+1)
		args = append(args, w.filter.args...)
	} else {
		query = "SELECT " + columns + " FROM (" + query + ") AS " + w.table + w.order()
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
	return " ORDER BY " + strings.Join(w.key, dir+", ") + dir
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
