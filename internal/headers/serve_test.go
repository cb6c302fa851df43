package headers_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"tecken-upload/internal/headers"
	"tecken-upload/internal/testenv"
)

// patience bounds every wait.
const patience = testenv.Patience

// site is a server that answers with the request's URL.
type site struct {
	*testing.T
	headers.Budget
	address string
}

func newSite(t *testing.T, limit int64) *site {
	t.Helper()
	s := &site{T: t, Budget: headers.Budget{Limit: limit}}
	ts := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		fmt.Fprintf(w, "%d fields, %q, %v", len(r.Header), body, err)
	}))
	ts.Listener = s.Guard(ts.Config, ts.Listener)
	ts.Start()
	t.Cleanup(func() {
		ts.Close()
		s.until(headers.Stats{Cut: s.Stats().Cut})
	})
	s.address = ts.Listener.Addr().String()
	return s
}

// until waits until the figures are as in want.
func (s *site) until(want headers.Stats) {
	s.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for s.Stats() != want {
		select {
		case <-tick.C:
		case <-ctx.Done():
			s.Fatalf("%+v, want %+v", s.Stats(), want)
		}
	}
}

// client is a connection to the server.
type client struct {
	net.Conn
	*bufio.Reader
	site *site
}

func (c client) Read(p []byte) (int, error) { return c.Reader.Read(p) }

func (s *site) dial() client {
	s.Helper()
	conn, err := (&net.Dialer{}).DialContext(s.Context(), "tcp", s.address)
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() { _ = conn.Close() })
	return client{conn, bufio.NewReader(conn), s}
}

func (c client) send(text string) client {
	c.site.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		c.site.Fatalf("send: %v", err)
	}
	return c
}

// want reads an answer, and compares it.
func (c client) want(status int, text string) client {
	c.site.Helper()
	resp, err := http.ReadResponse(c.Reader, nil)
	if err != nil {
		c.site.Fatalf("no answer: %v", err)
	}
	defer resp.Body.Close()
	if got, err := io.ReadAll(resp.Body); err != nil || resp.StatusCode != status || string(got) != text {
		c.site.Fatalf("%d %q, %v, want %d %q", resp.StatusCode, got, err, status, text)
	}
	return c
}

func TestTooLarge(t *testing.T) {
	const get = "GET / HTTP/1.1\r\nHost: x\r\n"
	line := func(size int) string {
		return get + "A: " + strings.Repeat("a", size-len(get)-len("A: \r\n\r\n")) + "\r\n\r\n"
	}
	for name, tc := range map[string]struct {
		header string
		fits   bool
	}{
		"as long as may be":                {line(headers.MaxBytes), true},
		"too long":                         {line(headers.MaxBytes + 2), false}, // one byte may come while the last request is answered
		"much too long":                    {line(1 << 20), false},
		"endless":                          {strings.TrimSpace(line(1 << 20)), false},
		"a path as long as may be":         {"GET /" + strings.Repeat("a", headers.MaxBytes-len(get)-2) + get[5:] + "\r\n", true},
		"a path too long":                  {"GET /" + strings.Repeat("a", headers.MaxBytes-len(get)) + get[5:] + "\r\n", false},
		"as many lines as may be":          {get + strings.Repeat("A: bcdefgh\r\n", headers.MaxLines-3) + "\r\n", true},
		"a line too many":                  {get + strings.Repeat("A: bcdefgh\r\n", headers.MaxLines-2) + "\r\n", false},
		"as many lines, all of them short": {"GET / HTTP/1.1\nHost: x\n" + strings.Repeat("a:\n", headers.MaxLines-3) + "\n", true},
		"too many of these":                {"GET / HTTP/1.1\nHost: x\n" + strings.Repeat("a:\n", headers.MaxLines-2) + "\n", false},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, 0)
			for _, c := range []client{s.dial(), s.dial().send(get+"\r\n").want(200, `0 fields, "", <nil>`)} {
				c.send(tc.header)
				if !tc.fits {
					c.want(431, `{"error":"The request's header is larger than 64 KiB or has more than 1000 lines"}`+"\n")
					if _, err := c.ReadByte(); !errors.Is(err, io.EOF) {
						t.Errorf("the connection stays open: %v", err)
					}
					continue
				}
				fields := strings.Count(tc.header, "\n") - 3
				c.want(200, fmt.Sprintf(`%d fields, "", <nil>`, min(fields, 1))).send(get+"\r\n").want(200, `0 fields, "", <nil>`)
			}
		})
	}
}

// Connections between requests are not counted, nor is a body that comes slowly, or with the next request.
func TestWhatIsNotCounted(t *testing.T) {
	const post = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 12\r\n\r\n"
	s := newSite(t, 1)
	s.dial()
	s.dial().send("GET / HTTP/1.1\r\nHost: x\r\n\r\n").want(200, `0 fields, "", <nil>`)
	slow := s.dial().send(post + "slow")
	s.dial().send(post+"lines\n\n\n\n\n\n\nGET / HTTP/1.1\r\nHost: x\r\n\r\n").want(200, `1 fields, "lines\n\n\n\n\n\n\n", <nil>`).want(200, `0 fields, "", <nil>`)
	if got := s.Stats(); got != (headers.Stats{}) {
		t.Errorf("%+v", got)
	}
	slow.send("ly.\n\n\n\n\n").want(200, `1 fields, "slowly.\n\n\n\n\n", <nil>`)
}

// net/http parses the beginning of a header that comes with the previous body.
func TestABeginningThatCameWithABodyIsCounted(t *testing.T) {
	s := newSite(t, 0)
	c := s.dial().send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\n")
	c.send("body"+"GET / HTTP/1.1\r\nHost: x\r\nA: b\r\n").want(200, `1 fields, "body", <nil>`)
	s.until(headers.Stats{Unfinished: 1, Held: 140 << 10})
	c.send("B: c\r\n\r\n").want(200, `2 fields, "", <nil>`)
	s.until(headers.Stats{})
}

// Ordinary requests are answered beside connections that take all the room and always want more.
func TestOrdinaryRequestsBesideAFlood(t *testing.T) {
	s := newSite(t, 256<<10)
	ctx, stop := context.WithCancel(t.Context())
	var floods sync.WaitGroup
	large := []byte("GET / HTTP/1.1\r\nHost: x\r\n" + strings.Repeat("A: "+strings.Repeat("a", 90)+"\r\n", 600))
	for range 8 {
		floods.Go(func() {
			for ctx.Err() == nil {
				conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", s.address)
				if err != nil {
					return
				}
				closed := context.AfterFunc(ctx, func() { _ = conn.Close() })
				_, _ = conn.Write(large)
				_, _ = conn.Read(make([]byte, 1)) // until it is cut
				closed()
				_ = conn.Close()
			}
		})
	}
	for cut := s.Stats().Cut; cut < 100; cut = s.Stats().Cut {
		s.dial().send("GET / HTTP/1.1\r\nHost: x\r\n\r\n").want(200, `0 fields, "", <nil>`)
	}
	for range 100 {
		s.dial().send("GET / HTTP/1.1\r\nHost: x\r\nCookie: "+strings.Repeat("c", 2000)+"\r\n\r\n").want(200, `1 fields, "", <nil>`)
	}
	stop()
	floods.Wait()
}
