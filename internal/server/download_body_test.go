package server

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"

	"tecken-upload/internal/upload"
)

// A download may take as long as it does, as long as it moves: each write has time of its own.
func TestEachWriteHasItsOwnTime(t *testing.T) {
	extended := 0
	stopping, stop := context.WithCancelCause(t.Context())
	w := &downloadWriter{ResponseWriter: httptest.NewRecorder(), payload: &payload{}, ending: stopping, extend: func() { extended++ }}
	w.WriteHeader(http.StatusOK)
	for range 3 {
		if _, err := w.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	if extended != 4 {
		t.Errorf("the deadline was set %d times, want 4", extended)
	}
	stop(upload.ErrShutdown)
	if _, err := w.Write([]byte("x")); !errors.Is(err, upload.ErrShutdown) {
		t.Errorf("write while the server stops: %v", err)
	}
}
