package web_test

import (
	"archive/zip"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"tecken-upload/internal/fetch/fetchtest"
	"tecken-upload/internal/testenv"
	"tecken-upload/internal/upload"
	"tecken-upload/internal/web"
	"tecken-upload/internal/web/uploads"
)

// slowAndQuick serves an archive: at /slow as hold does, and else at once.
func slowAndQuick(t *testing.T) (*hold, *fetchtest.Server) {
	content := zipped(t, []byte("x"), zip.Store, "a/AA/a.bin")
	h := newHold(content)
	return h, fetchtest.NewServer(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			h.ServeHTTP(w, r)
			return
		}
		_, _ = w.Write(content)
	}))
}

// background asks for an upload by URL, and checks its answer's status when wait is called.
func (s *site) background(token, address string, status int) (wait func()) {
	var a answer
	var wg sync.WaitGroup
	wg.Go(func() { a = s.postURL(token, address) })
	return func() {
		s.Helper()
		wg.Wait()
		if a.status != status {
			s.Errorf("%s: status %d, want %d: %v", address, a.status, status, a.body)
		}
	}
}

// waitFor waits until so many uploads wait for a turn to download.
func (s *site) waitFor(n int) {
	s.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(testenv.Patience); time.Now().Before(end); <-tick.C {
		if s.server.Fetches().Waiting == n {
			return
		}
	}
	s.Fatalf("%d wait, want %d", s.server.Fetches().Waiting, n)
}

// However slow what one tenant fetches from is, and however much it asks for, others are fetched for.
func TestASlowSourceIsItsTenantsOwn(t *testing.T) {
	h, remote := slowAndQuick(t)
	s := newSite(t, from(remote), func(c *web.Config, _ *upload.Config) { c.Uploads.FetchWait = 10 * time.Second })
	first := s.background(s.token, remote.At("/slow"), 201)
	s.wait(h.began, "the first download")
	second := s.background(s.token, remote.At("/slow"), 201)
	s.waitFor(1)
	if a := s.postURL(s.token, remote.At("/x.zip")); a.status != 429 || !strings.Contains(a.text(), "for you") {
		t.Errorf("one more than the tenant may have: status %d: %v", a.status, a.body)
	}
	other := s.makeToken(upload.PermissionUpload)
	for range 3 {
		if a := s.postURL(other, remote.At("/x.zip")); a.status != 201 {
			t.Errorf("another tenant: status %d: %v", a.status, a.body)
		}
	}
	close(h.goOn)
	first()
	second()
	if st := s.server.Fetches(); st.Busy != 0 || st.Waiting != 0 {
		t.Errorf("none is fetched, and %d have turns, %d wait", st.Busy, st.Waiting)
	}
}

// Downloads have a bound of their own, and so have those that wait for one: however many there are, bodies are taken. What is refused
// leaves nothing.
func TestDownloadsAreBounded(t *testing.T) {
	h, remote := slowAndQuick(t)
	s := newSite(t, from(remote), func(c *web.Config, _ *upload.Config) { c.Uploads.FetchQueue, c.Uploads.FetchWait = 1, 10*time.Second })
	var waits []func()
	for range 2 {
		waits = append(waits, s.background(s.makeToken(upload.PermissionUpload), remote.At("/slow"), 201))
		s.wait(h.began, "a download")
	}
	waits = append(waits, s.background(s.token, remote.At("/x.zip"), 201))
	s.waitFor(1)
	a := s.postURL(s.makeToken(upload.PermissionUpload), remote.At("/x.zip"))
	if a.status != 503 || a.text() != "This server is downloading as many archives as it can. Try again later." {
		t.Errorf("one more: status %d, %q", a.status, a.text())
	}
	if after, err := strconv.Atoi(a.header.Get("Retry-After")); err != nil || after < 1 || after > 120 {
		t.Errorf("Retry-After %q", a.header.Get("Retry-After"))
	}
	if usage, err := s.spool.Usage(t.Context()); err != nil || usage.Live != 3 {
		t.Errorf("%d have room: %v", usage.Live, err)
	}
	if a := s.post(s.makeToken(upload.PermissionUpload), h.content); a.status != 201 {
		t.Errorf("a body meanwhile: status %d: %v", a.status, a.body)
	}
	close(h.goOn)
	for _, wait := range waits {
		wait()
	}
	if a := s.postURL(s.token, remote.At("/x.zip")); a.status != 201 {
		t.Errorf("afterwards: status %d: %v", a.status, a.body)
	}
}

// slowGate lets in after a while.
type slowGate struct {
	uploads.Gate
	wait time.Duration
}

func (g slowGate) Enter(ctx context.Context, token upload.Token, size int64) (upload.Place, error) {
	<-time.After(g.wait)
	return g.Gate.Enter(ctx, token, size)
}

// Clients go away after 16 seconds: there is one time to wait in, at the gate and for a turn.
func TestAWaitAtTheGateCounts(t *testing.T) {
	h, remote := slowAndQuick(t)
	each := testenv.Slack(t, time.Second)
	s := newSite(t, from(remote), func(c *web.Config, _ *upload.Config) {
		c.Uploads.FetchWait, c.Uploads.Gate = each, slowGate{c.Uploads.Gate, each}
	})
	wait := s.background(s.token, remote.At("/slow"), 201)
	s.wait(h.began, "a download")
	start := time.Now()
	if a := s.postURL(s.token, remote.At("/x.zip")); a.status != 429 || time.Since(start) >= 2*each {
		t.Errorf("status %d after %v: %v", a.status, time.Since(start), a.body)
	}
	if a := s.postURL(s.makeToken(upload.PermissionUpload), remote.At("/x.zip")); a.status != 201 {
		t.Errorf("a turn was free, and it got status %d: %v", a.status, a.body)
	}
	close(h.goOn)
	wait()
}

// closedGate keeps one tenant waiting until it is opened, and lets the others in.
type closedGate struct {
	uploads.Gate
	tenant  int64
	entered chan struct{}
	opened  chan struct{}
}

func (g closedGate) Enter(ctx context.Context, token upload.Token, size int64) (upload.Place, error) {
	if token.ID == g.tenant {
		g.entered <- struct{}{}
		<-g.opened
		return upload.Place{}, &upload.BusyError{OverLimit: true, Reason: "Limit.", RetryAfter: time.Second}
	}
	return g.Gate.Enter(ctx, token, size)
}

// Who waits at the gate downloads nothing, and has no turn.
func TestNoTurnIsHeldAtTheGate(t *testing.T) {
	_, remote := slowAndQuick(t)
	g := closedGate{tenant: 1, entered: make(chan struct{}, 10), opened: make(chan struct{})}
	s := newSite(t, from(remote), func(c *web.Config, _ *upload.Config) {
		g.Gate, c.Uploads.Gate, c.Uploads.MaxFetches = c.Uploads.Gate, &g, 1
	})
	var waits []func()
	for range 3 {
		waits = append(waits, s.background(s.token, remote.At("/x.zip"), 429))
		s.wait(g.entered, "one at the gate")
	}
	if a := s.postURL(s.makeToken(upload.PermissionUpload), remote.At("/x.zip")); a.status != 201 {
		t.Errorf("another tenant: status %d: %v", a.status, a.body)
	}
	close(g.opened)
	for _, wait := range waits {
		wait()
	}
}

// A turn to download is given back once there is nothing to download any more: before the archive is processed.
func TestATurnToDownloadEndsWithTheDownload(t *testing.T) {
	_, remote := slowAndQuick(t)
	slots := &blockedSlots{asked: make(chan struct{}, 1)}
	s := newSite(t, from(remote), func(_ *web.Config, c *upload.Config) { c.VerifySlots = slots })
	wait := s.background(s.token, remote.At("/x.zip"), 503)
	s.wait(slots.asked, "the archive in processing")
	if n := s.server.Fetches().Busy; n != 0 {
		t.Errorf("%d turns are taken while nothing is downloaded", n)
	}
	s.server.Stop()
	wait()
}

// Who waits for a turn learns at once that the server goes away.
func TestWaitingForATurnEndsWithTheServer(t *testing.T) {
	for name, end := range map[string]func(*web.Server){"refuse": (*web.Server).Refuse, "stop": (*web.Server).Stop} {
		t.Run(name, func(t *testing.T) {
			h, remote := slowAndQuick(t)
			s := newSite(t, from(remote), func(c *web.Config, _ *upload.Config) { c.Uploads.FetchWait = time.Hour })
			first := s.background(s.token, remote.At("/slow"), map[string]int{"refuse": 201, "stop": 503}[name])
			s.wait(h.began, "a download")
			done := make(chan answer, 1)
			go func() { done <- s.postURL(s.token, remote.At("/x.zip")) }()
			s.waitFor(1)
			end(s.server)
			select {
			case a := <-done:
				if a.status != 503 || !strings.Contains(a.text(), "shutting down") {
					t.Errorf("status %d, %q", a.status, a.text())
				}
			case <-time.After(testenv.Patience):
				t.Error("it waits on")
			}
			close(h.goOn)
			first()
			s.server.Refuse()
			if a := s.postURL(s.token, remote.At("/x.zip")); a.status != 503 || !strings.Contains(a.text(), "shutting down") {
				t.Errorf("a new one: status %d, %q", a.status, a.text())
			}
		})
	}
}

// A client that hangs up is noticed wherever its upload is, even when something came behind its request.
func TestHangingUpIsNoticed(t *testing.T) {
	for _, extra := range []string{"", "\r\n"} {
		h, remote := slowAndQuick(t)
		s := newSite(t, from(remote), func(c *web.Config, _ *upload.Config) { c.Uploads.FetchWait = time.Hour })
		body := url.Values{"url": {remote.At("/slow")}}.Encode()
		send := func() net.Conn {
			return s.raw(fmt.Sprintf("POST /upload/ HTTP/1.1\nHost: x\nAuth-Token: %s\nContent-Type: application/x-www-form-urlencoded\n"+
				"Content-Length: %d\n\n%s", s.token, len(body), body))
		}
		hangUp := func(conn net.Conn) {
			_, err := io.WriteString(conn, extra)
			<-time.After(50 * time.Millisecond) // it is read before the end is there
			if err := errors.Join(err, conn.Close()); err != nil {
				t.Fatal(err)
			}
		}
		downloading := send()
		s.wait(h.began, "a download")
		waiting := send()
		s.waitFor(1)
		hangUp(waiting)
		s.waitFor(0)
		hangUp(downloading)
		s.wait(h.gone, "the end of the download")
		if r := s.last(); !errors.Is(r.Err, upload.ErrClientGone) {
			t.Errorf("it ended with %v", r.Err)
		}
	}
}
