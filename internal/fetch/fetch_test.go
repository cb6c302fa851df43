package fetch_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tecken-upload/internal/fetch"
	"tecken-upload/internal/fetch/fetchtest"
	"tecken-upload/internal/testenv"
)

const limit = 1 << 20

// got is the result of a download.
type got struct {
	content   []byte
	err       error
	filename  string
	redirects []string
}

// download fetches an address as a whole.
func download(ctx context.Context, c *fetch.Client, address string) got {
	d, err := c.Download(address)
	if err != nil {
		return got{err: err}
	}
	defer d.Close()
	var g got
	if g.err = d.Open(ctx, limit); g.err == nil {
		g.content, g.err = io.ReadAll(d)
	}
	g.filename, g.redirects = d.Filename(), d.Redirects()
	return g
}

// wantFailure checks an error's kind and sentence, and that it contains no secret.
func wantFailure(t *testing.T, err, kind error, sentence string) {
	t.Helper()
	var e *fetch.Error
	if !errors.As(err, &e) || !errors.Is(err, kind) {
		t.Fatalf("got %v, want one of the kind %q", err, kind)
	}
	if e.Reason != sentence && (sentence == "" || !strings.Contains(e.Reason, sentence)) {
		t.Errorf("the reason is %q, want %q", e.Reason, sentence)
	}
	if text := fmt.Sprintf("%v %+v %s", err, err, e.Reason); strings.Contains(text, "hunter2") || strings.Contains(text, "sig=") {
		t.Errorf("a secret is told: %s", text)
	}
}

// quiet fails the test if a download leaves anything: goroutines, and with them connections.
func quiet(t *testing.T) {
	t.Helper()
	before := runtime.NumGoroutine()
	t.Cleanup(func() {
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for end := time.Now().Add(testenv.Patience); time.Now().Before(end); <-tick.C {
			if runtime.NumGoroutine() <= before {
				return
			}
		}
		buf := make([]byte, 1<<20)
		t.Errorf("%d goroutines, %d before:\n%s", runtime.NumGoroutine(), before, buf[:runtime.Stack(buf, true)])
	})
}

func random(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(rand.Uint32())
	}
	return b
}

func TestADownload(t *testing.T) {
	quiet(t)
	content := random(300_000)
	t.Setenv("HTTPS_PROXY", "http://127.0.0.1:1")
	var seen http.Header
	var uri string
	s := fetchtest.NewServer(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen, uri = r.Header.Clone(), r.RequestURI
		w.Header().Set("Set-Cookie", "a=b")
		_, _ = w.Write(content)
	}))
	c := s.Client()
	for range 2 { // the second one shows the first one's remains
		g := download(t.Context(), c, s.At("/a/b%20c.zip?sig=hunter2 x\u00e9#frag"))
		if g.err != nil || !bytes.Equal(g.content, content) || g.filename != "b c.zip" || len(g.redirects) != 0 {
			t.Fatalf("got %d bytes as %q by way of %q: %v", len(g.content), g.filename, g.redirects, g.err)
		}
		want := http.Header{"Accept": {"*/*"}, "Accept-Encoding": {"identity"}, "User-Agent": {"test"}, "Connection": {"close"}}
		if diff := cmp.Diff(want, seen); diff != "" || uri != "/a/b%20c.zip?sig=hunter2%20x%C3%A9" {
			t.Errorf("asked for %s with (-want +got)\n%s", uri, diff)
		}
	}
	d, err := c.Download(s.At("/a/b%20c.zip?sig=hunter2#frag"))
	if err != nil || d.URL() != s.At("/a/b%20c.zip") {
		t.Errorf("is shown as %q, %v", d.URL(), err)
	}
	if err := d.Close(); err != nil {
		t.Error(err)
	}
}

// Compressed content is passed on compressed, under any name.
func TestNothingIsInflated(t *testing.T) {
	quiet(t)
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	_, _ = w.Write(make([]byte, 2*limit))
	_ = w.Close()
	s := fetchtest.NewServer(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		_, _ = w.Write(packed.Bytes())
	}))
	if g := download(t.Context(), s.Client(), s.At("/x")); g.err != nil || !bytes.Equal(g.content, packed.Bytes()) {
		t.Errorf("got %d bytes, %v", len(g.content), g.err)
	}
}

func TestAnswers(t *testing.T) {
	quiet(t)
	s := fetchtest.NewServer(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		status, _ := strconv.Atoi(strings.TrimPrefix(r.URL.Path, "/"))
		w.WriteHeader(status)
	}))
	c := s.Client()
	for status, kind := range map[int]error{
		204: fetch.ErrRefused, 206: fetch.ErrRefused, 300: fetch.ErrRefused, 304: fetch.ErrRefused, 400: fetch.ErrRefused,
		403: fetch.ErrRefused, 404: fetch.ErrRefused, 410: fetch.ErrRefused, 499: fetch.ErrRefused,
		408: fetch.ErrRefused, 425: fetch.ErrRefused, 429: fetch.ErrRefused, 500: fetch.ErrUnreachable, 503: fetch.ErrUnreachable, 599: fetch.ErrUnreachable,
	} {
		g := download(t.Context(), c, s.At(fmt.Sprintf("/%d?sig=hunter2", status)))
		wantFailure(t, g.err, kind, fmt.Sprintf("answered %d.", status))
	}
}

func TestRedirects(t *testing.T) {
	quiet(t)
	var s *fetchtest.Server
	var reached atomic.Int32
	other := fetchtest.NewServer(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached.Add(1) }))
	s = fetchtest.NewServer(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Referer")+r.Header.Get("Cookie")+r.Header.Get("Authorization") != "" {
			t.Errorf("told too much: %v", r.Header)
		}
		if left, err := strconv.Atoi(strings.Trim(r.URL.Path, "/")); err == nil && left > 0 {
			w.Header().Set("Set-Cookie", "a=b; Path=/")
			w.Header().Set("Location", fmt.Sprintf("../%d/?sig=hunter2", left-1))
			w.WriteHeader([]int{301, 302, 303, 307, 308}[left%5])
			_, _ = io.WriteString(w, strings.Repeat("moved ", 10_000))
			return
		}
		switch r.URL.Path {
		case "/loop":
			w.Header().Set("Location", "/loop")
			fallthrough
		case "/nowhere":
			w.WriteHeader(http.StatusFound)
			return
		}
		if to := r.URL.Query().Get("to"); to != "" {
			w.Header().Set("Location", to)
			w.WriteHeader(http.StatusFound)
			return
		}
		_, _ = io.WriteString(w, "here")
	}))
	c := s.Client()
	g := download(t.Context(), c, s.At("/5/?sig=hunter2"))
	if g.err != nil || string(g.content) != "here" {
		t.Fatalf("got %q, %v", g.content, g.err)
	}
	want := []string{s.At("/4/"), s.At("/3/"), s.At("/2/"), s.At("/1/"), s.At("/0/")}
	if diff := cmp.Diff(want, g.redirects); diff != "" {
		t.Errorf("redirected by way of (-want +got)\n%s", diff)
	}
	wantFailure(t, download(t.Context(), c, s.At("/6/")).err, fetch.ErrRefused, "The URL redirects more than 5 times.")

	host := fetchtest.Host + ":" + s.Port()
	const notAllowed = "Not an allowed domain ('%s') to download from."
	for to, sentence := range map[string]string{
		"http://" + host + "/?sig=hunter2":                   "Insecure URL",
		"ftp://" + host + "/":                                "Insecure URL",
		"file:///etc/passwd":                                 "Insecure URL",
		"https://user:hunter2@" + host + "/":                 "The URL has a user name or a password in it.",
		"//user@" + host + "/":                               "The URL has a user name or a password in it.",
		other.At("/?sig=hunter2"):                            fmt.Sprintf(notAllowed, fetchtest.Host+":"+other.Port()),
		"https://" + fetchtest.Host + "/":                    fmt.Sprintf(notAllowed, fetchtest.Host+":443"),
		"https://127.0.0.1:" + s.Port() + "/":                fmt.Sprintf(notAllowed, "127.0.0.1"),
		"https://[::1]:" + s.Port() + "/":                    fmt.Sprintf(notAllowed, "::1"),
		"https://2130706433/":                                fmt.Sprintf(notAllowed, "2130706433"),
		"https://169.254.169.254/latest/meta-data?hunter2":   fmt.Sprintf(notAllowed, "169.254.169.254"),
		"https://" + host + ".evil.example.com/":             "The URL can't be read.",
		"https://evil.example.com\\@" + host + "/":           "The URL can't be read.",
		"https:" + host:                                      "The URL can't be read.",
		"https:///x":                                         "The URL can't be read.",
		"https://" + host + "/" + strings.Repeat("a", 8<<10): "The URL is longer than 8192 bytes.",
	} {
		address := strings.ReplaceAll(s.At("/?to="), "?to=", "?to="+escaped(to))
		g := download(t.Context(), c, address)
		wantFailure(t, g.err, fetch.ErrRefused, sentence)
		if len(g.redirects) != 0 {
			t.Errorf("%s: recorded as %q", to, g.redirects)
		}
	}
	if reached.Load() != 0 {
		t.Errorf("a server that is not listed was asked %d times", reached.Load())
	}
	wantFailure(t, download(t.Context(), c, s.At("/loop")).err, fetch.ErrRefused, "The URL redirects more than 5 times.")
	wantFailure(t, download(t.Context(), c, s.At("/nowhere")).err, fetch.ErrRefused, "without a Location.")
}

func escaped(text string) string {
	var b strings.Builder
	for i := range len(text) {
		fmt.Fprintf(&b, "%%%02X", text[i])
	}
	return b.String()
}

// Limits hold whatever the source declares.
func TestSizes(t *testing.T) {
	quiet(t)
	s := fetchtest.NewServer(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n, _ := strconv.Atoi(r.URL.Query().Get("n"))
		if r.URL.Path == "/declared" {
			w.Header().Set("Content-Length", strconv.Itoa(n))
		}
		zeros := make([]byte, 64<<10)
		for n > 0 {
			m, err := w.Write(zeros[:min(n, len(zeros))])
			if err != nil {
				return
			}
			n -= m
		}
	}))
	c := s.Client()
	for path, ok := range map[string]bool{
		"/declared?n=0": true, "/chunked?n=0": true,
		fmt.Sprintf("/declared?n=%d", limit):   true,
		fmt.Sprintf("/declared?n=%d", limit+1): false,
		fmt.Sprintf("/chunked?n=%d", limit):    true,
		fmt.Sprintf("/chunked?n=%d", limit+1):  false,
		fmt.Sprintf("/chunked?n=%d", 1<<40):    false,
	} {
		g := download(t.Context(), c, s.At(path))
		if ok && g.err != nil {
			t.Errorf("%s: %v", path, g.err)
		} else if !ok {
			wantFailure(t, g.err, fetch.ErrTooLarge, "1048576 bytes")
		}
		if len(g.content) > limit {
			t.Errorf("%s: %d bytes were let through", path, len(g.content))
		}
	}
}

func TestTimes(t *testing.T) {
	quiet(t)
	release := make(chan struct{})
	defer close(release)
	s := fetchtest.NewServer(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/silent" {
			_, _ = io.WriteString(w, "PK")
			_ = http.NewResponseController(w).Flush()
		}
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				if r.URL.Path == "/trickles" {
					_, _ = io.WriteString(w, "x")
					_ = http.NewResponseController(w).Flush()
				}
			case <-r.Context().Done():
				return
			case <-release:
				return
			}
		}
	}))
	limit := testenv.Slack(t, 500*time.Millisecond)
	stall := s.Client(func(c *fetch.Config) { c.StallTimeout = limit })
	wantFailure(t, download(t.Context(), stall, s.At("/silent?sig=hunter2")).err, fetch.ErrTooSlow, "sent nothing for "+limit.String()+".")
	wantFailure(t, download(t.Context(), stall, s.At("/stalls?sig=hunter2")).err, fetch.ErrTooSlow, "sent nothing for "+limit.String()+".")
	late := s.Client(func(c *fetch.Config) { c.Timeout = limit })
	wantFailure(t, download(t.Context(), late, s.At("/trickles?sig=hunter2")).err, fetch.ErrTooSlow, "within "+limit.String()+".")

	gone := errors.New("gone")
	ctx, cancel := context.WithCancelCause(t.Context())
	time.AfterFunc(100*time.Millisecond, func() { cancel(gone) })
	if err := download(ctx, s.Client(), s.At("/trickles")).err; !errors.Is(err, gone) {
		t.Errorf("the caller's end is told as %v", err)
	}
}

// A slow reader is no stall of the source.
func TestAReaderThatPauses(t *testing.T) {
	quiet(t)
	content := random(limit)
	s := fetchtest.NewServer(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(content) }))
	stall := testenv.Slack(t, 2*time.Second)
	d, err := s.Client(func(c *fetch.Config) { c.StallTimeout, c.Timeout = stall, 10*stall }).Download(s.At("/"))
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if err := d.Open(t.Context(), limit); err != nil {
		t.Fatal(err)
	}
	<-time.After(stall * 5 / 4)
	if got, err := io.ReadAll(d); err != nil || !bytes.Equal(got, content) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}
