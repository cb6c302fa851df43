package web_test

import (
	"archive/zip"
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
	"tecken-upload/internal/gate"
	"tecken-upload/internal/testenv"
	"tecken-upload/internal/upload"
	"tecken-upload/internal/web"
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

// until waits until a condition holds.
func (s *site) until(what string, holds func() bool) {
	s.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(testenv.Patience); time.Now().Before(end); <-tick.C {
		if holds() {
			return
		}
	}
	s.Fatalf("it never came that %s", what)
}

// waitFor waits until so many uploads wait for a fetch slot.
func (s *site) waitFor(n int) {
	s.Helper()
	s.until(fmt.Sprintf("%d wait for a fetch slot", n), func() bool { return s.gate.Stats().FetchWaiting == n })
}

// However slow what one tenant fetches from is, and however much it asks for, others are fetched for.
func TestASlowSourceIsItsTenantsOwn(t *testing.T) {
	h, remote := slowAndQuick(t)
	s := newSite(t, from(remote), withGate(func(c *gate.Config) { c.Wait = 10 * time.Second }))
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
	if st := s.gate.Stats(); st.Fetching != 0 || st.FetchWaiting != 0 {
		t.Errorf("none is fetched, and %d have slots, %d wait", st.Fetching, st.FetchWaiting)
	}
}

// Downloads have a bound of their own, and so have those that wait for one: however many there are, bodies are taken. What is refused
// leaves nothing.
func TestDownloadsAreBounded(t *testing.T) {
	h, remote := slowAndQuick(t)
	s := newSite(t, from(remote), withGate(func(c *gate.Config) { c.FetchLine, c.Wait = 1, 10*time.Second }))
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

// A fetch slot is given back once there is nothing to download any more: before the archive is processed.
func TestAFetchSlotEndsWithTheDownload(t *testing.T) {
	_, remote := slowAndQuick(t)
	slots := &blockedSlots{asked: make(chan struct{}, 1)}
	s := newSite(t, from(remote), func(_ *web.Config, c *upload.Config) { c.VerifySlots = slots })
	wait := s.background(s.token, remote.At("/x.zip"), 503)
	s.wait(slots.asked, "the archive in processing")
	if n := s.gate.Stats().Fetching; n != 0 {
		t.Errorf("%d fetch slots are taken while nothing is downloaded", n)
	}
	s.server.Stop()
	wait()
}

// An upload that waits for a fetch slot learns at once that the server goes away.
func TestWaitingForAFetchSlotEndsWithTheServer(t *testing.T) {
	for name, end := range map[string]func(*web.Server){"refuse": (*web.Server).Refuse, "stop": (*web.Server).Stop} {
		t.Run(name, func(t *testing.T) {
			h, remote := slowAndQuick(t)
			s := newSite(t, from(remote), withGate(func(c *gate.Config) { c.Wait = time.Hour }))
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
		s := newSite(t, from(remote), withGate(func(c *gate.Config) { c.Wait = time.Hour }))
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
