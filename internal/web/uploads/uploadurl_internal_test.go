package uploads

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/labstack/echo/v4"

	"tecken-upload/internal/fetch/fetchtest"
	"tecken-upload/internal/upload"
	"tecken-upload/internal/web/exchange"
)

// idleGate has room for everybody.
type idleGate struct{}

func (idleGate) Enter(context.Context, upload.Token, int64) (upload.Place, error) {
	return upload.Place{Leave: func() {}}, nil
}
func (idleGate) Contended() bool  { return false }
func (idleGate) Fetching() func() { return func() {} }
func (idleGate) RefuseFetch(int, bool) *upload.BusyError {
	return &upload.BusyError{RetryAfter: time.Second}
}

// Turns are contended while somebody is kept out by others who have them, and for a while after that.
func TestTurnsThatAreContended(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &Server{Config: Config{Gate: idleGate{}}, fetches: newFetchTurns(2, 2)}
		s.refusing = t.Context()
		enter := func(tenant int64, wait time.Duration) (leave func(), err error) {
			return s.enterFetch(t.Context(), upload.Token{ID: tenant, Weight: 1}, time.Now().Add(wait))
		}
		first, err := enter(1, time.Second)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := enter(1, time.Second); exchange.Status(err) != http.StatusServiceUnavailable || s.fetchContended() {
			t.Errorf("for want of the tenant's own turn: %v, contended %t", err, s.fetchContended())
		}
		second, err := enter(2, time.Second)
		if err != nil || s.fetchContended() {
			t.Fatalf("%v, contended %t", err, s.fetchContended())
		}
		for _, tc := range []struct {
			wait, give time.Duration
			refused    bool
		}{{time.Second, 500 * time.Millisecond, false}, {time.Second, 2 * time.Second, true}} {
			done := make(chan error)
			go func() {
				leave, err := enter(3, tc.wait)
				if err == nil {
					leave()
				}
				done <- err
			}()
			time.AfterFunc(tc.give, second)
			synctest.Wait()
			if !s.fetchContended() {
				t.Error("somebody waits, and it is not contended")
			}
			err := <-done
			if (err != nil) != tc.refused || s.fetchContended() != tc.refused {
				t.Errorf("after %v: %v, contended %t", tc.give, err, s.fetchContended())
			}
			<-time.After(5 * time.Second)
			if second, err = enter(2, time.Second); err != nil || s.fetchContended() != tc.refused {
				t.Errorf("5 s later: %v, contended %t", err, s.fetchContended())
			}
		}
		<-time.After(fetchRefusalMemory)
		if s.fetchContended() {
			t.Error("a refusal is remembered for too long")
		}
		first()
		second()
		second()
		if st := s.Fetches(); st.Busy != 0 || s.fetches.holders != 0 {
			t.Errorf("%d have turns, of %d", st.Busy, s.fetches.holders)
		}
	})
}

// Two tenants that ask for more than there is take no turn from a third: it has a place to wait in, and the next turn that comes free.
func TestTurnsAreNotForTwoTenants(t *testing.T) {
	for _, c := range []struct{ turns, queue, others int }{{8, 8, 2}, {8, 8, 3}, {2, 2, 2}, {1, 1, 1}} {
		synctest.Test(t, func(t *testing.T) {
			s := &Server{Config: Config{Gate: idleGate{}}, fetches: newFetchTurns(c.turns, c.queue)}
			s.refusing = t.Context()
			var others sync.WaitGroup
			for tenant := range c.others {
				for range c.turns + c.queue {
					others.Go(func() {
						leave, err := s.enterFetch(t.Context(), upload.Token{ID: int64(tenant) + 1, Weight: 1}, time.Now().Add(time.Hour))
						if err == nil {
							<-time.After(time.Minute)
							leave()
						}
					})
				}
			}
			synctest.Wait()
			if !s.fetches.full() {
				t.Fatalf("%+v: %+v", c, s.Fetches())
			}
			start := time.Now()
			leave, err := s.enterFetch(t.Context(), upload.Token{ID: 99, Weight: 1}, time.Now().Add(time.Hour))
			if err != nil || time.Since(start) != time.Minute {
				t.Fatalf("%+v: %v after %v", c, err, time.Since(start))
			}
			leave()
			others.Wait()
			if n := s.fetches.holders; n != 0 || len(s.fetches.tenants) != 0 {
				t.Errorf("%+v: %d are left, of %d tenants", c, n, len(s.fetches.tenants))
			}
		})
	}
}

// A download that is slow makes way for others that wait for their turn, and else may be as slow as it likes.
func TestASlowDownloadThatIsInTheWay(t *testing.T) {
	remote := fetchtest.NewServer(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "PK") }))
	s := &Server{Config: Config{Gate: idleGate{}, ReceiveMinRate: 100, Fetch: remote.Client()}, fetches: newFetchTurns(1, 0)}
	slow := func() error {
		download, err := s.Fetch.Download(remote.At("/"))
		if err != nil {
			t.Fatal(err)
		}
		u := s.newURLSource(download, false, upload.Place{}, func() {})
		defer u.download.Close()
		if err := u.download.Open(t.Context(), 100); err != nil {
			t.Fatal(err)
		}
		u.pace.marks = []mark{{at: time.Now().Add(-paceWindow)}}
		_, err = u.Read(make([]byte, 1))
		return err
	}
	if err := slow(); err != nil {
		t.Errorf("while nobody waits: %v", err)
	}
	s.fetches.refused.Store(time.Now().UnixNano())
	if err := slow(); exchange.Status(err) != http.StatusGatewayTimeout {
		t.Errorf("while others wait: %v", err)
	}
}

// trickle is a form that comes byte by byte, one each five seconds, and the connection it comes over.
type trickle struct {
	http.ResponseWriter
	deadline time.Time
}

func (c *trickle) SetReadDeadline(at time.Time) error {
	c.deadline = at
	return nil
}

func (c *trickle) Read(p []byte) (int, error) {
	select {
	case <-time.After(5 * time.Second):
		p[0] = 'a'
		return 1, nil
	case <-time.After(time.Until(c.deadline)):
		return 0, os.ErrDeadlineExceeded
	}
}

func (c *trickle) Close() error { return nil }

// A form is small, and holds no place: it may not take as long as an archive.
func TestAFormThatTrickles(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn := &trickle{ResponseWriter: httptest.NewRecorder()}
		s := &Server{Config: Config{Gate: idleGate{}, ReceiveTimeout: time.Hour, ReceiveStallTimeout: time.Minute, MaxUploadSize: 1 << 20}}
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/upload/", conn)
		start := time.Now()
		_, err := s.readURLForm(t.Context(), echo.New().NewContext(r, conn))
		if elapsed := time.Since(start); !errors.Is(err, upload.ErrReceiveTimeout) || elapsed > formTimeout {
			t.Errorf("%v after %v", err, elapsed)
		}
		if exchange.Ours(err) {
			t.Error("it is told of as a failure of ours")
		}
	})
}
