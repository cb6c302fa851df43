package main

import (
	"slices"
	"testing"

	"github.com/jackc/pgx/v5"
)

// census joins what clients were told with what the database says.
type census struct {
	*testing.T
	front   *front
	records map[string]entry // by the label of the attempt
	endless []int64          // records without an end
}

// entry is an upload's record.
type entry struct {
	ID             int64
	Label, Outcome string // no outcome: it has no end
}

// takeCensus reads the records. Two for one attempt are an error.
func takeCensus(t *testing.T, database string, f *front) *census {
	t.Helper()
	c := &census{T: t, front: f, records: make(map[string]entry)}
	conn, err := pgx.Connect(t.Context(), database)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	rows, err := conn.Query(t.Context(), `SELECT id, token_label, COALESCE(outcome, '') FROM uploads ORDER BY id`)
	if err != nil {
		t.Fatal(err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByPos[entry])
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range list {
		if first, ok := c.records[e.Label]; ok {
			t.Errorf("one attempt, %s, has the records %d and %d", e.Label, first.ID, e.ID)
		}
		c.records[e.Label] = e
		if e.Outcome == "" {
			c.endless = append(c.endless, e.ID)
		}
	}
	return c
}

// check checks that so many uploads were accepted, each recorded as completed under the id of its answer, and
// no id of two answers. It returns how many uploads are recorded as completed and were answered otherwise by the
// server; where it gave no answer, who knows.
func (c *census) check(uploads int) (denied int) {
	c.Helper()
	ids := make(map[int64]string)
	for _, a := range c.front.attempts {
		e := c.records[a.label]
		completed := e.Outcome == "completed"
		switch {
		case a.status == 201:
			if !completed || e.ID != a.upload.ID {
				c.Errorf("%s was accepted as %d, its record: %+v", a.label, a.upload.ID, e)
			}
			if other, ok := ids[e.ID]; ok {
				c.Errorf("%s and %s were both accepted as %d", other, a.label, e.ID)
			}
			ids[e.ID] = a.label
		case completed && a.broken == nil:
			denied++
		}
	}
	if len(ids) != uploads {
		c.Errorf("%d uploads were accepted, want %d", len(ids), uploads)
	}
	return denied
}

// checkEndless checks that the records without an end are those of attempts without an answer, these among them.
func (c *census) checkEndless(known []int64) {
	c.Helper()
	for _, a := range c.front.attempts {
		if e, ok := c.records[a.label]; ok && e.Outcome == "" && a.broken == nil {
			c.Errorf("%s was answered %d, and its record %d has no end", a.label, a.status, e.ID)
		}
	}
	for _, id := range known {
		if !slices.Contains(c.endless, id) {
			c.Errorf("the upload %d, which the dead instance was at, is not without an end", id)
		}
	}
}
