package web_test

import (
	"archive/zip"
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"mime/multipart"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tecken-upload/internal/fetch"
	"tecken-upload/internal/fetch/fetchtest"
	"tecken-upload/internal/gate"
	"tecken-upload/internal/testenv"
	"tecken-upload/internal/upload"
	"tecken-upload/internal/web"
)

// from lets a site fetch from a server.
func from(remote *fetchtest.Server, change ...func(*fetch.Config)) func(*web.Config, *upload.Config) {
	return func(c *web.Config, _ *upload.Config) { c.Uploads.Fetch = remote.Client(change...) }
}

// postURL asks for an upload by URL; fields are names and values in turn.
func (s *site) postURL(token, address string, fields ...string) answer {
	s.Helper()
	form := url.Values{"url": {address}}
	for i := 0; i < len(fields); i += 2 {
		form.Add(fields[i], fields[i+1])
	}
	return s.do(s.request(token, "application/x-www-form-urlencoded; charset=utf-8", strings.NewReader(form.Encode())))
}

// hold serves the first bytes of an archive, tells that it did, and the rest once it is told to go on, or until the
// client has gone.
type hold struct {
	content []byte
	began   chan struct{}
	goOn    chan struct{}
	gone    chan struct{}
}

func newHold(content []byte) *hold {
	return &hold{content: content, began: make(chan struct{}, 10), goOn: make(chan struct{}), gone: make(chan struct{}, 10)}
}

func (h *hold) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/sized" {
		w.Header().Set("Content-Length", strconv.Itoa(len(h.content)))
	}
	_, _ = w.Write(h.content[:10])
	_ = http.NewResponseController(w).Flush()
	h.began <- struct{}{}
	select {
	case <-h.goOn:
		_, _ = w.Write(h.content[10:])
	case <-r.Context().Done():
		h.gone <- struct{}{}
	}
}

func (s *site) wait(c <-chan struct{}, what string) {
	s.Helper()
	select {
	case <-c:
	case <-time.After(testenv.Patience):
		s.Fatalf("not seen: %s", what)
	}
}

func TestUploadByURL(t *testing.T) {
	content := zipped(t, []byte("MODULE Linux x86_64 AB app\n"), zip.Deflate, "app/AB/app.sym")
	remote := fetchtest.NewServer(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Auth-Token") != "" {
			t.Error("the token went elsewhere")
		}
		if r.URL.Path == "/latest" {
			http.Redirect(w, r, "/builds/7/sym%20bols.zip?sig=hunter2", http.StatusFound)
			return
		}
		_, _ = w.Write(content)
	}))
	s := newSite(t, from(remote))
	a := s.postURL(s.token+"-nightly", remote.At("/latest?sig=hunter2"))
	if a.status != http.StatusCreated {
		t.Fatalf("status %d: %v", a.status, a.body)
	}
	got, _ := a.body["upload"].(map[string]any)
	delete(got, "created_at")
	delete(got, "completed_at")
	delete(got, "bucket")
	want := map[string]any{
		"id": 1.0, "size": float64(len(content)), "filename": "sym bols.zip", "download_url": remote.At("/latest"),
		"try_symbols": false, "redirect_urls": []any{remote.At("/builds/7/sym%20bols.zip")}, "user": "ci@example.com",
		"skipped_keys": []any{}, "uploaded_keys": []any{"app/AB/app.sym"}, "ignored_keys": []any{},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("answer differs (-want +got):\n%s", diff)
	}
	u := s.recorded(s.last())
	if u.DownloadURL != remote.At("/latest") || len(u.RedirectURLs) != 1 || u.RedirectURLs[0] != remote.At("/builds/7/sym%20bols.zip") || u.TokenLabel != "nightly" {
		t.Errorf("recorded %+v", u)
	}
	shown, _ := s.ask(s.token, fmt.Sprintf("/api/uploads/upload/%d", u.ID)).body["upload"].(map[string]any)
	if diff := cmp.Diff([]any{want["download_url"], want["redirect_urls"]}, []any{shown["download_url"], shown["redirect_urls"]}); diff != "" {
		t.Errorf("the API shows another address (-want +got):\n%s", diff)
	}
	s.idle()

	for _, tc := range []struct {
		name, token string
		fields      []string
		try         bool
	}{
		{"try", s.token, []string{"try", "0"}, true},
		{"an empty try", s.token, []string{"try", ""}, false},
		{"a try token", s.makeToken(upload.PermissionUploadTry), nil, true},
	} {
		if a := s.postURL(tc.token, remote.At("/x.zip"), tc.fields...); a.status != 201 {
			t.Errorf("%s: status %d: %v", tc.name, a.status, a.body)
		}
		if u := s.recorded(s.last()); u.Try != tc.try || u.Filename != "x.zip" {
			t.Errorf("%s: recorded %+v", tc.name, u)
		}
	}
}

// parts writes a multipart form of fields, names and values in turn; a name that begins with "@" is a file's.
func parts(t *testing.T, fields ...string) (body io.Reader, contentType string) {
	t.Helper()
	var b bytes.Buffer
	w := multipart.NewWriter(&b)
	for i := 0; i < len(fields); i += 2 {
		name, isFile := strings.CutPrefix(fields[i], "@")
		create := w.CreateFormField
		if isFile {
			create = func(name string) (io.Writer, error) { return w.CreateFormFile(name, name) }
		}
		part, err := create(name)
		if err == nil {
			_, err = io.WriteString(part, fields[i+1])
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return &b, w.FormDataContentType()
}

// A multipart form may name a URL as well, before or behind its other fields. A file in it is preferred.
func TestUploadByURLInAMultipartForm(t *testing.T) {
	content := zipped(t, []byte("MODULE Linux x86_64 AB app\n"), zip.Deflate, "app/AB/app.sym")
	remote := fetchtest.NewServer(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/latest" {
			http.Redirect(w, r, "/builds/7/symbols.zip?sig=hunter2", http.StatusFound)
			return
		}
		_, _ = w.Write(content)
	}))
	s := newSite(t, from(remote))
	latest, fetched := remote.At("/latest?sig=hunter2"), upload.Upload{Filename: "symbols.zip", DownloadURL: remote.At("/latest"), Outcome: upload.Completed}
	as := func(change func(*upload.Upload)) upload.Upload {
		u := fetched
		change(&u)
		return u
	}
	refused := func(text string) upload.Upload { return upload.Upload{Outcome: upload.Rejected, Error: text} }
	for _, tc := range []struct {
		name   string
		fields []string
		status int
		want   upload.Upload
	}{
		{"a URL", []string{"url", latest}, 201, fetched},
		{"try behind it", []string{"url", latest, "try", "1"}, 201, as(func(u *upload.Upload) { u.Try = true })},
		{"try before it", []string{"try", "true", "x", "y", "url", " " + latest + " "}, 201, as(func(u *upload.Upload) { u.Try = true })},
		{"an empty try", []string{"try", "", "url", latest}, 201, fetched},
		{"the last URL counts", []string{"url", "https://evil.example.com/", "url", latest}, 201, fetched},
		{"a file behind it", []string{"url", latest, "@a.zip", string(content)}, 201, upload.Upload{Filename: "a.zip", Outcome: upload.Completed}},
		{"a file before it", []string{"@a.zip", string(content), "url", latest}, 201, upload.Upload{Filename: "a.zip", Outcome: upload.Completed}},
		{"another domain", []string{"url", "https://evil.example.com/x?hunter2"}, 400, refused("Not an allowed domain ('evil.example.com') to download from.")},
		{"an empty URL", []string{"url", " ", "try", "1"}, 400, refused("Must be multipart form data with at least one file")},
	} {
		for _, sized := range []bool{true, false} {
			body, contentType := parts(t, tc.fields...)
			r := s.request(s.token, contentType, body)
			if !sized {
				r.ContentLength = -1
			}
			a := s.do(r)
			u := s.recorded(s.last())
			got := upload.Upload{Filename: u.Filename, DownloadURL: u.DownloadURL, Try: u.Try, Outcome: u.Outcome, Error: u.Error}
			if diff := cmp.Diff(tc.want, got); diff != "" || a.status != tc.status || a.text() != tc.want.Error {
				t.Errorf("%s, sized %t: status %d, %q (-want +got):\n%s", tc.name, sized, a.status, a.text(), diff)
			}
			if byURL := tc.want.DownloadURL != ""; byURL != (len(u.RedirectURLs) == 1) {
				t.Errorf("%s: redirects %v", tc.name, u.RedirectURLs)
			}
		}
	}
	s.idle()
}

// One that gets no fetch slot is told so like any other, and is no failure.
func TestAMultipartFormWaitsForAFetchSlot(t *testing.T) {
	h := newHold(zipped(t, []byte("x"), zip.Store, "a/AA/a.bin"))
	remote := fetchtest.NewServer(t, h)
	s := newSite(t, from(remote), withGate(func(c *gate.Config) { c.FetchSlots, c.FetchLine, c.Wait = 1, 1, 10*time.Millisecond }))
	first := make(chan answer)
	go func() { first <- s.postURL(s.token, remote.At("/a.zip")) }()
	s.wait(h.began, "the first download")
	body, contentType := parts(t, "url", remote.At("/b.zip"))
	a := s.do(s.request(s.tokenOf("dev@example.com", upload.PermissionUpload), contentType, body))
	u := s.recorded(s.last())
	if a.status != 503 || a.header.Get("Retry-After") == "" || u.Outcome != upload.Rejected || u.DownloadURL != remote.At("/b.zip") {
		t.Errorf("status %d, %q, Retry-After %q, recorded %+v", a.status, a.text(), a.header.Get("Retry-After"), u)
	}
	close(h.goOn)
	if a := <-first; a.status != 201 {
		t.Errorf("the first: status %d, %q", a.status, a.text())
	}
}

// What can't be an upload by URL is refused before anything is done, and not recorded.
func TestURLsThatAreNotFetched(t *testing.T) {
	remote := fetchtest.NewServer(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("it was asked") }))
	s := newSite(t, from(remote))
	const ct = "application/x-www-form-urlencoded"
	for _, tc := range []struct{ name, body, text string }{
		{"another domain", "url=https://evil.example.com/x?hunter2", "Not an allowed domain ('evil.example.com') to download from."},
		{"another port", "url=https://" + fetchtest.Host + "/", "Not an allowed domain ('" + fetchtest.Host + ":443') to download from."},
		{"http", "url=http://" + fetchtest.Host + ":" + remote.Port() + "/", "Insecure URL"},
		{"a password", "url=https://u:hunter2@" + fetchtest.Host + ":" + remote.Port() + "/", "The URL has a user name or a password in it."},
		{"no URL", "url=hunter2", "Insecure URL"},
		{"an unreadable URL", "url=https://%2500/hunter2", "The URL can't be read."},
		{"nothing", "", "Must be multipart form data with at least one file"},
		{"an empty URL", "url=+&try=1", "Must be multipart form data with at least one file"},
		{"half an escape", "url=https://x/%2", "The form is malformed."},
		{"a long form", "try=1&x=" + strings.Repeat("a", 64<<10), "The form is larger than the 65536 bytes that it may have."},
		{"a very long form", strings.Repeat("a=a&", 2<<18), "The form is larger than the 65536 bytes that it may have."},
	} {
		for _, sized := range []bool{true, false} {
			r := s.request(s.token, ct, strings.NewReader(tc.body))
			if !sized {
				r.ContentLength = -1
			}
			if a := s.do(r); a.status != 400 || a.text() != tc.text {
				t.Errorf("%s: status %d, %q", tc.name, a.status, a.text())
			}
		}
	}
	if a := s.postURL("", remote.At("/")); a.status != 403 {
		t.Errorf("without a token: status %d", a.status)
	}
	off := newSite(t)
	if a := off.postURL(off.token, remote.At("/")); a.status != 400 || a.text() != "Not an allowed domain ('"+fetchtest.Host+"') to download from." {
		t.Errorf("where it is off: status %d, %q", a.status, a.text())
	}
	if n := len(s.watcher.ended) + len(off.watcher.ended); n != 0 {
		t.Errorf("%d were recorded", n)
	}
}

// failing fails in the way that the path names, and counts the requests that it is at.
func failing(asked *atomic.Int32) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		defer asked.Add(-1)
		switch r.URL.Path {
		case "/redirect":
			http.Redirect(w, r, "https://evil.example.com/?sig=hunter2", http.StatusFound)
		case "/far":
			http.Redirect(w, r, "/404?sig=hunter2", http.StatusFound)
		case "/404":
			http.NotFound(w, r)
		case "/500":
			w.WriteHeader(http.StatusInternalServerError)
		case "/html":
			_, _ = io.WriteString(w, "<html>")
		case "/large":
			for r.Context().Err() == nil {
				_, _ = w.Write(make([]byte, 64<<10))
			}
		case "/declared":
			w.Header().Set("Content-Length", fmt.Sprint(maxUpload+1))
		case "/cut":
			w.Header().Set("Content-Length", "1000")
			_, _ = io.WriteString(w, "PK")
		case "/stall":
			_, _ = io.WriteString(w, "PK")
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
		}
	}
}

// What goes wrong elsewhere is told, recorded, and leaves nothing; and nowhere is a secret to be found.
func TestDownloadsThatFail(t *testing.T) {
	var log syncBuffer
	var asked atomic.Int32 // requests that are being answered
	remote := fetchtest.NewServer(t, failing(&asked))
	stall := testenv.Slack(t, time.Second)
	s := newSite(t, from(remote, func(c *fetch.Config) { c.StallTimeout = stall }), func(c *web.Config, _ *upload.Config) {
		c.Exchange.Logger = slog.New(slog.NewJSONHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	})
	for _, tc := range []struct {
		path    string
		status  int
		text    string
		outcome upload.Outcome
	}{
		{"/redirect", 400, "Not an allowed domain ('evil.example.com') to download from.", upload.Rejected},
		{"/404", 400, "answered 404.", upload.Rejected},
		{"/far", 400, "answered 404.", upload.Rejected},
		{"/500", 503, "answered 500.", upload.Rejected},
		{"/cut", 503, "broke off the transfer", upload.Rejected},
		{"/html", 400, "not an archive", upload.Rejected},
		{"/large", 413, "2097152 bytes", upload.Rejected},
		{"/declared", 413, "2097152 bytes", upload.Rejected},
		{"/stall", 504, "sent nothing for " + stall.String() + ".", upload.Rejected},
	} {
		t.Run(tc.path[1:], func(t *testing.T) {
			a := s.postURL(s.token, remote.At(tc.path+"?sig=hunter2"))
			if a.status != tc.status || !strings.Contains(a.text(), tc.text) || (a.header.Get("Retry-After") != "") != (a.status == 503) {
				t.Errorf("status %d, %q, Retry-After %q", a.status, a.text(), a.header.Get("Retry-After"))
			}
			r := s.last()
			u := s.recorded(r)
			if u.Outcome != tc.outcome || u.DownloadURL != remote.At(tc.path) || (len(u.RedirectURLs) == 1) != (tc.path == "/far") {
				t.Errorf("recorded %+v", u)
			}
			for _, text := range []string{a.text(), fmt.Sprintf("%+v", u), fmt.Sprintf("%v %+v", r.Err, r.Err)} {
				if strings.Contains(text, "hunter2") {
					t.Errorf("a secret is told: %s", text)
				}
			}
			s.idle()
		})
	}
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(testenv.Patience); asked.Load() > 0; {
		if <-tick.C; time.Now().After(end) {
			t.Fatalf("%d connections to the other server are left", asked.Load())
		}
	}
	if strings.Contains(log.String(), "hunter2") {
		t.Errorf("a secret is logged: %s", log.String())
	}
	if n := s.published(); n != 0 {
		t.Errorf("%d files were published", n)
	}
}

// syncBuffer is written by several goroutines.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// The bounds of the request's own body end with it: a download takes as long as it takes.
func TestADownloadOutlastsTheRequestsBody(t *testing.T) {
	h := newHold(zipped(t, []byte("x"), zip.Store, "a/AA/a.bin"))
	remote := fetchtest.NewServer(t, h)
	stall := testenv.Slack(t, 500*time.Millisecond)
	s := newSite(t, from(remote), func(c *web.Config, _ *upload.Config) { c.Uploads.ReceiveStallTimeout = stall })
	go func() {
		<-h.began
		<-time.After(2 * stall)
		close(h.goOn)
	}()
	if a := s.postURL(s.token, remote.At("/x.zip")); a.status != 201 {
		t.Errorf("status %d: %v", a.status, a.body)
	}
}

func TestADownloadEndsWithItsClient(t *testing.T) {
	h := newHold(zipped(t, []byte("x"), zip.Store, "a/AA/a.bin"))
	remote := fetchtest.NewServer(t, h)
	s := newSite(t, from(remote))
	ctx, cancel := context.WithCancel(t.Context())
	r := s.request(s.token, "application/x-www-form-urlencoded", strings.NewReader(url.Values{"url": {remote.At("/")}}.Encode())).WithContext(ctx)
	go func() {
		<-h.began
		cancel()
	}()
	if resp, err := http.DefaultClient.Do(r); err == nil {
		resp.Body.Close()
		t.Fatal("it was answered before the client hung up")
	}
	if u := s.recorded(s.last()); u.Outcome != upload.Cancelled || u.DownloadURL == "" {
		t.Errorf("recorded %+v", u)
	}
	s.wait(h.gone, "the end of the connection to the other server")
	s.idle()
}

func TestADownloadEndsWithTheServer(t *testing.T) {
	h := newHold(zipped(t, []byte("x"), zip.Store, "a/AA/a.bin"))
	remote := fetchtest.NewServer(t, h)
	s := newSite(t, from(remote))
	go func() {
		<-h.began
		s.server.Stop()
	}()
	if a := s.postURL(s.token, remote.At("/")); a.status != 503 || a.header.Get("Retry-After") == "" {
		t.Errorf("status %d, %q", a.status, a.text())
	}
	if u := s.recorded(s.last()); u.Outcome != upload.Interrupted {
		t.Errorf("recorded %+v", u)
	}
	s.wait(h.gone, "the end of the connection to the other server")
}

// The gate learns an archive's size before the archive is here.
func TestTheGateIsToldOfTheSize(t *testing.T) {
	content := zipped(t, []byte("x"), zip.Store, "a/AA/a.bin")
	for path, want := range map[string]int64{"/sized": int64(len(content)), "/chunks": 16 << 20} {
		h := newHold(content)
		remote := fetchtest.NewServer(t, h)
		s := newSite(t, from(remote))
		wait := s.background(s.token, remote.At(path), 201)
		s.wait(h.began, "the download")
		s.until("the gate knows of the size", func() bool { return s.gate.Stats().Unfinished == want })
		close(h.goOn)
		wait()
	}
}
