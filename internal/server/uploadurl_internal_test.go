package server

import (
	"errors"
	"io"
	"net/http"
	"testing"
	"time"

	"tecken-upload/internal/fetch/fetchtest"
	"tecken-upload/internal/upload"
)

// A download that holds room others wait for makes way, as a body does.
func TestASlowDownloadThatIsInTheWay(t *testing.T) {
	remote := fetchtest.NewServer(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "PK") }))
	for _, contended := range []bool{false, true} {
		download, err := remote.Client().Download(remote.At("/"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = download.Close() })
		if err := download.Open(t.Context(), 100); err != nil {
			t.Fatal(err)
		}
		u := &urlSource{download: download, pace: pace{
			min:       100,
			contended: func() bool { return contended },
			marks:     []mark{{at: time.Now().Add(-paceWindow)}},
		}}
		if _, err := u.Read(make([]byte, 1)); errors.Is(err, upload.ErrReceiveTimeout) != contended {
			t.Errorf("while others wait (%t): %v", contended, err)
		}
	}
}
