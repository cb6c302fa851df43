package s3store

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"tecken-upload/internal/storage"
	"tecken-upload/internal/symbol"
	"tecken-upload/internal/testenv"
	"tecken-upload/internal/upload"
)

// A deadline that passes while storage answers 500 again and again: the error tells both.
func TestADeadlineTellsWhatStorageDid(t *testing.T) {
	s3 := testenv.S3(t)
	s3.Setenv(t)
	refuser := testenv.RefuseS3(t, s3.Endpoint, 1000, http.StatusInternalServerError, "InternalError")
	place, err := storage.ParseURL(s3.Through(refuser.Endpoint))
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
	passed := errors.New("the deadline passed")
	ctx, cancel := context.WithTimeoutCause(t.Context(), 500*time.Millisecond, passed)
	defer cancel()
	_, err = store.Stat(ctx, upload.Location{Key: key})
	if !errors.Is(err, passed) || !strings.Contains(err.Error(), "500") {
		t.Errorf("the error: %v", err)
	}
}
