package record_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"net/url"
	"path"
	"reflect"
	"slices"
	"strings"
	"testing"

	"tecken-upload/internal/catalogue"
	"tecken-upload/internal/record"
	"tecken-upload/internal/testenv"
	"tecken-upload/internal/upload"
)

// keysOf returns the keys of the files that q selects, in order.
func keysOf(t *testing.T, s *record.Store, q catalogue.FileQuery) (keys []string) {
	t.Helper()
	q.Limit = 100
	page, err := s.ListFiles(t.Context(), &q)
	if err != nil || page.Next != "" {
		t.Fatalf("%+v: next %q, %v", q, page.Next, err)
	}
	for i := range page.Files {
		keys = append(keys, page.Files[i].Key.String())
	}
	return keys
}

// withKeys records an upload of stored files.
func withKeys(t *testing.T, s *record.Store, tok upload.Token, keys ...string) upload.Upload {
	t.Helper()
	u := begun(t, s, tok)
	u.Outcome, u.EndedAt = upload.Completed, u.CreatedAt
	for _, key := range keys {
		u.Files = append(u.Files, upload.File{Name: key, Key: mustKey(t, key), State: upload.FileUploaded})
	}
	if err := s.Finish(t.Context(), &u); err != nil {
		t.Fatal(err)
	}
	return u
}

// The index of keys has a file as long as its record exists, whichever version of the program writes it.
func TestTheIndexOfKeysFollowsTheRecords(t *testing.T) {
	eachDatabase(t, func(t *testing.T, url string) {
		s := openMigrated(t, url, atExpiry())
		tok := newToken(t, s)
		ask := func(want ...string) {
			t.Helper()
			if got := keysOf(t, s, catalogue.FileQuery{Keys: []string{"BXU"}}); !slices.Equal(got, want) {
				t.Errorf("found %v, want %v", got, want)
			}
		}
		withKeys(t, s, tok, "libxul.so/AB/libxul.so.sym", "a.so/AB/a.sym")
		ask("libxul.so/AB/libxul.so.sym")
		second := withKeys(t, s, tok, "abxu/AB/x.sym")
		ask("abxu/AB/x.sym", "libxul.so/AB/libxul.so.sym")

		// An older version does not fold names; they are folded later.
		exec(t, s, fmt.Sprintf(`INSERT INTO files (upload_id, position, name, debug_file, debug_id, file, state, size, stored_size)
			VALUES (%d, 7, 'n', 'bxu', 'AA', 'b.sym', 'uploaded', 9, 5), (%d, 8, 'n', 'bxu', 'AB', 'b.sym', 'skipped', 9, 5)`, second.ID, second.ID))
		ask("abxu/AB/x.sym", "libxul.so/AB/libxul.so.sym")
		exec(t, s, `UPDATE files SET folded_key = upper(debug_file || '/' || debug_id || '/' || file) WHERE folded_key IS NULL`)
		ask("bxu/AA/b.sym", "abxu/AB/x.sym", "libxul.so/AB/libxul.so.sym")
		exec(t, s, `UPDATE files SET folded_key = 'OTHER' WHERE position = 7`) // by another version of Unicode
		ask("abxu/AB/x.sym", "libxul.so/AB/libxul.so.sym")
		if got := keysOf(t, s, catalogue.FileQuery{Keys: []string{"THE"}}); !slices.Equal(got, []string{"bxu/AA/b.sym"}) {
			t.Errorf("folded once more: %v", got)
		}

		exec(t, s, fmt.Sprintf(`DELETE FROM uploads WHERE id = %d`, second.ID))
		ask("libxul.so/AB/libxul.so.sym")
		exec(t, s, `UPDATE uploads SET created_at = 1`)
		if gone, err := s.Expire(t.Context(), retention); err != nil || gone.Uploads != 1 {
			t.Errorf("expired %+v, %v", gone, err)
		}
		ask()
		if path.Base(t.Name()) == "SQLite" {
			if left := column(t, s, `SELECT count(*) FROM files_keys_docsize`); left[0] != "0" {
				t.Errorf("%s keys are left in the index", left[0])
			}
			exec(t, s, `INSERT INTO files_keys (files_keys) VALUES ('integrity-check')`)
		}
	})
}

// Names of a SQLite database that were folded before the index of keys existed are in it.
func TestUpgradeIndexesKeysThatAreFolded(t *testing.T) {
	s := migratedTo(t, sqliteURL(t), 12)
	exec(t, s, `UPDATE files SET folded_key = 'A.SO/AA/A.SYM' WHERE upload_id = 1`)
	if err := s.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := keysOf(t, s, catalogue.FileQuery{Keys: []string{"SO/AA"}}); len(got) != 1 {
		t.Errorf("found %v", got)
	}
	exec(t, s, `DELETE FROM uploads`)
	if left := column(t, s, `SELECT count(*) FROM files_keys_docsize`); left[0] != "0" {
		t.Errorf("%s keys are left in the index", left[0])
	}
}

// If PostgreSQL does not grant the extension, everything works; parts of keys match beginnings, and the log says so. Once it is granted,
// the next start makes the index.
func TestADatabaseThatDoesNotGrantTheExtension(t *testing.T) {
	admin := testenv.Postgres(t)
	address, err := url.Parse(admin)
	if err != nil {
		t.Fatal(err)
	}
	owner := open(t, admin, record.Options{})
	role := "plain_" + path.Base(address.Path)
	exec(t, owner, `CREATE ROLE `+role+` LOGIN`)
	exec(t, owner, `GRANT ALL ON SCHEMA public TO `+role)
	address.User = url.User(role)
	start := func() (s *record.Store, log string) {
		t.Helper()
		var text bytes.Buffer
		s = openMigrated(t, address.String(), record.Options{Logger: slog.New(slog.NewTextHandler(&text, nil))})
		return s, text.String()
	}
	const warning = "the API looks for keys by their beginnings alone"
	for range 2 { // each start logs it
		s, log := start()
		if !strings.Contains(log, "level=WARN msg=\""+warning) || !strings.Contains(log, "42501") {
			t.Errorf("the log says %s", log)
		}
		withKeys(t, s, newToken(t, s), "libxul.so/AB/libxul.so.sym")
	}
	s, _ := start()
	l := library{store: s, prefixes: true}
	for _, q := range []catalogue.FileQuery{
		{Keys: []string{"XUL"}}, {Keys: []string{"LIBXUL.SO/A"}}, {Keys: []string{"LIB", "LIBX"}}, {Keys: []string{"LIB", "XUL"}}, {Keys: []string{"L"}, Prefixes: []string{"LIBX"}},
	} {
		matches := matchesKey(&upload.File{Key: mustKey(t, "libxul.so/AB/libxul.so.sym")}, &q, l.prefixes)
		if got := keysOf(t, s, q); (len(got) == 2) != matches || len(got) == 1 {
			t.Errorf("%v: found %v", q, got)
		}
	}

	// It may be in a schema of its own.
	exec(t, owner, `CREATE SCHEMA "Our extensions"`)
	exec(t, owner, `CREATE EXTENSION pg_trgm SCHEMA "Our extensions"`)
	exec(t, owner, `GRANT USAGE ON SCHEMA "Our extensions" TO `+role)
	s, log := start()
	if got := keysOf(t, s, catalogue.FileQuery{Keys: []string{"XUL"}}); len(got) != 2 || strings.Contains(log, warning) || !strings.Contains(log, "keys of files indexed") {
		t.Errorf("found %v, the log says %s", got, log)
	}
}

// The remains of an interrupted attempt are no index. One instance makes it, the others find it.
func TestTheIndexOfKeysIsMadeByOne(t *testing.T) {
	address := testenv.Postgres(t)
	s := openMigrated(t, address, record.Options{})
	withKeys(t, s, newToken(t, s), "libxul.so/AB/libxul.so.sym")
	exec(t, s, `UPDATE pg_index SET indisvalid = FALSE WHERE indexrelid = 'files_keys'::regclass`)

	other := open(t, address, record.Options{})
	if err := other.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	conn, err := raw(t, s).Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	hold := func(statement string) {
		t.Helper()
		if _, err := conn.ExecContext(t.Context(), statement, int64(0x7465636b6b657973)); err != nil {
			t.Fatal(err)
		}
	}
	hold(`SELECT pg_advisory_lock($1)`)
	wantErr(t, "IndexKeys", other.IndexKeys(t.Context()), upload.ErrUnavailable)
	if got := keysOf(t, other, catalogue.FileQuery{Keys: []string{"XUL"}}); len(got) != 0 {
		t.Errorf("without the index it found %v", got)
	}
	hold(`SELECT pg_advisory_unlock($1)`)
	if err := conn.Close(); err != nil {
		t.Fatal(err)
	}

	indexed(t, other)
	if valid := column(t, s, `SELECT indisvalid FROM pg_index WHERE indexrelid = 'files_keys'::regclass`); valid[0] != "true" {
		t.Errorf("the index is valid: %s", valid[0])
	}
	if locks := column(t, s, `SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`); locks[0] != "0" {
		t.Errorf("%s advisory locks are left", locks[0])
	}
	if got := keysOf(t, other, catalogue.FileQuery{Keys: []string{"XUL"}}); len(got) != 1 {
		t.Errorf("found %v", got)
	}
}

// PostgreSQL's index knows only three letters or digits in a row: other parts are searched page by page.
func TestPartsThatAnIndexDoesNotKnow(t *testing.T) {
	eachDatabase(t, func(t *testing.T, url string) {
		s := openMigrated(t, url, record.Options{})
		withKeys(t, s, newToken(t, s), "libc++.so/AA/libc++.so.sym", "a.so/AA/a.sym", "b.so/AA/b.sym", "c.so/AA/c.sym", "d-é.so/AA/d.sym")
		s.Scan = 1
		for part, byIndex := range map[string]bool{"C++": false, "-\u00c9.S": false, "BC++": false, "LIBC+": true, "++.SO/AA/LI": false} {
			asked := false
			s.Trace = func(query string, _ []any) {
				asked = asked || strings.HasPrefix(query, "SELECT id FROM files WHERE state")
			}
			found := 0
			for q := (catalogue.FileQuery{Keys: []string{part}, Limit: 5}); ; {
				page, err := s.ListFiles(t.Context(), &q)
				if err != nil {
					t.Fatal(err)
				}
				found += len(page.Files)
				if q.After = page.Next; q.After == "" {
					break
				}
			}
			if found != 1 || asked != (byIndex && path.Base(t.Name()) != "SQLite") {
				t.Errorf("%s: found %d, by the index: %t", part, found, asked)
			}
		}
	})
}

// Pages by number equal those by cursor, and past the counted records they lead on.
func TestPagesByNumber(t *testing.T) {
	const uploads = catalogue.MaxSkip + 3
	eachDatabase(t, func(t *testing.T, url string) {
		s := openMigrated(t, url, record.Options{})
		fill(t, s, uploads, 2) // of each the second one is stored
		yes := true
		lists := map[string]func(limit, skip int, after string) (ids []int64, next string, passed int){
			"uploads": func(limit, skip int, after string) (ids []int64, next string, passed int) {
				page, err := s.ListUploads(t.Context(), &catalogue.UploadQuery{Limit: limit, Skip: skip, After: after})
				if err != nil {
					t.Fatal(err)
				}
				for i := range page.Uploads {
					ids = append(ids, page.Uploads[i].ID)
				}
				return ids, page.Next, page.Skipped
			},
		}
		for name, q := range map[string]catalogue.FileQuery{"files": {}, "files of a kind": {Compressed: &yes}, "files by part": {Keys: []string{"ODUL"}}, "files by prefix": {Prefixes: []string{"MODU"}}} {
			if q.Compressed != nil {
				*q.Compressed = false // of each upload the stored one
			}
			lists[name] = func(limit, skip int, after string) (ids []int64, next string, passed int) {
				q.Limit, q.Skip, q.After = limit, skip, after
				page, err := s.ListFiles(t.Context(), &q)
				if err != nil {
					t.Fatal(err)
				}
				for i := range page.Files {
					ids = append(ids, page.Files[i].ID)
				}
				return ids, page.Next, page.Skipped
			}
		}
		for name, list := range lists {
			if name == "files by part" || name == "files by prefix" || name == "files of a kind" {
				s.Scan = 150_000 // these are searched among all
			}
			wantNumbers(t, name, uploads, list)
		}
	})
}

// wantNumbers compares pages by number with pages by cursor.
func wantNumbers(t *testing.T, name string, records int, list func(limit, skip int, after string) ([]int64, string, int)) {
	t.Helper()
	var all []int64
	for after := ""; after != "" || all == nil; {
		ids, next, passed := list(1000, 0, after)
		if passed != 0 {
			t.Fatalf("%s: passed over %d", name, passed)
		}
		all, after = append(all, ids...), next
	}
	if len(all) != records {
		t.Fatalf("%s: %d records, want %d", name, len(all), records)
	}
	for _, skip := range []int{1, 999, catalogue.MaxSkip - 7, catalogue.MaxSkip - 1} {
		ids, next, passed := list(7, skip, "")
		if want := all[skip:min(skip+7, records)]; !slices.Equal(ids, want) || passed != skip || next == "" != (skip+7 >= records) {
			t.Errorf("%s: behind %d: %v, want %v; passed over %d, next %q", name, skip, ids, want, passed, next)
		}
	}
	for _, skip := range []int{catalogue.MaxSkip, catalogue.MaxSkip * 1000} {
		ids, next, _ := list(7, skip, "")
		if len(ids) != 0 || next == "" {
			t.Errorf("%s: behind %d: %v, next %q", name, skip, ids, next)
			continue
		}
		if ids, _, _ := list(7, 0, next); !slices.Equal(ids, all[catalogue.MaxSkip:]) {
			t.Errorf("%s: behind %d it leads to %v", name, skip, ids)
		}
	}
	// With fewer records the number is exact.
	_, before, _ := list(1, records-5, "")
	if ids, next, passed := list(7, 500, before); len(ids) != 0 || next != "" || passed != 4 {
		t.Errorf("%s: behind the end: %v, next %q, passed over %d", name, ids, next, passed)
	}
}

// Some question with plans and figures uses each field of a query.
func TestEveryFieldOfAQueryIsAsked(t *testing.T) {
	for _, q := range []any{catalogue.UploadQuery{}, catalogue.FileQuery{}} {
		kind := reflect.TypeOf(q)
		asked := make(map[string]bool)
		for _, question := range questions() {
			if v := reflect.ValueOf(question.query); question.query != nil && v.Type() == kind {
				for i := range kind.NumField() {
					asked[kind.Field(i).Name] = asked[kind.Field(i).Name] || !v.Field(i).IsZero()
				}
			}
		}
		for i := range kind.NumField() {
			if name := kind.Field(i).Name; !asked[name] && name != "Limit" && name != "After" { // each asks for two pages
				t.Errorf("%v: no question has %s", kind, name)
			}
		}
	}
}
