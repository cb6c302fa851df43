package server

import (
	"io"
	"net/http"
	"testing"
	"time"

	"golang.org/x/sync/semaphore"

	"tecken-upload/internal/fetch/fetchtest"
	"tecken-upload/internal/upload"
)

// idleGate has room for everybody.
type idleGate struct{ Gate }

func (idleGate) Contended() bool { return false }

// A download that is slow makes way for others that wait for their turn, and else may be as slow as it likes.
func TestASlowDownloadThatIsInTheWay(t *testing.T) {
	remote := fetchtest.NewServer(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "PK") }))
	s := &Server{Config: Config{Gate: idleGate{}, FetchWait: time.Millisecond}, fetches: semaphore.NewWeighted(1)}
	leave, err := s.enterFetch(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer leave()
	slow := func() error {
		download, err := remote.Client().Download(remote.At("/"))
		if err != nil {
			t.Fatal(err)
		}
		defer download.Close()
		if err := download.Open(t.Context(), 100); err != nil {
			t.Fatal(err)
		}
		u := &urlSource{download: download, pace: pace{
			min: 100, contended: s.fetchContended, marks: []mark{{at: time.Now().Add(-paceWindow)}},
		}}
		_, err = u.Read(make([]byte, 1))
		return err
	}
	if err := slow(); err != nil {
		t.Errorf("while nobody waits: %v", err)
	}
	if _, err := s.enterFetch(t.Context()); statusOf(err) != http.StatusServiceUnavailable {
		t.Errorf("a second one got its turn: %v", err)
	}
	if err := slow(); upload.OutcomeOf(err) != upload.TimedOut {
		t.Errorf("while others wait: %v", err)
	}
}
