package record_test

import (
	"slices"
	"testing"
	"time"

	"tecken-upload/internal/catalogue"
)

// Examples of all parameters that the lists understand. Each of them alone leaves less than there is, or has another order.
var (
	uploadExamples = map[string]string{
		"user": "ci@", "size": ">=5", "created_at": "<=" + libraryStart.Add(20*time.Hour).Format(time.RFC3339), "completed_at": "null",
		"sort": "size", "reverse": "false", "page": "2", "type": "try", "bucket_name": "other", "outcome": "failed", "batch_size": "7",
	}
	fileExamples = map[string]string{
		"user": "ci@", "size": ">=5", "created_at": "<=" + libraryStart.Add(20*time.Hour).Format(time.RFC3339),
		"completed_at": "<=" + libraryStart.Add(20*time.Hour).Format(time.RFC3339), "upload_type": "try", "type": "try", "key": "xul_a", "update": "true",
		"compressed": "true", "page": "2", "bucket_name": "other", "batch_size": "7",
	}
)

// What a list understands, it heeds: a parameter without its condition leaves the list as it is.
func TestEveryParameterIsHeeded(t *testing.T) {
	eachDatabase(t, func(t *testing.T, url string) {
		l := newLibrary(t, url, 50)
		heeded(t, catalogue.UploadParameters(), uploadExamples, func(query string) (ids []int64) {
			q, faults := catalogue.ReadUploads(query, libraryStart)
			page, err := l.store.ListUploads(t.Context(), q)
			if err != nil || len(faults) > 0 {
				t.Errorf("%s: %v, %v", query, err, faults)
			}
			for i := range page.Uploads {
				ids = append(ids, page.Uploads[i].ID)
			}
			return ids
		})
		heeded(t, catalogue.FileParameters(), fileExamples, func(query string) (ids []int64) {
			q, faults := catalogue.ReadFiles(query, libraryStart)
			page, err := l.store.ListFiles(t.Context(), q)
			if err != nil || len(faults) > 0 {
				t.Errorf("%s: %v, %v", query, err, faults)
			}
			for i := range page.Files {
				ids = append(ids, page.Files[i].ID)
			}
			return ids
		})
	})
}

// heeded compares the list of each parameter's example with that without parameters.
func heeded(t *testing.T, parameters []string, examples map[string]string, list func(query string) []int64) {
	t.Helper()
	all := list("")
	for _, name := range parameters {
		example, ok := examples[name]
		if !ok {
			t.Errorf("%s has no example", name)
			continue
		}
		got := list(name + "=" + example)
		if slices.Equal(got, all) || len(got) == 0 && name != "page" {
			t.Errorf("%s=%s: %d rows, of %d without it", name, example, len(got), len(all))
		}
	}
}
