package web_test

import (
	"archive/zip"
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"tecken-upload/internal/gate"
	"tecken-upload/internal/upload"
	"tecken-upload/internal/web"
)

func TestBusy(t *testing.T) {
	for _, over := range []bool{false, true} {
		s := newSite(t, func(c *web.Config, _ *upload.Config) {
			c.Uploads.Gate = refusingGate{fmt.Errorf("enter: %w", &upload.BusyError{OverLimit: over, Reason: "Full.", RetryAfter: 1500 * time.Millisecond})}
		})
		want := 503
		if over {
			want = 429
		}
		a := s.post(s.token, []byte("x"))
		if a.status != want || a.text() != "Full." || a.header.Get("Retry-After") != "2" {
			t.Errorf("status %d, %q, Retry-After %q", a.status, a.text(), a.header.Get("Retry-After"))
		}
		if n := len(s.watcher.ended) + len(s.watcher.faults); n != 0 {
			t.Errorf("being busy made %d records or faults", n)
		}
	}
}

// A tenant with as many uploads as it may have is told so, once its body has been read; others are let in.
func TestATenantOverItsLimit(t *testing.T) {
	leases := &oneLease{held: make(map[int64]bool)}
	s := newSite(t, withGate(func(c *gate.Config) { c.Leases, c.TenantUploads, c.Wait = leases, 1, 100*time.Millisecond }))
	content := zipped(t, []byte("x"), zip.Store, "a/AA/a.bin")
	first := s.raw(fmt.Sprintf("POST /upload/ HTTP/1.1\nHost: x\nAuth-Token: %s\nContent-Type: multipart/form-data; boundary=b\nContent-Length: %d\n\n", s.token, 1000))
	s.receiving()
	// Larger than the buffers between: a client that sends all of it before it reads an answer.
	conn := s.raw(fmt.Sprintf("POST /upload/ HTTP/1.1\nHost: x\nAuth-Token: %s\nContent-Length: %d\n\n", s.token, maxUpload))
	if _, err := io.CopyN(conn, zeros{}, maxUpload); err != nil {
		t.Fatalf("the connection broke while the body was sent: %v", err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	a := s.read(resp)
	if wait, err := strconv.Atoi(a.header.Get("Retry-After")); a.status != 429 || err != nil || wait < 1 || wait > 120 || !strings.Contains(a.text(), "one at a time") {
		t.Errorf("status %d, %q, Retry-After %q", a.status, a.text(), a.header.Get("Retry-After"))
	}
	if a := s.post(s.makeToken(upload.PermissionUpload), content); a.status != 201 {
		t.Errorf("another tenant: status %d: %v", a.status, a.body)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	s.last()
	s.last()
	if a := s.post(s.token, content); a.status != 201 {
		t.Errorf("once its upload has ended: status %d: %v", a.status, a.body)
	}
	s.watcher.mu.Lock()
	defer s.watcher.mu.Unlock()
	if len(s.watcher.faults) != 0 {
		t.Errorf("faults told of: %v", s.watcher.faults)
	}
}

// oneLease gives every tenant one, in turns of a millisecond.
type oneLease struct {
	mu   sync.Mutex
	held map[int64]bool
}

func (l *oneLease) Take(ctx context.Context, tenant int64, _ int) (func(), error) {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !l.try(tenant) {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.held[tenant] = false
	}, nil
}

func (l *oneLease) try(tenant int64) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.held[tenant] {
		return false
	}
	l.held[tenant] = true
	return true
}

// refusingGate is a gate that refuses every upload.
type refusingGate struct{ err error }

func (r refusingGate) Enter(context.Context, upload.Token, int64) (*gate.Pass, error) {
	return nil, r.err
}

// A client that asks before it sends, and gets no answer for a while, sends all the same. Its refusal is not lost: the
// body is read to its end, however long that takes once it has begun.
func TestABodyThatWasNotInvited(t *testing.T) {
	s := newSite(t, func(c *web.Config, _ *upload.Config) {
		c.Uploads.Gate = refusingGate{&upload.BusyError{Reason: "Full.", RetryAfter: time.Second}}
	})
	const size = 1 << 20
	conn := s.raw(fmt.Sprintf("POST /upload/ HTTP/1.1\nHost: x\nAuth-Token: %s\nExpect: 100-continue\nContent-Length: %d\n\n", s.token, size))
	answers := bufio.NewReader(conn)
	if _, err := io.CopyN(conn, zeros{}, size/2); err != nil {
		t.Fatal(err)
	}
	// Longer than the first byte is waited for.
	<-time.After(2500 * time.Millisecond)
	if _, err := io.CopyN(conn, zeros{}, size/2); err != nil {
		t.Fatalf("the connection broke while the body was sent: %v", err)
	}
	resp, err := http.ReadResponse(answers, nil)
	if err != nil {
		t.Fatal(err)
	}
	if a := s.read(resp); a.status != 503 || a.header.Get("Retry-After") == "" {
		t.Errorf("status %d: %q", a.status, a.text())
	}
	if n, err := io.Copy(io.Discard, conn); err != nil {
		t.Errorf("the connection broke after %d more bytes: %v", n, err)
	}
}

// waitingGate keeps every upload waiting, and tells why it went.
type waitingGate struct {
	entered chan struct{}
	left    chan error
}

func (g waitingGate) Enter(ctx context.Context, _ upload.Token, _ int64) (*gate.Pass, error) {
	g.entered <- struct{}{}
	<-ctx.Done()
	g.left <- context.Cause(ctx)
	return nil, context.Cause(ctx)
}

// net/http does not notice that a client leaves while its body waits: unread bytes are in the way.
func TestAClientThatHangsUpWhileItWaits(t *testing.T) {
	g := waitingGate{entered: make(chan struct{}, 1), left: make(chan error, 1)}
	s := newSite(t, func(c *web.Config, _ *upload.Config) { c.Uploads.Gate = g })
	conn := s.raw(fmt.Sprintf("POST /upload/ HTTP/1.1\nHost: x\nAuth-Token: %s\nContent-Length: 1000000\n\n", s.token))
	if _, err := io.CopyN(conn, zeros{}, 100<<10); err != nil {
		t.Fatal(err)
	}
	<-g.entered
	if err := conn.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-g.left; !errors.Is(err, upload.ErrClientGone) {
		t.Errorf("it left because of %v", err)
	}
}

func TestWhoWaitsIsToldOfTheShutdownAtOnce(t *testing.T) {
	g := waitingGate{entered: make(chan struct{}, 1), left: make(chan error, 1)}
	s := newSite(t, func(c *web.Config, _ *upload.Config) { c.Uploads.Gate = g })
	answers := make(chan answer, 1)
	go func() { answers <- s.post(s.token, []byte("x")) }()
	<-g.entered
	s.server.Refuse()
	if a := <-answers; a.status != 503 || !strings.Contains(a.text(), "shutting down") || a.header.Get("Retry-After") == "" {
		t.Errorf("status %d, %q", a.status, a.text())
	}
	if a := s.post(s.token, []byte("x")); a.status != 503 || len(g.entered) != 0 {
		t.Errorf("status %d, and %d at the gate", a.status, len(g.entered))
	}
}
