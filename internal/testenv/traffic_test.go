package testenv

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// idle counts the connections without a request.
func (s *CountedS3) idle() (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.conns {
		if c.state == http.StateIdle {
			n++
		}
	}
	return n
}

func TestCountedS3(t *testing.T) {
	held := make(chan struct{})
	upstream := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPut {
			<-held
		}
	}))
	t.Cleanup(upstream.Close)
	t.Cleanup(func() { close(held) })
	s := CountS3(t, upstream.URL, 1)
	connect := func() net.Conn {
		t.Helper()
		conn, err := net.Dial("tcp", strings.TrimPrefix(s.Endpoint, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		return conn
	}
	ask := func(conn net.Conn, attempt int) {
		t.Helper()
		fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: x\r\nAmz-Sdk-Request: attempt=%d; max=6\r\n\r\n", attempt)
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
	}
	until := func(holds func(Traffic) bool) {
		t.Helper()
		for deadline := time.Now().Add(Patience); !holds(s.Traffic()); <-time.After(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("not counted: %+v", s.Traffic())
			}
		}
	}
	closed := func(conn net.Conn, count func(Traffic) int) {
		t.Helper()
		conn.Close()
		until(func(seen Traffic) bool { return count(seen) == 1 })
	}
	one, two := connect(), connect()
	ask(one, 1)
	ask(one, 2)
	until(func(Traffic) bool { return s.idle() == 1 })
	closed(one, func(t Traffic) int { return t.Dropped })
	fmt.Fprintf(two, "PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx")
	until(func(seen Traffic) bool { return seen.Requests == 2 })
	closed(two, func(t Traffic) int { return t.Cut })
	got := s.Traffic()
	if got.Opened != 2 || got.Most != 2 || got.OverFor <= 0 || got.Requests != 2 || got.Retries != 1 || got.Expired+got.Others > 0 {
		t.Errorf("%+v", got)
	}
	if len(s.conns) > 0 {
		t.Errorf("%d connections are left", len(s.conns))
	}
}
