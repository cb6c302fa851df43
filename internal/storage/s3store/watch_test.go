package s3store

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"tecken-upload/internal/background"
)

// panicking is an unreadable body.
type panicking struct{}

func (panicking) Read([]byte) (int, error) { panic("boom") }

// The transport reads bodies in goroutines of its own, where a panic would end the process.
func TestAPanicOfABodyIsAnError(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) }))
	defer server.Close()
	client := &watchedClient{next: server.Client().Transport, stall: time.Minute}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, server.URL, panicking{})
	if err != nil {
		t.Fatal(err)
	}
	resp, err := client.Do(req)
	if err == nil {
		resp.Body.Close()
	}
	if p, ok := errors.AsType[*background.PanicError](err); !ok || p.Value != "boom" {
		t.Errorf("%v", err)
	}
}
