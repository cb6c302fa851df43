package web_test

import (
	"archive/zip"
	"context"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tecken-upload/internal/fetch/fetchtest"
	"tecken-upload/internal/upload"
	"tecken-upload/internal/web"
)

// held is storage that makes Puts wait.
type held struct {
	upload.Storage
	began chan struct{} // holds an element for each put that has begun
	goOn  chan struct{} // closed: puts go on
}

func (h *held) Put(ctx context.Context, loc upload.Location, obj upload.Object, body upload.Body) error {
	h.began <- struct{}{}
	select {
	case <-h.goOn:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	return h.Storage.Put(ctx, loc, obj, body)
}

// holding lets the puts of a site wait.
func holding(h *held) func(*web.Config, *upload.Config) {
	h.began, h.goOn = make(chan struct{}, 10), make(chan struct{})
	return func(_ *web.Config, uc *upload.Config) {
		h.Storage = uc.Storage
		uc.Storage = h
	}
}

// async is a request for an upload that is not waited for.
func (s *site) async(content []byte) *http.Request {
	s.Helper()
	body, contentType := form(s, content)
	r := s.request(s.token, contentType, body)
	r.Header.Set("Prefer", "respond-async")
	return r
}

// state asks how far an upload is.
func (s *site) state(token, path string) answer {
	s.Helper()
	r, err := http.NewRequestWithContext(s.Context(), http.MethodGet, s.url+path, nil)
	if err != nil {
		s.Fatal(err)
	}
	r.Header.Set("Auth-Token", token)
	return s.do(r)
}

var oneFile = []byte("MODULE Linux x86_64 AB app\n")

// wantState compares some fields of an answer's upload.
func (s *site) wantState(a answer, status int, want map[string]any) {
	s.Helper()
	got, _ := a.body["upload"].(map[string]any)
	for field := range got {
		if _, ok := want[field]; !ok {
			delete(got, field)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" || a.status != status {
		s.Errorf("status %d, want %d; state (-want +got):\n%s", a.status, status, diff)
	}
}

func TestAnUploadThatIsNotWaitedFor(t *testing.T) {
	h := new(held)
	s := newSite(t, holding(h))
	content := zipped(t, oneFile, zip.Deflate, "app/AB/app.sym", "x-symbols.txt")
	a := s.do(s.async(content))
	state := map[string]any{
		"id": 1.0, "size": float64(len(content)), "filename": "symbols.zip", "completed_at": nil, "user": "ci@example.com",
		"uploaded_keys": []any{}, "ignored_keys": []any{}, "outcome": nil, "phase": "verify", "error": nil, "progress": 0.0,
	}
	s.wantState(a, http.StatusAccepted, state)
	const path = "/upload/status/1"
	if a.header.Get("Location") != path || a.header.Get("Preference-Applied") != "respond-async" {
		t.Errorf("header %v", a.header)
	}
	s.wait(h.began, "its file is stored")
	state["phase"], state["progress"] = "publish", 0.5
	s.wantState(s.state(s.token, path), http.StatusOK, state)
	other := s.tokenOf("dev@example.com", upload.PermissionUpload)
	viewer := s.tokenOf("admin@example.com", upload.PermissionViewAll)
	for _, x := range []struct {
		token, path string
		status      int
		text        string
	}{
		{other, path, 403, "Forbidden"},
		{"ABC", path, 403, "API Token not matched"},
		{viewer, path, 200, ""},
		{s.token, path + "/", 404, "Not Found"},
		{s.token, "/upload/status/2", 404, "Not Found"},
		{s.token, "/upload/status/-1", 404, "Not Found"},
		{s.token, "/upload/status/x", 404, "Not Found"},
	} {
		if a := s.state(x.token, x.path); a.status != x.status || a.text() != x.text {
			t.Errorf("%s: status %d, %q; want %d, %q", x.path, a.status, a.text(), x.status, x.text)
		}
	}
	close(h.goOn)
	if r := s.last(); r.Err != nil {
		t.Fatal(r.Err)
	}
	delete(state, "completed_at") // when it was
	state["uploaded_keys"], state["ignored_keys"], state["outcome"], state["phase"], state["progress"] =
		[]any{"app/AB/app.sym"}, []any{"x-symbols.txt"}, "completed", "record", 1.0
	s.wantState(s.state(s.token, path), http.StatusOK, state)
	if a := s.state(other, path); a.status != http.StatusForbidden {
		t.Errorf("another's, once it has ended: %d", a.status)
	}
}

// What refuses an upload before its body is there is answered as it always is; what ends it later is its state.
func TestRefusalsOfUploadsThatAreNotWaitedFor(t *testing.T) {
	s := newSite(t)
	for content, want := range map[string]int{"": 202, "no archive": 202, strings.Repeat("x", maxUpload+1): 413} {
		if a := s.do(s.async([]byte(content))); a.status != want {
			t.Errorf("%.20q: status %d, %v", content, a.status, a.body)
		}
		s.last()
	}
	r := s.request(s.token, "text/plain", strings.NewReader("x"))
	r.Header.Set("Prefer", "respond-async")
	if a := s.do(r); a.status != http.StatusBadRequest || a.header.Get("Preference-Applied") != "" {
		t.Errorf("no form: status %d, %v", a.status, a.header)
	}
	r = s.async(nil)
	r.Header.Set("Auth-Token", "ABC")
	if a := s.do(r); a.status != http.StatusForbidden {
		t.Errorf("an unknown token: status %d", a.status)
	}
	s.last() // of the one without a form
	a := s.do(s.async(zipped(t, oneFile, zip.Deflate, "app.sym")))
	s.last()
	s.wantState(s.state(s.token, a.header.Get("Location")), http.StatusOK, map[string]any{
		"outcome": "rejected", "phase": "verify", "completed_at": nil, "progress": 0.0,
		"error": "Unrecognized file pattern. Should only be <module>/<hex>/<file> or <name>-symbols.txt and nothing else. (First unrecognized pattern was 'app.sym')",
	})
}

// A client may hang up after its last byte, and not before.
func TestHangingUpOnAnUploadThatIsNotWaitedFor(t *testing.T) {
	h := new(held)
	s := newSite(t, holding(h))
	body, contentType := form(t, zipped(t, oneFile, zip.Deflate, "app/AB/app.sym"))
	head := fmt.Sprintf("POST /upload/ HTTP/1.1\nHost: x\nAuth-Token: %s\nContent-Type: %s\nPrefer: respond-async\nContent-Length: %d\n\n", s.token, contentType, body.Len())
	text := body.String()
	for range 5 {
		conn := s.raw(head)
		if _, err := io.WriteString(conn, text); err != nil {
			t.Fatal(err)
		}
		if err := conn.Close(); err != nil {
			t.Fatal(err)
		}
	}
	close(h.goOn)
	for range 5 {
		if r := s.last(); r.Err != nil {
			t.Errorf("after the last byte: %v", r.Err)
		}
	}
	conn := s.raw(head)
	if _, err := io.WriteString(conn, text[:len(text)-1]); err != nil {
		t.Fatal(err)
	}
	if err := conn.Close(); err != nil {
		t.Fatal(err)
	}
	if r := s.last(); r.Upload.Outcome != upload.Cancelled {
		t.Errorf("before the last byte: %q, %v", r.Upload.Outcome, r.Err)
	}
}

// multipartOf writes a multipart form of fields.
func multipartOf(t *testing.T, fields url.Values) (body, contentType string) {
	t.Helper()
	var b strings.Builder
	w := multipart.NewWriter(&b)
	var err error
	for name := range fields {
		err = errors.Join(err, w.WriteField(name, fields.Get(name)))
	}
	if err = errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	return b.String(), w.FormDataContentType()
}

// An upload by URL is accepted once it is recorded, however long the download takes, and then needs no client.
func TestAnUploadByURLThatIsNotWaitedFor(t *testing.T) {
	for name, inParts := range map[string]bool{"a form": false, "a multipart form": true} {
		t.Run(name, func(t *testing.T) {
			content := newHold(zipped(t, oneFile, zip.Deflate, "app/AB/app.sym"))
			remote := fetchtest.NewServer(t, content)
			s := newSite(t, from(remote))
			fields := url.Values{"url": {remote.At("/7/symbols.zip")}, "try": {"1"}}
			body, contentType := fields.Encode(), "application/x-www-form-urlencoded"
			if inParts {
				body, contentType = multipartOf(t, fields)
			}
			r := s.request(s.token, contentType, strings.NewReader(body))
			r.Header.Set("Prefer", "respond-async")
			r.Close = true
			a := s.do(r)
			state := map[string]any{
				"id": 1.0, "size": 0.0, "filename": "symbols.zip", "download_url": remote.At("/7/symbols.zip"), "try_symbols": true,
				"outcome": nil, "phase": "receive", "progress": 0.0, "uploaded_keys": []any{},
			}
			s.wantState(a, http.StatusAccepted, state)
			s.wait(content.began, "the download begins")
			s.wantState(s.state(s.token, a.header.Get("Location")), http.StatusOK, state)
			close(content.goOn)
			if r := s.last(); r.Err != nil {
				t.Error(r.Err)
			}
			state["size"], state["outcome"], state["phase"], state["progress"], state["uploaded_keys"] =
				float64(len(content.content)), "completed", "record", 1.0, []any{"app/AB/app.sym"}
			s.wantState(s.state(s.token, a.header.Get("Location")), http.StatusOK, state)
		})
	}
}

// A server that stops ends the uploads that nothing else waits for, too.
func TestStoppingEndsUploadsThatAreNotWaitedFor(t *testing.T) {
	h := new(held)
	s := newSite(t, holding(h))
	a := s.do(s.async(zipped(t, oneFile, zip.Deflate, "app/AB/app.sym")))
	s.wait(h.began, "its file is stored")
	s.server.Stop()
	if r := s.last(); r.Upload.Outcome != upload.Interrupted {
		t.Errorf("%q: %v", r.Upload.Outcome, r.Err)
	}
	s.wantState(s.state(s.token, a.header.Get("Location")), http.StatusOK, map[string]any{
		"outcome": "interrupted", "phase": "publish", "error": "The server is shutting down. Try again; what was published will be skipped.", "progress": 0.5,
	})
}

// nameless is storage that has nothing but a bug.
type nameless struct{ upload.Storage }

func (nameless) Name() string { panic("boom") }

// A panic of ours is answered, and leaves nothing behind.
func TestAPanicInAnUploadThatIsNotWaitedFor(t *testing.T) {
	s := newSite(t, func(_ *web.Config, uc *upload.Config) { uc.Storage = nameless{} })
	if a := s.do(s.async(zipped(t, oneFile, zip.Deflate, "app/AB/app.sym"))); a.status != http.StatusInternalServerError || a.text() != "Internal Server Error" {
		t.Errorf("status %d: %v", a.status, a.body)
	}
}

// noStates is a database that does not answer.
type noStates struct{}

func (noStates) Status(context.Context, int64) (upload.Upload, error) {
	return upload.Upload{}, fmt.Errorf("read upload: %w", upload.ErrUnavailable)
}

func TestStatesWithoutADatabase(t *testing.T) {
	s := newSite(t, func(sc *web.Config, _ *upload.Config) { sc.Uploads.Records = noStates{} })
	if a := s.state(s.token, "/upload/status/1"); a.status != http.StatusServiceUnavailable || a.header.Get("Retry-After") == "" {
		t.Errorf("status %d: %v", a.status, a.header)
	}
	if err := s.watcher.faults; len(err) != 1 || !errors.Is(err[0], upload.ErrUnavailable) {
		t.Errorf("faults %v", err)
	}
}
