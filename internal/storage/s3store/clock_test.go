package s3store

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"tecken-upload/internal/storage/storagetest"
	"tecken-upload/internal/testenv"
	"tecken-upload/internal/upload"
)

// A wrong clock is corrected by S3's: from the first call of any kind on, and for clients' addresses, even if another Store of the process
// has measured it.
func TestClockThatIsWrong(t *testing.T) {
	for _, ahead := range []time.Duration{20 * time.Minute, -20 * time.Minute} {
		t.Run(ahead.String(), func(t *testing.T) {
			server := testenv.S3(t)
			front := testenv.Ahead(ahead)(t, server)
			loc, c := storagetest.Location(t, "a.pdb/1/a.pdb"), storagetest.Random(1, small)
			for name, call := range map[string]func(s *Store) error{
				"stat": func(s *Store) error {
					_, err := s.Stat(t.Context(), loc)
					if errors.Is(err, upload.ErrNotFound) {
						return nil
					}
					return err
				},
				"put":   func(s *Store) error { return put(t.Context(), t, s, loc, c, nil) },
				"check": func(s *Store) error { return s.Check(t.Context()) },
				"list":  func(s *Store) error { _, err := list(t, s); return err },
			} {
				if err := call(open(t, server, front, quick)); err != nil {
					t.Errorf("%s first: %v", name, err)
				}
			}

			var clock Clock
			uploads, lookups := open(t, server, front, withClock(&clock)), open(t, server, front, withClock(&clock))
			linker := NewLinker(lookups, "", time.Minute)
			c.Put(t, uploads, loc)
			address, _, err := linker.URL(t.Context(), loc)
			if err != nil {
				t.Fatal(err)
			}
			if status := statusAt(t, address); status != http.StatusOK {
				t.Errorf("a presigned address: status %d", status)
			}
		})
	}
}

// withClock are quick Options with a clock.
func withClock(c *Clock) Options {
	opts := quick
	opts.Clock = c
	return opts
}

// statusAt returns the status of a GET.
func statusAt(t *testing.T, address string) int {
	t.Helper()
	resp, err := http.Get(address)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	return resp.StatusCode
}

// A refusal without the word time is retried if the answer's time differs from the signed one; then the answer's time is signed, and
// another refusal has another reason.
func TestRefusedForTheTime(t *testing.T) {
	for ahead, want := range map[time.Duration]int64{
		0: 1, 3 * time.Minute: 1, -3 * time.Minute: 1, 5 * time.Minute: 2, -5 * time.Minute: 2, 1000 * time.Hour: 2,
	} {
		for method, call := range map[string]func(s *Store) error{
			http.MethodHead: func(s *Store) error {
				_, err := s.Stat(t.Context(), storagetest.Location(t, "a.pdb/1/a.pdb"))
				return err
			},
			http.MethodGet: func(s *Store) error { _, err := list(t, s); return err },
		} {
			var requests atomic.Int64
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				requests.Add(1)
				w.Header().Set("Date", time.Now().Add(ahead).UTC().Format(http.TimeFormat))
				w.WriteHeader(http.StatusForbidden)
			}))
			t.Cleanup(server.Close)
			s := open(t, testenv.S3Server{Bucket: "symbols", Region: "us-east-1", Access: "a", Secret: "s"}, server.URL, quick)
			if err := call(s); kindOf(err) != refused || requests.Load() != want {
				t.Errorf("%s, %v ahead: %d requests, %v; want %d", method, ahead, requests.Load(), err, want)
			}
		}
	}
}
