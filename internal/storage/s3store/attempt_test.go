package s3store

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"tecken-upload/internal/storage"
	"tecken-upload/internal/symbol"
	"tecken-upload/internal/testenv"
	"tecken-upload/internal/upload"
)

// After a deadline with nothing but 500s, the error has both.
func TestADeadlineTellsWhatStorageDid(t *testing.T) {
	s3 := testenv.S3(t)
	s3.Setenv(t)
	refuser := testenv.RefuseS3(t, s3.Endpoint, 1000, http.StatusInternalServerError, "InternalError")
	passed := errors.New("the deadline passed")
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	var asked atomic.Int64
	endpoint := testenv.HoldS3(t, refuser.Endpoint, func(*http.Request) bool {
		if asked.Add(1) == 2 { // the first was answered
			cancel(passed)
		}
		return false
	})
	place, err := storage.ParseURL(s3.Through(endpoint))
	if err != nil {
		t.Fatal(err)
	}
	store, err := Open(t.Context(), place, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	key, err := symbol.ParseKey("a/AA/a.sym")
	if err != nil {
		t.Fatal(err)
	}
	_, err = store.Stat(ctx, upload.Location{Key: key})
	if !errors.Is(err, passed) || !strings.Contains(err.Error(), "500") {
		t.Errorf("the error: %v", err)
	}
}
