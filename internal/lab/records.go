package lab

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	_ "github.com/jackc/pgx/v5/stdlib" // the driver "pgx"
	_ "modernc.org/sqlite"             // the driver "sqlite"
)

// A Record is an upload's record in a site's database.
type Record struct {
	ID             int64
	Label, User    string
	Outcome        string // "" while it runs, and for ever if its process died
	Size           int64
	Done, Ignored  int // members uploaded or skipped, and others
	Pending, Files int
}

const recordsQuery = `
	SELECT uploads.id, token_label, users.email, COALESCE(outcome, ''), size, uploaded_count + skipped_count, ignored_count, pending_count,
		(SELECT COUNT(*) FROM files WHERE upload_id = uploads.id AND state IN ('uploaded', 'skipped'))
	FROM uploads JOIN users ON users.id = user_id ORDER BY uploads.id`

// ReadRecords reads all records of uploads by plain SQL.
func (s *Site) ReadRecords(ctx context.Context) (all []Record, err error) {
	driver, source := "pgx", s.Settings["TECKEN_DATABASE_URL"]
	if file, ok := s.sqliteFile(); ok {
		driver, source = "sqlite", "file:"+file+"?_query_only=1"
	}
	db, err := sql.Open(driver, source)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	rows, err := db.QueryContext(ctx, recordsQuery)
	if err != nil {
		return nil, fmt.Errorf("read the records: %w", err)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var r Record
		if err := rows.Scan(&r.ID, &r.Label, &r.User, &r.Outcome, &r.Size, &r.Done, &r.Ignored, &r.Pending, &r.Files); err != nil {
			return nil, err
		}
		all = append(all, r)
	}
	return all, rows.Err()
}

// checkRecords returns the labels of the uploads that are recorded as completed.
func (s *Site) checkRecords(ctx context.Context, v *Verdict, attempts []Attempt) (map[string]bool, error) {
	records, err := s.ReadRecords(ctx)
	if err != nil {
		return nil, err
	}
	found, completed := make(map[string]Record), make(map[string]bool)
	for _, r := range records {
		if former, twice := found[r.Label]; twice {
			v.wrong("upload %s is recorded twice: %+v, %+v", r.Label, former, r)
		}
		found[r.Label], completed[r.Label] = r, r.Outcome == "completed"
	}
	for _, a := range attempts {
		r, recorded := found[a.Label]
		delete(found, a.Label)
		told := a.Status == 201
		if told {
			v.Accepted++
		} else if completed[a.Label] {
			v.Unheard++
		}
		switch n := len(a.Archive.Members); {
		case told && (!recorded || !completed[a.Label] || r.ID != a.ID):
			v.wrong("upload %s was accepted as %d; recorded: %t, %+v", a.Label, a.ID, recorded, r)
		case completed[a.Label] && (!a.Whole || a.Archive.Broken):
			v.wrong("upload %s is recorded as completed; broken: %t, all of it sent: %t", a.Label, a.Archive.Broken, a.Whole)
		case completed[a.Label] && (r.Done != n || r.Files != n || r.Pending != 0 || r.Size != a.Archive.Size):
			v.wrong("upload %s of %d bytes and %d members is recorded as %+v", a.Label, a.Archive.Size, n, r)
		}
	}
	for label, r := range found {
		v.wrong("there is a record of an upload %q, which no client made: %+v", label, r)
	}
	return completed, nil
}
