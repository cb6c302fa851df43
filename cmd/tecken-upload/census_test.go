package main

import (
	"slices"
	"testing"

	"tecken-upload/internal/lab"
)

// census joins what clients were told with what the database says.
type census struct {
	testing.TB
	front   *front
	records map[string]lab.Record // by the label of the attempt
	endless []int64               // records without an end
}

// takeCensus reads the records of a site. Two for one attempt are an error.
func takeCensus(site *lab.Site, f *front) *census {
	site.Helper()
	c := &census{TB: site, front: f, records: make(map[string]lab.Record)}
	all, err := site.ReadRecords(site.Context())
	if err != nil {
		site.Fatal(err)
	}
	for _, r := range all {
		if first, ok := c.records[r.Label]; ok {
			site.Errorf("one attempt, %s, has the records %d and %d", r.Label, first.ID, r.ID)
		}
		c.records[r.Label] = r
		if r.Outcome == "" {
			c.endless = append(c.endless, r.ID)
		}
	}
	return c
}

// check checks that so many uploads were accepted, each recorded as completed under the id of its answer, and
// no id of two answers. It returns how many uploads are recorded as completed and were answered otherwise by the
// server; where it gave no answer, nothing is known.
func (c *census) check(uploads int) (denied int) {
	c.Helper()
	ids := make(map[int64]string)
	for _, a := range c.front.attempts {
		e := c.records[a.Label]
		completed := e.Outcome == "completed"
		switch {
		case a.Status == 201:
			if !completed || e.ID != a.ID {
				c.Errorf("%s was accepted as %d, its record: %+v", a.Label, a.ID, e)
			}
			if other, ok := ids[e.ID]; ok {
				c.Errorf("%s and %s were both accepted as %d", other, a.Label, e.ID)
			}
			ids[e.ID] = a.Label
		case completed && !a.unanswered():
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
		if e, ok := c.records[a.Label]; ok && e.Outcome == "" && !a.unanswered() {
			c.Errorf("%s was answered %d, and its record %d has no end", a.Label, a.Status, e.ID)
		}
	}
	for _, id := range known {
		if !slices.Contains(c.endless, id) {
			c.Errorf("the upload %d, which the dead instance was at, is not without an end", id)
		}
	}
}
