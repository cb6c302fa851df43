package testenv

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

const (
	// idleExpiry is the idle time after which a closed connection counts as expired: Go's pools keep one for 90 seconds.
	idleExpiry = 80 * time.Second
	// unreadFor is how long an answer may wait until the client, on a busy machine, has read it.
	unreadFor = time.Second
)

// A CountedS3 is an HTTP proxy in front of an S3 server that counts connections and requests.
type CountedS3 struct {
	Endpoint string // http://127.0.0.1:<port>

	pool int

	mu      sync.Mutex // guards the fields below
	traffic Traffic
	conns   map[net.Conn]connection
	over    time.Time // since when more are open than the pool may have; zero: not more
}

// A connection is the state of a client's connection.
type connection struct {
	state http.ConnState
	since time.Time
}

// Traffic is a client's traffic so far. A closed connection and its successor may be seen in the wrong order, so the largest number at a
// time may be over for a moment.
type Traffic struct {
	Requests, Retries int           // the SDK's first attempts, and others
	Opened, Most      int           // connections, and the most at a time
	OverFor           time.Duration // the longest time with more open than the pool may have
	Cut               int           // connections that the client closed in mid-request
	Expired           int           // after a long idle time
	Dropped           int           // so soon after an answer that it may not have read it
	Others            int           // for no visible reason
}

// CountS3 starts a proxy in front of the S3 server at endpoint, for a client with a pool of that many connections.
func CountS3(t testing.TB, endpoint string, pool int) *CountedS3 {
	t.Helper()
	s := &CountedS3{pool: pool, conns: make(map[net.Conn]connection)}
	pass := passS3(t, endpoint)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.request(r)
		pass.ServeHTTP(w, r)
		if r.Context().Err() != nil { // the client has gone; the answer is lost
			s.cut(r.Context().Value(connKey{}).(net.Conn))
		}
	}))
	server.Config.ConnState = s.changed
	server.Config.ConnContext = func(ctx context.Context, c net.Conn) context.Context { return context.WithValue(ctx, connKey{}, c) }
	server.Start()
	t.Cleanup(server.Close)
	s.Endpoint = server.URL
	return s
}

// Traffic returns what was counted so far.
func (s *CountedS3) Traffic() Traffic {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.traffic
	if !s.over.IsZero() {
		t.OverFor = max(t.OverFor, time.Since(s.over))
	}
	return t
}

// request counts a request. The SDK numbers its attempts.
func (s *CountedS3) request(r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if number := r.Header.Get("Amz-Sdk-Request"); number == "" || strings.HasPrefix(number, "attempt=1;") {
		s.traffic.Requests++
	} else {
		s.traffic.Retries++
	}
}

// connKey is the key of a request's connection in its context.
type connKey struct{}

// cut counts a connection that ended before the answer: it is seen as idle before it is seen as closed.
func (s *CountedS3) cut(c net.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.traffic.Cut++
	s.forget(c)
}

// forget drops a closed connection.
func (s *CountedS3) forget(c net.Conn) {
	delete(s.conns, c)
	if !s.over.IsZero() && len(s.conns) <= s.pool {
		s.traffic.OverFor, s.over = max(s.traffic.OverFor, time.Since(s.over)), time.Time{}
	}
}

// changed follows the connections.
func (s *CountedS3) changed(c net.Conn, state http.ConnState) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	was, known := s.conns[c]
	switch {
	case state == http.StateNew:
		s.traffic.Opened++
	case !known:
		return // it was cut
	case state != http.StateClosed:
	case was.state == http.StateActive:
		s.traffic.Cut++
	case now.Sub(was.since) >= idleExpiry:
		s.traffic.Expired++
	case now.Sub(was.since) <= unreadFor:
		s.traffic.Dropped++
	default:
		s.traffic.Others++
	}
	if state == http.StateClosed {
		s.forget(c)
		return
	}
	s.conns[c] = connection{state, now}
	s.traffic.Most = max(s.traffic.Most, len(s.conns))
	if len(s.conns) > s.pool && s.over.IsZero() {
		s.over = now
	}
}
