package record_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"tecken-upload/internal/catalogue"
	"tecken-upload/internal/record"
	"tecken-upload/internal/upload"
)

// fillNow is the time of a filled database's last upload.
var fillNow = time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)

const (
	fillUsers    = 40
	fillInterval = 8 * time.Minute // between two uploads
)

// fill records uploads with that many files each, shaped like those of a large project: nearly all are one user's, a quarter are try
// uploads, a quarter of the files come with every upload.
func fill(t testing.TB, s *record.Store, uploads, files int) {
	t.Helper()
	run := func(statement string) {
		t.Helper()
		if _, err := raw(t, s).ExecContext(t.Context(), statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
	for i := range fillUsers {
		_, tok, err := s.CreateToken(t.Context(), record.TokenSpec{
			User: fmt.Sprintf("user%d@example.com", i+1), Permissions: []upload.Permission{upload.PermissionUpload}, Weight: 1,
		})
		if err != nil || tok.UserID != int64(i+1) || tok.ID != tok.UserID {
			t.Fatalf("token %+v: %v", tok, err)
		}
	}
	count := func(from, n int) string {
		return fmt.Sprintf("WITH RECURSIVE n(i) AS (SELECT %d UNION ALL SELECT i + 1 FROM n WHERE i < %d) ", from, from+n-1)
	}
	begin := fillNow.Add(-time.Duration(uploads) * fillInterval).UnixMicro()
	run(count(1, uploads) + fmt.Sprintf(`
		INSERT INTO uploads (user_id, token_id, token_label, filename, bucket, try, format, size, created_at, ended_at, outcome, uploaded_count, skipped_count)
		SELECT CASE WHEN i %% 33 = 0 THEN 2 + i / 33 %% %d ELSE 1 END, CASE WHEN i %% 33 = 0 THEN 2 + i / 33 %% %d ELSE 1 END,
			'', 'symbols.zip', CASE WHEN i %% 1000 = 0 THEN 'old' ELSE 'symbols' END, i %% 4 = 0, 'zip',
			CAST(i AS BIGINT) * 7919 %% 1300 * 1000000, %d + CAST(i AS BIGINT) * %d, %d + CAST(i AS BIGINT) * %d,
			CASE WHEN i %% 50 = 0 THEN 'failed' ELSE 'completed' END, %d, %d
		FROM n`, fillUsers-1, fillUsers-1, begin, fillInterval.Microseconds(), begin, fillInterval.Microseconds(), files-(files+3)/4, (files+3)/4))
	run(count(0, files) + fmt.Sprintf(`
		INSERT INTO files (upload_id, position, name, debug_file, debug_id, file, state, size, stored_size, replaced,
			module_os, module_arch, module_debug_file, module_debug_id, code_id, folded_key)
		SELECT id, i, f, f, d, f || CASE i %% 2 WHEN 0 THEN '.sym' ELSE '.dbg.gz' END, CASE i %% 4 WHEN 0 THEN 'skipped' ELSE 'uploaded' END,
			5000000000, CASE i WHEN 1 THEN 1000000000 ELSE id * 7919 %% 5000000 END, id %% 500 = 1,
			'Linux', 'x86_64', f, d, CASE i %% 2 WHEN 0 THEN d END, upper(f || '/' || d || '/' || f || CASE i %% 2 WHEN 0 THEN '.sym' ELSE '.dbg.gz' END)
		FROM (
			SELECT id, i, 'module' || (i / 2) || '.so' AS f,
				(100000000000000000 + CASE WHEN i %% 4 = 0 THEN i / 2 ELSE (id * 7919 + i) %% 99999989 * 1000000007 END) || '00000000000000A' AS d
			FROM uploads CROSS JOIN n
		) AS shaped ORDER BY id, i`))
	run(fmt.Sprintf(`
		INSERT INTO upload_days (day, user_id, upload_count, upload_size, file_count, file_size)
		SELECT created_at / 86400000000, user_id, count(*), sum(size), sum(uploaded_count), %d FROM uploads GROUP BY 1, 2`, files))
}

// A question is a query of the records API.
type question struct {
	name  string
	query any                                                       // nil for no list
	ask   func(t testing.TB, s *record.Store, batch int) (rows int) // its first two pages
}

// questions are of every kind, including those that find little of much.
func questions() []question {
	return slices.Concat(uploadQuestions(), fileQuestions(), memberQuestions(), []question{
		{"statistics of all", nil, func(t testing.TB, s *record.Store, _ int) int {
			if _, err := s.Stats(t.Context(), 0, fillNow); err != nil {
				t.Fatal(err)
			}
			return 1
		}},
	})
}

// ago is a range of times before now.
func ago(from, until time.Duration) *catalogue.Span {
	return &catalogue.Span{From: fillNow.Add(-from).UnixMicro(), Until: fillNow.Add(-until).UnixMicro()}
}

func uploadQuestions() (all []question) {
	yes := true
	big := &catalogue.Span{From: 1 << 40, Until: 1 << 50}
	middling := &catalogue.Span{From: 500_000_000, Until: 600_000_000}
	old := []catalogue.Term{{Text: "old"}}
	for _, q := range []struct {
		name string
		q    catalogue.UploadQuery
	}{
		{"uploads", catalogue.UploadQuery{}},
		{"uploads, oldest first", catalogue.UploadQuery{Ascending: true}},
		{"uploads by size", catalogue.UploadQuery{BySize: true}},
		{"uploads by size, smallest first", catalogue.UploadQuery{BySize: true, Ascending: true}},
		{"uploads of the busy user", catalogue.UploadQuery{UserID: 1}},
		{"uploads of the busy user by size", catalogue.UploadQuery{UserID: 1, BySize: true}},
		{"uploads of another user", catalogue.UploadQuery{UserID: 7}},
		{"uploads of another user by e-mail, by size", catalogue.UploadQuery{User: catalogue.Term{Text: "user7@"}, BySize: true}},
		{"uploads of some users", catalogue.UploadQuery{User: catalogue.Term{Text: "user3"}}},
		{"uploads of all but the busy user", catalogue.UploadQuery{User: catalogue.Term{Text: "user1@example.com", Not: true}}},
		{"uploads of a size", catalogue.UploadQuery{Size: middling}},
		{"uploads of a size nobody has", catalogue.UploadQuery{Size: big}},
		{"uploads of a size nobody has, by size", catalogue.UploadQuery{Size: big, BySize: true}},
		{"uploads of a day", catalogue.UploadQuery{Created: ago(12*24*time.Hour, 11*24*time.Hour)}},
		{"uploads of a day by size", catalogue.UploadQuery{Created: ago(12*24*time.Hour, 11*24*time.Hour), BySize: true}},
		{"uploads completed on a day", catalogue.UploadQuery{Completed: ago(12*24*time.Hour, 11*24*time.Hour)}},
		{"uploads of a user, day, size and kind", catalogue.UploadQuery{UserID: 1, Created: ago(12*24*time.Hour, 0), Size: middling, Try: &yes}},
		{"try uploads", catalogue.UploadQuery{Try: &yes}},
		{"uploads in progress", catalogue.UploadQuery{Running: true}},
		{"uploads that were not completed", catalogue.UploadQuery{Incomplete: true}},
		{"failed uploads of a bucket", catalogue.UploadQuery{Outcome: upload.Failed, Buckets: old}},
		{"uploads behind the first pages", catalogue.UploadQuery{Skip: 5000}},
		{"uploads behind all that are counted through", catalogue.UploadQuery{Skip: catalogue.MaxSkip}},
		{"try uploads behind the first pages", catalogue.UploadQuery{Try: &yes, Skip: 2000}},
	} {
		all = append(all, question{q.name, q.q, func(t testing.TB, s *record.Store, batch int) int { return askUploads(t, s, q.q, batch) }})
	}
	return all
}

func fileQuestions() (all []question) {
	yes, no := true, false
	big := &catalogue.Span{From: 1 << 40, Until: 1 << 50}
	unused := []catalogue.Term{{Text: "unused"}, {Text: "old", Not: true}}
	for _, q := range []struct {
		name string
		q    catalogue.FileQuery
	}{
		{"files", catalogue.FileQuery{}},
		{"files of another user", catalogue.FileQuery{UserID: 7}},
		{"files of some users", catalogue.FileQuery{User: catalogue.Term{Text: "user3"}}},
		{"files of a size nobody has", catalogue.FileQuery{Size: big}},
		{"files of a day", catalogue.FileQuery{Created: ago(12*24*time.Hour, 11*24*time.Hour)}},
		{"files completed on a day", catalogue.FileQuery{Completed: ago(12*24*time.Hour, 11*24*time.Hour)}},
		{"try files of an unused bucket", catalogue.FileQuery{Try: &yes, Buckets: unused}},
		{"compressed files", catalogue.FileQuery{Compressed: &yes}},
		{"files that replaced others", catalogue.FileQuery{Replaced: &yes}},
		{"files behind the first pages", catalogue.FileQuery{Skip: 9000}},
		{"files behind all that are counted through", catalogue.FileQuery{Skip: catalogue.MaxSkip}},
		{"compressed files behind the first pages", catalogue.FileQuery{Compressed: &yes, Skip: 2000}},
		{"a part that all keys have", catalogue.FileQuery{Keys: []string{"MODULE"}}},
		{"a part that half of the keys have", catalogue.FileQuery{Keys: []string{".SYM"}}},
		{"a part that some keys have", catalogue.FileQuery{Keys: []string{"MODULE17"}}},
		{"a part that some keys have, behind the first pages", catalogue.FileQuery{Keys: []string{"MODULE17"}, Skip: 100}},
		{"a part that few keys have", catalogue.FileQuery{Keys: []string{"0789"}}},
		{"a part that one key has", catalogue.FileQuery{Keys: []string{"91901005543"}}},
		{"a part that no key has", catalogue.FileQuery{Keys: []string{"NOTHING"}}},
		{"parts that no key has together", catalogue.FileQuery{Keys: []string{".DBG", ".SYM"}}},
		{"parts that no key has together, trigram by trigram", catalogue.FileQuery{Keys: []string{"DBG.SYM"}}},
		{"a part of two keys and a beginning", catalogue.FileQuery{Keys: []string{"MODULE3", "0789"}, Prefixes: []string{"M"}}},
		{"a part that some keys have, of another user", catalogue.FileQuery{Keys: []string{"MODULE1"}, UserID: 7}},
		{"a part that some keys have, of a size nobody has, in regular uploads of an unused bucket",
			catalogue.FileQuery{Keys: []string{"MODULE1"}, Size: big, Try: &no, Buckets: unused}},
		{"a part that all keys have, in old uploads", catalogue.FileQuery{Keys: []string{"MODULE"}, Created: ago(time.Hour<<20, time.Hour<<19)}},
		{"a short part", catalogue.FileQuery{Keys: []string{"MO"}}},
		{"a prefix", catalogue.FileQuery{Prefixes: []string{"MOD"}}},
		{"a prefix behind the first pages", catalogue.FileQuery{Prefixes: []string{"MOD"}, Skip: 2000}},
		{"a prefix, try files of another user", catalogue.FileQuery{Prefixes: []string{"MOD"}, UserID: 7, Try: &yes}},
	} {
		all = append(all, question{q.name, q.q, func(t testing.TB, s *record.Store, batch int) int { return askFiles(t, s, q.q, batch) }})
	}
	return all
}

// memberQuestions are for the answers with the members of uploads.
func memberQuestions() (all []question) {
	all = append(all, question{"files of an upload", nil, func(t testing.TB, s *record.Store, batch int) int {
		files, err := s.StoredFiles(t.Context(), &catalogue.Upload{Upload: upload.Upload{ID: 100}}, -1, batch)
		if err != nil {
			t.Fatal(err)
		}
		return len(files)
	}})
	for _, ignored := range []bool{false, true} {
		all = append(all, question{fmt.Sprintf("members of uploads that were passed over, ignored %t", ignored), nil, func(t testing.TB, s *record.Store, batch int) (rows int) {
			for first := int64(1); first <= int64(batch); first += catalogue.MaxPassedUploads {
				q := catalogue.PassedQuery{Ignored: ignored, Limit: 10_000}
				for id := first; id <= int64(batch) && len(q.Uploads) < catalogue.MaxPassedUploads; id++ {
					q.Uploads = append(q.Uploads, id)
				}
				passed, err := s.PassedFiles(t.Context(), &q)
				if err != nil {
					t.Fatal(err)
				}
				rows += len(passed)
			}
			return rows
		}})
	}
	return all
}

// askUploads reads the first two pages of a list.
func askUploads(t testing.TB, s *record.Store, q catalogue.UploadQuery, batch int) (rows int) {
	t.Helper()
	q.Limit = batch
	page, err := s.ListUploads(t.Context(), &q)
	if err != nil {
		t.Fatal(err)
	}
	rows = len(page.Uploads)
	if q.After == "" && page.Next != "" {
		q.After, q.Skip = page.Next, 0
		rows += askUploads(t, s, q, batch)
	}
	return rows
}

// askFiles is the same for files.
func askFiles(t testing.TB, s *record.Store, q catalogue.FileQuery, batch int) (rows int) {
	t.Helper()
	q.Limit = batch
	page, err := s.ListFiles(t.Context(), &q)
	if err != nil {
		t.Fatal(err)
	}
	rows = len(page.Files)
	if q.After == "" && page.Next != "" {
		q.After, q.Skip = page.Next, 0
		rows += askFiles(t, s, q, batch)
	}
	return rows
}
