package server

import (
	"net/http"
	"net/http/httptest"
	"testing"
)

// A download may take as long as it does, as long as it moves: each write has time of its own.
func TestEachWriteHasItsOwnTime(t *testing.T) {
	extended := 0
	w := &downloadWriter{ResponseWriter: httptest.NewRecorder(), extend: func() { extended++ }}
	w.WriteHeader(http.StatusOK)
	for range 3 {
		if _, err := w.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	if extended != 4 {
		t.Errorf("the deadline was set %d times, want 4", extended)
	}
}
