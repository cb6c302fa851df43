package catalogue_test

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/google/go-cmp/cmp"

	"tecken-upload/internal/catalogue"
	"tecken-upload/internal/record"
	"tecken-upload/internal/symbol"
	"tecken-upload/internal/testenv"
	"tecken-upload/internal/upload"
)

var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// half is the time before which half of the uploads began.
var half = "<=" + start.Add(10*time.Hour).Format(time.RFC3339)

// Examples of all parameters, by the path of their list. Each of them alone leaves less than there is, or has another order.
var examples = map[string]map[string]string{
	"/api/uploads/": {
		"user": "ci@", "size": ">=5", "created_at": half, "completed_at": "null", "sort": "size", "reverse": "false", "page": "2", "type": "try",
		"bucket_name": "other", "outcome": "failed", "batch_size": "7",
	},
	"/api/uploads/files/": {
		"user": "ci@", "size": ">=5", "created_at": half, "completed_at": half, "upload_type": "try", "type": "try", "key": "xul1", "update": "true",
		"compressed": "true", "page": "2", "bucket_name": "other", "batch_size": "7",
	},
}

// What a list understands, it heeds: without its condition, a parameter leaves the list as it is.
func TestEveryParameterIsHeeded(t *testing.T) {
	for name, url := range map[string]func(t *testing.T) string{
		"SQLite":     func(t *testing.T) string { return "sqlite:" + filepath.Join(t.TempDir(), "records.db") },
		"PostgreSQL": func(t *testing.T) string { return testenv.Postgres(t) },
	} {
		t.Run(name, func(t *testing.T) {
			s := records(t, url(t))
			for path, parameters := range catalogue.Parameters() {
				all := list(t, s, path, "")
				for _, p := range parameters {
					example := examples[path][p]
					if example == "" {
						t.Errorf("%s has no example of %s", path, p)
						continue
					}
					got := list(t, s, path, p+"="+example)
					if slices.Equal(got, all) || len(got) == 0 && p != "page" {
						t.Errorf("%s?%s=%s: %d rows, of %d without it", path, p, example, len(got), len(all))
					}
				}
			}
		})
	}
}

// What a list understands is documented, and nothing else.
func TestEveryParameterIsDocumented(t *testing.T) {
	doc, err := openapi3.NewLoader().LoadFromFile(filepath.Join(testenv.Root(t), "docs", "openapi.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	for path, understood := range catalogue.Parameters() {
		var documented []string
		for _, p := range doc.Paths.Value(path).Get.Parameters {
			documented = append(documented, p.Value.Name)
		}
		slices.Sort(documented)
		slices.Sort(understood)
		if diff := cmp.Diff(documented, understood); diff != "" {
			t.Errorf("parameters of %s (-documented +understood)\n%s", path, diff)
		}
	}
}

// list returns the ids of the first page of a list.
func list(t *testing.T, s *record.Store, path, query string) (ids []int64) {
	t.Helper()
	if path == "/api/uploads/" {
		q, faults := catalogue.ReadUploads(query, start)
		page, err := s.ListUploads(t.Context(), q)
		if err != nil || len(faults) > 0 {
			t.Errorf("%s: %v, %v", query, err, faults)
		}
		for i := range page.Uploads {
			ids = append(ids, page.Uploads[i].ID)
		}
		return ids
	}
	q, faults := catalogue.ReadFiles(query, start)
	page, err := s.ListFiles(t.Context(), q)
	if err != nil || len(faults) > 0 {
		t.Errorf("%s: %v, %v", query, err, faults)
	}
	for i := range page.Files {
		ids = append(ids, page.Files[i].ID)
	}
	return ids
}

// records opens a database with uploads that differ in all that lists are filtered by.
func records(t *testing.T, url string) *record.Store {
	t.Helper()
	s, err := record.Open(t.Context(), url, record.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	indexed := func(err error) { t.Error(err) }
	if err := errors.Join(s.Migrate(t.Context()), s.RunIndexing(t.Context(), indexed)); err != nil {
		t.Fatal(err)
	}
	var tokens []upload.Token
	for _, user := range []string{"ci@example.com", "dev@example.com"} {
		_, tok, err := s.CreateToken(t.Context(), record.TokenSpec{User: user, Permissions: []upload.Permission{upload.PermissionUpload}, Weight: 1})
		if err != nil {
			t.Fatal(err)
		}
		tokens = append(tokens, tok)
	}
	for i := range 20 {
		u := upload.Upload{
			TokenID: tokens[i%2].ID, Bucket: []string{"symbols", "other"}[i%3%2], Try: i%4 == 0, Size: int64(i * 7 % 20), CreatedAt: start.Add(time.Duration(i) * time.Hour),
		}
		if err := s.Begin(t.Context(), &u); err != nil {
			t.Fatal(err)
		}
		if i == 7 {
			continue // its process died
		}
		u.Outcome, u.EndedAt = upload.Completed, u.CreatedAt.Add(time.Minute)
		if i%5 == 0 {
			u.Outcome = upload.Failed
		}
		for j, file := range []string{"x.sym", "x.pd_"} {
			key, err := symbol.NewKey(fmt.Sprintf("xul%d.pdb", i), "AB", file)
			if err != nil {
				t.Fatal(err)
			}
			u.Files = append(u.Files, upload.File{Name: key.String(), Key: key, State: upload.FileUploaded, StoredSize: int64(i), Replaced: j == 0 && i%3 == 0})
		}
		if err := s.Finish(t.Context(), &u); err != nil {
			t.Fatal(err)
		}
	}
	return s
}
