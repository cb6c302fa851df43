package web_test

import (
	"bufio"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"tecken-upload/internal/catalogue"
	"tecken-upload/internal/lookup"
	"tecken-upload/internal/symbol"
	"tecken-upload/internal/testenv"
	"tecken-upload/internal/upload"
	"tecken-upload/internal/web"
	"tecken-upload/internal/web/symbols"
)

// Storage that is down, or that does not answer, is never told as "no such symbol": debuggers remember that.
func TestDownloadsWhileStorageIsDown(t *testing.T) {
	s3 := testenv.S3(t)
	proxy := testenv.Toxiproxy(t, s3.Addr)
	s := newSite(t, withS3(t, s3, "http://"+proxy.Addr, ""), withDownloads())
	s.publish(s.token, map[string]string{xulKey: xulSym})
	s.wantStatus(200, "HEAD", "/"+xulKey)

	heal := proxy.Add("timeout", "downstream", map[string]any{"timeout": 0}) // no byte comes back
	var wg sync.WaitGroup
	for i := range 2 * lookup.Lookups {
		wg.Go(func() {
			resp, err := http.Head(fmt.Sprintf("%s/app/A%d/app.sym", s.url, i))
			if err != nil {
				t.Error(err)
				return
			}
			resp.Body.Close()
			if resp.StatusCode != http.StatusServiceUnavailable || resp.Header.Get("Retry-After") == "" {
				t.Errorf("status %d, Retry-After %q", resp.StatusCode, resp.Header.Get("Retry-After"))
			}
		})
	}
	s.wantStatus(302, "GET", "/"+xulKey) // known, and needs no storage
	s.wantStatus(404, "GET", "/app/A1/file.ptr")
	wg.Wait()
	s.watcher.mu.Lock()
	if n := len(s.watcher.faults); n == 0 || n > 6 {
		t.Errorf("%d faults were told of, want a few of them", n)
	}
	s.watcher.mu.Unlock()
	heal()
	s.wantStatus(404, "HEAD", "/app/A1/app.sym")
	s.publish(s.token, map[string]string{"app/A1/app.sym": "MODULE"})
	s.wantStatus(200, "HEAD", "/app/A1/app.sym")

	proxy.Cut()
	s.wantStatus(503, "GET", "/app/A2/app.sym")
	s.wantStatus(200, "HEAD", "/"+xulKey)
}

// Storage that refuses what it is asked for is no "not found" either; and nothing is gained by asking again.
func TestDownloadsThatStorageRefuses(t *testing.T) {
	s3 := testenv.S3(t)
	refuser := testenv.RefuseS3(t, s3.Endpoint, 1000, http.StatusForbidden, "AccessDenied")
	s := newSite(t, withS3(t, s3, refuser.Endpoint, ""), withDownloads())
	for _, method := range []string{http.MethodGet, http.MethodHead} {
		if resp := s.wantStatus(500, method, "/"+xulKey); resp.Header.Get("Retry-After") != "" {
			t.Errorf("%s: Retry-After %q", method, resp.Header.Get("Retry-After"))
		}
	}
}

// Without the database, code ids can't be looked up: that is no "not found" either. Debug ids need none.
func TestDownloadsWithoutADatabase(t *testing.T) {
	s := newSite(t, withDownloads(func(c *lookup.Config) { c.Records = noDatabase{} }))
	s.wantStatus(503, "GET", "/xul.dll/5CF2591C6859000/xul.sym")
	s.wantStatus(503, "GET", "/api/syminfo/xul.dll/5CF2591C6859000")
	s.wantStatus(503, "GET", "/buildid/0123456789abcdef0123/debuginfo")
	s.wantStatus(404, "GET", "/"+xulKey)
	s.wantStatus(404, "GET", "/xul.dll/5CF2591C6859000/xul.dll")
}

type noDatabase struct{}

func (noDatabase) Spellings(context.Context, catalogue.SpellingQuery) ([]symbol.Key, error) {
	return nil, fmt.Errorf("look up: %w", upload.ErrUnavailable)
}

func (noDatabase) Module(context.Context, string, string) (catalogue.Module, error) {
	return catalogue.Module{}, fmt.Errorf("look up: %w", upload.ErrUnavailable)
}

func (noDatabase) Builds(context.Context, string, string, bool) ([]symbol.Key, error) {
	return nil, fmt.Errorf("look up: %w", upload.ErrUnavailable)
}

func (noDatabase) ModuleFiles(context.Context, string, string, bool) ([]symbol.Key, error) {
	return nil, fmt.Errorf("look up: %w", upload.ErrUnavailable)
}

// A gzip stream that is broken must not look like a whole file to its reader.
func TestABrokenObjectIsCutShort(t *testing.T) {
	s := newSite(t, withDownloads())
	text := xulSym + strings.Repeat("FUNC 1000 54 0 main\n", 20000)
	s.publish(s.token, map[string]string{xulKey: text})
	path := filepath.Join(s.objects, "v1", xulKey)
	stored, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	stored[len(stored)/2] ^= 0xff
	if err := os.WriteFile(path, stored, 0o644); err != nil {
		t.Fatal(err)
	}
	meta := filepath.Join(filepath.Dir(path), ".xul.sym.meta")
	for _, known := range []bool{true, false} {
		if !known {
			if err := os.Remove(meta); err != nil {
				t.Fatal(err)
			}
		}
		resp, err := http.DefaultTransport.RoundTrip(newRequest(t, s.url+"/"+xulKey, "identity"))
		if err != nil {
			t.Fatal(err)
		}
		_, err = io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode != http.StatusOK || err == nil {
			t.Errorf("size known %t: status %d, %v; want an answer that breaks off", known, resp.StatusCode, err)
		}
	}
	s.watcher.mu.Lock()
	defer s.watcher.mu.Unlock()
	if len(s.watcher.faults) == 0 {
		t.Error("nobody was told")
	}
}

// breakingStorage sends so much of each file, and no more.
type breakingStorage struct {
	lookup.Storage
	after int64
}

func (b *breakingStorage) OpenContent(ctx context.Context, loc upload.Location) (io.ReadSeekCloser, upload.Object, error) {
	content, obj, err := b.Storage.OpenContent(ctx, loc)
	return &breakingContent{content, b.after}, obj, err
}

type breakingContent struct {
	io.ReadSeekCloser
	left int64
}

func (b *breakingContent) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, fmt.Errorf("read: %w", upload.ErrUnavailable)
	}
	n, err := b.ReadSeekCloser.Read(p[:min(int64(len(p)), b.left)])
	b.left -= int64(n)
	return n, err
}

// If storage breaks off, the download breaks off for its client too. The fault is reported, and only once for many.
func TestADownloadThatBreaksOff(t *testing.T) {
	s := newSite(t, withDownloads(func(c *lookup.Config) { c.Storage = &breakingStorage{c.Storage, 100 << 10} }))
	const key = "app/AB/app.pdb"
	s.publish(s.token, map[string]string{key: strings.Repeat("x", 300<<10)})
	for range 3 {
		resp, err := http.DefaultTransport.RoundTrip(newRequest(t, s.url+"/"+key, "identity"))
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode != http.StatusOK || err == nil || len(text) > 100<<10 {
			t.Errorf("status %d, %d bytes, %v; want an answer that breaks off", resp.StatusCode, len(text), err)
		}
	}
	const ended = "GET /:debug_file/:debug_id/:file 200"
	s.waitRequest(ended + " " + ended + " " + ended)
	s.watcher.mu.Lock()
	defer s.watcher.mu.Unlock()
	if len(s.watcher.faults) != 1 {
		t.Errorf("faults told of: %v", s.watcher.faults)
	}
}

func newRequest(t *testing.T, url, accept string) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Accept-Encoding", accept)
	return r
}

// An object without metadata, as another server may leave it, is served all the same.
func TestAnObjectOfUnknownContent(t *testing.T) {
	s := newSite(t, withDownloads())
	dir := filepath.Join(s.objects, "v1", "xul.pdb", "AB")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(filepath.Join(dir, "xul.sym"))
	if err != nil {
		t.Fatal(err)
	}
	w := gzip.NewWriter(f)
	_, err = io.WriteString(w, xulSym)
	if err := errors.Join(err, w.Close(), f.Close()); err != nil {
		t.Fatal(err)
	}
	for _, accept := range []string{"identity", "gzip"} {
		resp, body := s.fetch("GET", "/xul.pdb/AB/xul.sym", "Accept-Encoding", accept)
		if accept == "gzip" {
			wantHeader(t, resp, "Content-Encoding", "gzip", "Accept-Ranges", "bytes")
			body = gunzip(t, body)
		} else {
			wantHeader(t, resp, "Content-Encoding", "", "Accept-Ranges", "none")
		}
		if body != xulSym || resp.Header.Get("Etag") == "" {
			t.Errorf("%s: %d bytes, ETag %s", accept, len(body), resp.Header.Get("Etag"))
		}
		const path, ago = "/xul.pdb/AB/xul.sym", "Thu, 01 Jan 1970 00:00:00 GMT"
		tag, modified := resp.Header.Get("Etag"), resp.Header.Get("Last-Modified")
		for _, method := range []string{"GET", "HEAD"} {
			same := s.wantStatus(304, method, path, "Accept-Encoding", accept, "If-None-Match", tag)
			wantHeader(t, same, "Etag", tag, "Content-Length", "", "Content-Encoding", "")
			s.wantStatus(200, method, path, "Accept-Encoding", accept, "If-None-Match", `"another"`)
			s.wantStatus(304, method, path, "Accept-Encoding", accept, "If-Modified-Since", modified)
			s.wantStatus(200, method, path, "Accept-Encoding", accept, "If-Modified-Since", ago)
			s.wantStatus(200, method, path, "Accept-Encoding", accept, "If-Match", tag)
			s.wantStatus(412, method, path, "Accept-Encoding", accept, "If-Match", `"another"`)
			s.wantStatus(412, method, path, "Accept-Encoding", accept, "If-Unmodified-Since", ago)
		}
		s.wantStatus(200, "HEAD", "/xul.pdb/AB/xul.sym", "Accept-Encoding", accept)
	}
}

// A reader that goes away leaves nothing behind: neither the place it had, nor the answer it waited for.
func TestReadersThatGoAway(t *testing.T) {
	b := build(t)
	const most = 4
	s := newSite(t, withDownloads(), func(c *web.Config, _ *upload.Config) { c.Symbols.MaxDownloads = most })
	big := b.files(t, false)
	name := "app/" + b.debugID + "/app.debug"
	big[name] += strings.Repeat("x", 2<<20)
	delete(big, "app/"+b.debugID+"/app")
	if text := big[name]; len(text) > 7<<20 {
		t.Fatalf("%d bytes", len(text))
	}
	s.publish(s.token, big)
	for range most + 3 {
		conn := s.raw("GET /buildid/" + b.buildID + "/debuginfo HTTP/1.1\nHost: x\n\n")
		if line, err := bufio.NewReader(conn).ReadString('\n'); err != nil || !strings.Contains(line, "200") {
			t.Fatalf("%q, %v", line, err)
		}
		conn.Close()
	}
	s.wantStatus(200, "HEAD", "/buildid/"+b.buildID+"/debuginfo")
}

// A reader that has stopped does not keep the server from stopping.
func TestAStalledReaderDoesNotHoldUpTheEnd(t *testing.T) {
	s := newSite(t, withDownloads())
	path := filepath.Join(s.objects, "v1", "app", "AB", "app.pdb")
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, 1<<30); err != nil { // more than any socket's buffers take
		t.Fatal(err)
	}
	conn := s.raw("GET /app/AB/app.pdb HTTP/1.1\nHost: x\n\n")
	if line, err := bufio.NewReader(conn).ReadString('\n'); err != nil || !strings.Contains(line, "200") {
		t.Fatalf("%q, %v", line, err)
	}
	s.server.Stop()
	s.waitRequest("GET /:debug_file/:debug_id/:file 200")
}

// waitRequest waits until such a request has ended.
func (s *site) waitRequest(want string) {
	s.Helper()
	for end := time.Now().Add(testenv.Patience); ; <-time.After(10 * time.Millisecond) {
		s.watcher.mu.Lock()
		got := fmt.Sprint(s.watcher.requests)
		s.watcher.mu.Unlock()
		if strings.Contains(got, want) {
			return
		}
		if time.Now().After(end) {
			s.Fatalf("requests are %s, want %s", got, want)
		}
	}
}

// hangingStorage looks for as long as it is let.
type hangingStorage struct {
	lookup.Storage
	begun, ended chan struct{}
}

func (h *hangingStorage) Stat(ctx context.Context, _ upload.Location) (upload.Object, error) {
	h.begun <- struct{}{}
	<-ctx.Done()
	h.ended <- struct{}{}
	return upload.Object{}, ctx.Err()
}

func TestAClientThatHangsUpWhileWaiting(t *testing.T) {
	storage := &hangingStorage{begun: make(chan struct{}, 1), ended: make(chan struct{}, 1)}
	s := newSite(t, withDownloads(func(c *lookup.Config) { c.Storage = storage }))
	conn := s.raw("GET /" + xulKey + " HTTP/1.1\nHost: x\n\n")
	<-storage.begun
	conn.Close()
	select {
	case <-storage.ended:
	case <-time.After(testenv.Patience):
		t.Fatal("the lookup goes on for nobody")
	}
	s.waitRequest("GET /:debug_file/:debug_id/:file 499")
}

var _ symbols.Finder = (*lookup.Finder)(nil)
