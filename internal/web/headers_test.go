package web_test

import (
	"archive/zip"
	"bufio"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"tecken-upload/internal/headers"
	"tecken-upload/internal/testenv"
)

// header opens a connection and sends what there is of a header. It may be cut meanwhile.
func (s *site) header(text string) net.Conn {
	s.Helper()
	conn, err := (&net.Dialer{}).DialContext(s.Context(), "tcp", strings.TrimPrefix(s.url, "http://"))
	if err != nil {
		s.Fatal(err)
	}
	_, _ = io.WriteString(conn, text)
	return conn
}

// A thousand connections that send headers without an end hold no more than they may, and block no other.
func TestAThousandUnfinishedHeaders(t *testing.T) {
	s := newSite(t)
	if a := s.get("GET", "/__heartbeat__"); a.status != 200 {
		t.Fatalf("the heartbeat before: %d", a.status)
	}
	http.DefaultClient.CloseIdleConnections()
	before := runtime.NumGoroutine()
	const first = "POST /upload/ HTTP/1.1\r\nHost: x\r\n"
	kinds := []string{
		first + strings.Repeat("a:\n", 20<<10),
		first + strings.Repeat("Some: "+strings.Repeat("a", 80)+"\r\n", 700),
		first + "Auth-Token: " + strings.Repeat("a", 60<<10),
		first + "C",
		"P",
	}
	conns := make([]net.Conn, 1000)
	for i := range conns {
		conns[i] = s.header(kinds[i%len(kinds)])
		if held := s.headers.Stats().Held; held > headers.DefaultLimit {
			t.Fatalf("%d bytes held", held)
		}
	}
	for _, path := range []string{"/__lbheartbeat__", "/__heartbeat__"} {
		if a := s.get("GET", path); a.status != 200 {
			t.Errorf("%s: %d", path, a.status)
		}
	}
	if a := s.post(s.token, zipped(t, []byte("x"), zip.Store, "a/AA/a.bin")); a.status != 201 {
		t.Errorf("an upload: %d, %s", a.status, a.text())
	}
	// There is room for half of them: not for those that came first.
	if _, err := conns[4].Read(make([]byte, 1)); err == nil {
		t.Error("the slowest was answered")
	}
	if _, err := io.WriteString(conns[998], "ontent-Length: 0\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	for i, want := range map[int]int{995: 431, 998: 403} {
		resp, err := http.ReadResponse(bufio.NewReader(conns[i]), nil)
		if err != nil {
			t.Fatal(err)
		}
		if a := s.read(resp); a.status != want {
			t.Errorf("connection %d: %d, want %d", i, a.status, want)
		}
	}
	if stats := s.headers.Stats(); stats.Cut == 0 || stats.Held > headers.DefaultLimit {
		t.Errorf("%+v", stats)
	}
	for _, conn := range conns {
		_ = conn.Close()
	}
	http.DefaultClient.CloseIdleConnections()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	end := time.Now().Add(testenv.Patience)
	for s.headers.Stats().Unfinished > 0 || s.headers.Stats().Held > 0 || runtime.NumGoroutine() > before {
		if <-tick.C; time.Now().After(end) {
			t.Fatalf("%+v, %d goroutines, %d before", s.headers.Stats(), runtime.NumGoroutine(), before)
		}
	}
}
