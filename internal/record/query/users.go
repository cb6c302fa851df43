package query

import (
	"context"
	"database/sql"
	"strings"

	"tecken-upload/internal/catalogue"
)

// userSet is the users of a list.
type userSet struct {
	id     int64   // of one user; 0: of several
	none   bool    // no user matches
	filter clauses // of the rest, by a user_id
}

// users returns the users that a list is limited to: one by its id unless that is 0, and those with, or without, a part in their e-mail
// address. One user is found by an index, others among the rows of all.
func (r *reading) users(ctx context.Context, id int64, part catalogue.Term) (w userSet, err error) {
	w.id = id
	if part.Text == "" {
		return w, nil
	}
	matches := "email" + r.like
	var c clauses
	if id != 0 {
		c.add("id = ?", id)
	}
	if part.Not {
		matches = "NOT " + matches
	}
	c.add(matches, containing(part.Text))
	ids, err := r.userIDs(ctx, &c)
	switch {
	case err != nil:
	case len(ids) == 0:
		w.none = true
	case len(ids) == 1:
		w.id = ids[0]
	default:
		w.filter.add("(SELECT "+matches+" FROM users WHERE users.id = user_id)", containing(part.Text))
	}
	return w, err
}

// userIDs reads the first two ids of the matching users.
func (r *reading) userIDs(ctx context.Context, c *clauses) (ids []int64, err error) {
	err = r.each(ctx, "SELECT id FROM users"+c.sql()+" ORDER BY id LIMIT 2", c.args, func(rows *sql.Rows) error {
		var id int64
		err := rows.Scan(&id)
		ids = append(ids, id)
		return err
	})
	return ids, err
}

// of limits a walk through uploads to some users.
func (w *walk) of(u userSet) {
	if u.id != 0 {
		w.key, w.same = append([]string{"user_id"}, w.key...), []any{u.id}
	}
	w.filter.and(&u.filter)
}

// wildcards escapes LIKE's wildcards.
var wildcards = strings.NewReplacer(`\`, `\\`, "%", `\%`, "_", `\_`)

// containing and beginning are LIKE patterns: for texts with a part, and for texts with a beginning.
func containing(part string) string { return "%" + wildcards.Replace(part) + "%" }
func beginning(part string) string  { return wildcards.Replace(part) + "%" }
