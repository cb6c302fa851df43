package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"

	_ "github.com/jackc/pgx/v5/stdlib" // the driver "pgx"
	_ "modernc.org/sqlite"             // the driver "sqlite"
)

// A row is what is recorded of an upload.
type row struct {
	id             int64
	label, user    string
	filename       string
	size           int64
	outcome        string // "" while it runs
	done, ignored  int    // members uploaded or skipped, and listings
	pending, files int
}

const rowsQuery = `
	SELECT uploads.id, token_label, users.email, filename, size, COALESCE(outcome, ''),
		uploaded_count + skipped_count, ignored_count, pending_count,
		(SELECT COUNT(*) FROM files WHERE upload_id = uploads.id)
	FROM uploads JOIN users ON users.id = user_id ORDER BY uploads.id`

// readRecords reads all records by plain SQL.
func readRecords(ctx context.Context, url string) (rows []row, err error) {
	driver, source := "pgx", url
	if path, ok := strings.CutPrefix(url, "sqlite:"); ok {
		driver, source = "sqlite", "file:"+path+"?_query_only=1"
	}
	db, err := sql.Open(driver, source)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	found, err := db.QueryContext(ctx, rowsQuery)
	if err != nil {
		return nil, fmt.Errorf("read the records: %w", err)
	}
	defer func() { err = errors.Join(err, found.Close()) }()
	for found.Next() {
		var r row
		if err := found.Scan(&r.id, &r.label, &r.user, &r.filename, &r.size, &r.outcome, &r.done, &r.ignored, &r.pending, &r.files); err != nil {
			return nil, err
		}
		rows = append(rows, r)
	}
	return rows, found.Err()
}

// compareRecords compares the records with the attempts: one for each that was accepted, none for each that was
// refused, none or one for each other, all of them ended and none failed, and nothing else. It returns how many there are by outcome.
func compareRecords(rows []row, attempts []*attempt) (map[string]int, error) {
	made := make(map[string]*attempt, len(attempts))
	for _, a := range attempts {
		made[a.label] = a
	}
	outcomes, seen := make(map[string]int), make(map[string]bool)
	var faults []error
	for _, r := range rows {
		outcomes[r.outcome]++
		a := made[r.label]
		switch {
		case a == nil:
			faults = append(faults, fmt.Errorf("record %d is of an upload %q, which nobody made", r.id, r.label))
		case seen[r.label]:
			faults = append(faults, fmt.Errorf("upload %s is recorded twice", r.label))
		default:
			if why := a.contradicts(r); why != "" {
				faults = append(faults, fmt.Errorf("upload %s (%s): %s: %+v", r.label, a.ending, why, r))
			}
		}
		seen[r.label] = true
	}
	for _, a := range attempts {
		if a.ending == accepted && !seen[a.label] {
			faults = append(faults, fmt.Errorf("upload %s was accepted and is not recorded", a.label))
		}
	}
	return outcomes, some(faults)
}

// contradicts tells what in a record is not as the client has seen it.
func (a *attempt) contradicts(r row) string {
	completed, t := r.outcome == "completed", a.job.template
	switch {
	case r.outcome == "":
		return "it has no end"
	case completed && (r.filename != a.filename() || r.size != t.size || r.done != len(t.members) || r.ignored != t.ignored ||
		r.pending != 0 || r.files != len(t.members)+t.ignored):
		return "it is recorded as completed, and not as it was sent"
	case a.ending == accepted && (!completed || r.id != a.id):
		return "it was accepted"
	case a.ending == hungUp && !completed && r.outcome != "cancelled":
		return "its client hung up"
	case a.refused():
		return "it was refused, which comes before an upload is begun"
	case completed && !a.whole:
		return "not all of it was sent"
	case !completed && r.outcome != "cancelled":
		return "it failed"
	}
	return ""
}

// mostFaults is how many faults of a kind are told.
const mostFaults = 10

// some joins the first of many errors.
func some(faults []error) error {
	if n := len(faults) - mostFaults; n > 0 {
		faults = append(faults[:mostFaults:mostFaults], fmt.Errorf("and %d more", n))
	}
	return errors.Join(faults...)
}
