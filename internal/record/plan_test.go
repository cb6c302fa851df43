package record_test

import (
	"database/sql"
	"fmt"
	"path"
	"regexp"
	"strings"
	"testing"

	"tecken-upload/internal/record"
	"tecken-upload/internal/record/database"
)

// No list reads a whole table, or sorts an unbounded number of rows.
func TestListsAreServedByIndexes(t *testing.T) {
	bothDatabases(t, func(t *testing.T, url string) {
		s := openMigrated(t, url, record.Options{})
		explain, uploads := explainSQLite, 4_000
		if path.Base(t.Name()) == "PostgreSQL" {
			explain, uploads = explainPostgres, 20_000
		}
		fill(t, s, uploads, 5)
		if path.Base(t.Name()) == "PostgreSQL" {
			exec(t, s, `VACUUM ANALYZE`)
		}
		conn, err := raw(t, s).Conn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		for _, analyzed := range []bool{false, true} { // a SQLite file is analysed only by hand
			var statements []statement
			s.Trace = func(query string, args []any) { statements = append(statements, statement{query, args}) }
			for _, q := range questions() {
				statements = nil
				q.ask(t, s, 100)
				if len(statements) == 0 {
					t.Errorf("%s: no statement was seen", q.name)
				}
				for _, st := range statements {
					explain(t, conn, q.name, st)
				}
			}
			s.Trace = nil
			if !analyzed {
				if _, err := conn.ExecContext(t.Context(), `ANALYZE`); err != nil {
					t.Fatal(err)
				}
			}
		}
	})
}

// Pages of any size are the same statements, and few in a database's statistics.
func TestPagesOfAnySizeAreTheSameStatements(t *testing.T) {
	s := openMigrated(t, sqliteURL(t), record.Options{})
	fill(t, s, 200, 5)
	for _, q := range questions() {
		seen := make(map[string]bool)
		s.Trace = func(query string, _ []any) { seen[query] = true }
		for _, batch := range []int{1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 33, 60} {
			q.ask(t, s, batch)
		}
		if len(seen) > 8 {
			t.Errorf("%s: %d statements", q.name, len(seen))
		}
	}
}

type statement struct {
	query string
	args  []any
}

// lines runs a query with text in its last column.
func lines(t *testing.T, conn *sql.Conn, columns int, query string, args ...any) string {
	t.Helper()
	rows, err := conn.QueryContext(t.Context(), query, args...)
	if err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	defer rows.Close()
	var b strings.Builder
	into := make([]any, columns)
	for i := range into {
		into[i] = new(any)
	}
	var line string
	into[columns-1] = &line
	for rows.Next() {
		if err := rows.Scan(into...); err != nil {
			t.Fatal(err)
		}
		b.WriteString(line + "\n")
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// liteScan is a scan of a whole table, or of a whole index without need for its order.
var liteScan = regexp.MustCompile(`(?m)^SCAN (uploads|files)$|AUTOMATIC`)

func explainSQLite(t *testing.T, conn *sql.Conn, name string, st statement) {
	t.Helper()
	plan := lines(t, conn, 4, "EXPLAIN QUERY PLAN "+st.query, st.args...)
	// A page is sorted again, which is little.
	index := strings.Contains(st.query, "OFFSET") || !strings.Contains(st.query, " FROM (")
	if liteScan.MatchString(plan) || index && strings.Contains(plan, "TEMP B-TREE") {
		t.Errorf("%s: %s\n%v\n%s", name, st.query, st.args, plan)
	}
}

// postgresScan is a scan of a whole table, or of all matches for the sake of an order.
var postgresScan = regexp.MustCompile(`Seq Scan on (uploads|files)|Bitmap|Sort|Gather|Hash|Merge`)

// explainPostgres checks the plan for these arguments, and the generic one.
func explainPostgres(t *testing.T, conn *sql.Conn, name string, st statement) {
	t.Helper()
	run := func(command string) {
		t.Helper()
		if _, err := conn.ExecContext(t.Context(), command); err != nil {
			t.Fatalf("%s: %v", command, err)
		}
	}
	good := func(plan string) bool { return !postgresScan.MatchString(plan) }
	run("BEGIN")
	defer run("ROLLBACK")
	run(database.ByIndexAlone)
	if strings.Contains(st.query, "folded_key LIKE") && !strings.Contains(st.query, "ORDER BY") {
		run(database.ByTrigrams)
		good = func(plan string) bool { return strings.Contains(plan, "Bitmap Index Scan on files_keys") }
	}
	literals := make([]string, len(st.args))
	for i, a := range st.args {
		literals[i] = fmt.Sprint(a)
		if text, ok := a.(string); ok {
			literals[i] = "'" + text + "'"
		}
	}
	execute := "p"
	if len(literals) > 0 {
		execute += "(" + strings.Join(literals, ", ") + ")"
	}
	for _, mode := range []string{"force_custom_plan", "force_generic_plan"} {
		run("SET plan_cache_mode = " + mode)
		run("PREPARE p AS " + st.query)
		if plan := lines(t, conn, 1, "EXPLAIN EXECUTE "+execute); !good(plan) {
			t.Errorf("%s, %s: %s\n%v\n%s", name, mode, st.query, st.args, plan)
		}
		run("DEALLOCATE p")
	}
}
