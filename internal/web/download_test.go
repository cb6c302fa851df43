package web_test

import (
	"archive/zip"
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"tecken-upload/internal/lookup"
	"tecken-upload/internal/storage"
	"tecken-upload/internal/storage/s3store"
	"tecken-upload/internal/testenv"
	"tecken-upload/internal/upload"
	"tecken-upload/internal/web"
)

const (
	xulKey = "xul.pdb/44E4EC8C2F41492B9369D6B9A059577C2/xul.sym"
	xulSym = "MODULE windows x86_64 44E4EC8C2F41492B9369D6B9A059577C2 xul.pdb\nINFO CODE_ID 5CF2591C6859000 xul.dll\nINFO GENERATOR dump_syms 2\nPUBLIC 0 0 f\n"
)

var extensions = []string{".sym", ".pdb", ".dll", ".exe", ".pd_", ".dl_", ".ex_", ".dbg.gz", ".tar.bz2"}

// withDownloads lets a site's symbols be downloaded.
func withDownloads(change ...func(*lookup.Config)) func(*web.Config, *upload.Config) {
	return func(sc *web.Config, uc *upload.Config) {
		dc := lookup.Config{Storage: uc.Storage.(lookup.Storage), Records: sc.Exchange.Tokens.(lookup.Records)}
		for _, c := range change {
			c(&dc)
		}
		finder := lookup.New(dc)
		uc.Storage, uc.Records, sc.Symbols.Finder = finder.Uploads(uc.Storage), finder.Recorded(uc.Records), finder
	}
}

// withS3 lets a site keep its symbols in S3, behind endpoint.
func withS3(t *testing.T, s3 testenv.S3Server, endpoint, public string) func(*web.Config, *upload.Config) {
	t.Helper()
	s3.Setenv(t)
	place, err := storage.ParseURL(s3.Through(endpoint))
	if err != nil {
		t.Fatal(err)
	}
	return func(sc *web.Config, uc *upload.Config) {
		store, err := s3store.Open(t.Context(), place, s3store.Options{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(store.Close)
		uc.Storage, sc.Symbols.Links = store, s3store.NewLinker(store, public, time.Minute)
	}
}

// fetch makes a request of the site and returns its answer, following no redirect and inflating nothing. fields are
// names and values of the header.
func (s *site) fetch(method, path string, fields ...string) (*http.Response, string) {
	s.Helper()
	r, err := http.NewRequestWithContext(s.Context(), method, s.url+path, nil)
	if err != nil {
		s.Fatal(err)
	}
	for i := 0; i < len(fields); i += 2 {
		r.Header.Add(fields[i], fields[i+1])
	}
	resp, err := (&http.Transport{DisableCompression: true, DisableKeepAlives: true}).RoundTrip(r)
	if err != nil {
		s.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		s.Fatalf("%s %s: read: %v", method, path, err)
	}
	if resp.StatusCode >= 400 && method != http.MethodHead && (!strings.HasPrefix(string(body), `{"error":`) || resp.Header.Get("Content-Type") != "application/json") {
		s.Errorf("%s %s: %d is no JSON error: %q", method, path, resp.StatusCode, body)
	}
	return resp, string(body)
}

// wantStatus makes a request and compares its status.
func (s *site) wantStatus(status int, method, path string, fields ...string) *http.Response {
	s.Helper()
	resp, body := s.fetch(method, path, fields...)
	if resp.StatusCode != status {
		s.Errorf("%s %s %v: status %d, want %d\n%s", method, path, fields, resp.StatusCode, status, body)
	}
	return resp
}

// publish uploads files, given by name, with a token.
func (s *site) publish(token string, files map[string]string, fields ...string) {
	s.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for name, content := range files {
		f, err := w.Create(name)
		if err == nil {
			_, err = io.WriteString(f, content)
		}
		if err != nil {
			s.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		s.Fatal(err)
	}
	if a := s.post(token, b.Bytes(), fields...); a.status != http.StatusCreated {
		s.Fatalf("upload: %d %v", a.status, a.body)
	}
}

func gunzip(t testing.TB, text string) string {
	t.Helper()
	r, err := gzip.NewReader(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	plain, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(plain)
}

// wantHeader compares fields of an answer's header, given by name and value.
func wantHeader(t testing.TB, resp *http.Response, fields ...string) {
	t.Helper()
	for i := 0; i < len(fields); i += 2 {
		if got := strings.Join(resp.Header.Values(fields[i]), "|"); got != fields[i+1] {
			t.Errorf("%s %s: %s is %q, want %q", resp.Request.Method, resp.Request.URL.Path, fields[i], got, fields[i+1])
		}
	}
}

func TestDownloadFromADirectory(t *testing.T) {
	s := newSite(t, withDownloads())
	text := xulSym + strings.Repeat("FUNC 1000 54 0 main\n", 2000)
	s.publish(s.token, map[string]string{xulKey: text, "xul.pdb/44E4EC8C2F41492B9369D6B9A059577C2/xul.pd_": "MSCF, binary"})
	length := fmt.Sprint(len(text))

	plain, body := s.fetch("GET", "/"+xulKey)
	if body != text {
		t.Errorf("plain form: %d bytes", len(body))
	}
	wantHeader(t, plain, "Content-Type", "text/plain", "X-Content-Type-Options", "nosniff", "Vary", "Accept-Encoding",
		"Content-Length", length, "Content-Encoding", "", "Accept-Ranges", "none", "Access-Control-Allow-Origin", "*", "Debug-Time", "",
		"Access-Control-Expose-Headers", "Accept-Ranges, Content-Encoding, Content-Range, Debug-Time, ETag, Retry-After, X-Debuginfod-File, X-Debuginfod-Size")

	zipped, body := s.fetch("GET", "/"+xulKey, "Accept-Encoding", "br, gzip")
	if gunzip(t, body) != text {
		t.Error("the gzip form is of another text")
	}
	wantHeader(t, zipped, "Content-Type", "text/plain", "Vary", "Accept-Encoding", "Content-Length", fmt.Sprint(len(body)), "Content-Encoding", "gzip", "Accept-Ranges", "bytes")
	tags := []string{plain.Header.Get("Etag"), zipped.Header.Get("Etag")}
	if tags[0] == "" || tags[1] == "" || tags[0] == tags[1] {
		t.Errorf("ETags are %q", tags)
	}

	// Conditional: of each form its own tag.
	for i, accept := range []string{"identity", "gzip"} {
		s.wantStatus(304, "GET", "/"+xulKey, "Accept-Encoding", accept, "If-None-Match", tags[i])
		s.wantStatus(200, "GET", "/"+xulKey, "Accept-Encoding", accept, "If-None-Match", tags[1-i])
		s.wantStatus(304, "HEAD", "/"+xulKey, "Accept-Encoding", accept, "If-Modified-Since", plain.Header.Get("Last-Modified"))
		s.wantStatus(412, "GET", "/"+xulKey, "Accept-Encoding", accept, "If-Match", tags[1-i])
	}

	// Ranges: of the stored form.
	part, tail := s.fetch("GET", "/"+xulKey, "Accept-Encoding", "gzip", "Range", "bytes=10-19")
	if tail != body[10:20] {
		t.Errorf("part: %q", tail)
	}
	wantHeader(t, part, "Content-Range", fmt.Sprintf("bytes 10-19/%d", len(body)), "Content-Length", "10", "Content-Encoding", "gzip")
	if resp, all := s.fetch("GET", "/"+xulKey, "Range", "bytes=10-19"); resp.StatusCode != http.StatusOK || all != text {
		t.Errorf("a range of the inflated form: status %d, %d bytes", resp.StatusCode, len(all))
	}
	several, all := s.fetch("GET", "/"+xulKey, "Accept-Encoding", "gzip", "Range", "bytes=0-1,4-5")
	if several.StatusCode != http.StatusOK || all != body {
		t.Errorf("several ranges at once: status %d, %d bytes; want the whole", several.StatusCode, len(all))
	}
	for _, spec := range []string{"items=0-1", "0-1", "bytes"} {
		if resp, all := s.fetch("GET", "/"+xulKey, "Accept-Encoding", "gzip", "Range", spec); resp.StatusCode != http.StatusOK || all != body {
			t.Errorf("%s, which is no range: status %d, %d bytes; want the whole", spec, resp.StatusCode, len(all))
		}
	}
	for spec, want := range map[string]string{"bytes=-2": body[len(body)-2:], "Bytes=0-1": body[:2], "bytes= -02": body[len(body)-2:]} {
		if resp, got := s.fetch("GET", "/"+xulKey, "Accept-Encoding", "gzip", "Range", spec); resp.StatusCode != http.StatusPartialContent || got != want {
			t.Errorf("%s: status %d, %q", spec, resp.StatusCode, got)
		}
	}
	for _, spec := range []string{"bytes=-0", "bytes= -00"} {
		nothing := s.wantStatus(416, "GET", "/"+xulKey, "Accept-Encoding", "gzip", "Range", spec)
		wantHeader(t, nothing, "Content-Range", fmt.Sprintf("bytes */%d", len(body)))
	}
	refused := s.wantStatus(416, "GET", "/"+xulKey, "Accept-Encoding", "gzip", "Range", "bytes=1000000-")
	wantHeader(t, refused, "Content-Range", fmt.Sprintf("bytes */%d", len(body)), "Content-Encoding", "")
	unmet := s.wantStatus(412, "GET", "/"+xulKey, "Accept-Encoding", "gzip", "If-Match", `"another"`)
	wantHeader(t, unmet, "Content-Type", "application/json", "Content-Encoding", "")
	if resp, all := s.fetch("GET", "/"+xulKey, "Accept-Encoding", "gzip", "Range", "bytes=0-1", "If-Range", tags[0]); resp.StatusCode != http.StatusOK || all != body {
		t.Errorf("a range if it is the other form: status %d", resp.StatusCode)
	}

	head := s.wantStatus(200, "HEAD", "/"+xulKey, "Debug", "true")
	wantHeader(t, head, "Content-Length", length, "Content-Type", "text/plain", "Etag", tags[0])
	if _, err := time.ParseDuration(head.Header.Get("Debug-Time") + "s"); err != nil {
		t.Error(err)
	}
	binary, body := s.fetch("GET", "/xul.pdb/44e4ec8c2f41492b9369d6b9a059577c2/xul.pd_", "Accept-Encoding", "gzip", "Range", "bytes=6-")
	if binary.StatusCode != http.StatusPartialContent || body != "binary" {
		t.Errorf("status %d, %q", binary.StatusCode, body)
	}
	wantHeader(t, binary, "Content-Type", "application/octet-stream", "X-Content-Type-Options", "nosniff", "Content-Encoding", "")
}

func TestDownloadFromS3(t *testing.T) {
	server := testenv.S3(t)
	s := newSite(t, withS3(t, server, server.Endpoint, ""), withDownloads())
	files := map[string]string{
		xulKey: xulSym,
		"lib stdc++ (1)~.so/AB/a~!$&()*+,-.:;=?@_.sym": "MODULE Linux x86 AB lib stdc++\n",
	}
	s.publish(s.token, files)
	for name, text := range files {
		path := "/" + strings.TrimPrefix((&url.URL{Path: "/" + name}).EscapedPath(), "/")
		resp := s.wantStatus(302, "GET", path)
		wantHeader(t, resp, "Cache-Control", "no-store", "Access-Control-Allow-Origin", "*", "Content-Length", "0")
		fetched, err := http.Get(resp.Header.Get("Location"))
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(fetched.Body)
		fetched.Body.Close()
		if err != nil || fetched.StatusCode != http.StatusOK || string(body) != text {
			t.Errorf("%s: fetched %d %q, %v", resp.Header.Get("Location"), fetched.StatusCode, body, err)
		}
		head := s.wantStatus(200, "HEAD", path)
		wantHeader(t, head, "Location", "", "Content-Type", "text/plain")
	}
	s.wantStatus(404, "GET", "/xul.pdb/44E4EC8C2F41492B9369D6B9A059577C2/other.sym")
	s.wantStatus(404, "HEAD", "/xul.pdb/44E4EC8C2F41492B9369D6B9A059577C2/other.sym")

	public := newSite(t, withS3(t, server, server.Endpoint, "https://cdn.example.com/base"), withDownloads())
	resp := public.wantStatus(302, "GET", "/lib%20stdc++%20(1)~.so/ab/a~!$&()*+,-.:;=%3F@_.sym")
	wantHeader(t, resp, "Cache-Control", "", "Location",
		"https://cdn.example.com/base/v1/lib%20stdc%2B%2B%20%281%29~.so/AB/a~%21%24%26%28%29%2A%2B%2C-.%3A%3B%3D%3F%40_.sym")
}

func TestWhatIsNotDownloaded(t *testing.T) {
	s := newSite(t, withDownloads(func(c *lookup.Config) { c.Storage, c.Extensions = nil, extensions })) // a look into storage panics
	for path, want := range map[string]int{
		"/xul.pdb/44E4EC8C2F41492B9369D6B9A059577C2/file.ptr": 404,
		"/xul.pdb/000000000000000000000000000000000/xul.sym":  404,
		"/xul.pdb/44E4EC8C2F41492B9369D6B9A059577C2/xul.txt":  404,
		"/xul.pdb/44E4EC8C2F41492B9369D6B9A059577C2/":         404,
		"/xul.pdb//xul.sym":            404,
		"/xul%2Fpdb/AB/xul.sym":        404,
		"/xul.pdb/AB/..%2f..%2fx.sym":  404,
		"/%2e%2e/AB/xul.sym":           404,
		"/xul%00.pdb/AB/xul.sym":       404,
		"/x%25252e.pdb/AB/xul.sym":     404,
		"/x%FF.pdb/AB/xul.sym":         404,
		"/x%E2%80%AE.pdb/AB/xul.sym":   404,
		"/xul.pdb/XYZ/xul.sym":         404,
		"/upload/":                     405,
		"/upload/x/y":                  404,
		"/__heartbeat__/x/y":           404,
		"/buildid/xyz/debuginfo":       404,
		"/buildid/abcd/executable":     404,
		"/buildid/abcd/source/usr/x.c": 404,
		"/api/syminfo/x/xyz":           404,
	} {
		resp := s.wantStatus(want, "GET", path, "Debug", "true")
		if strings.HasSuffix(path, "/AB/xul.sym") && resp.Header.Get("Debug-Time") == "" {
			t.Errorf("%s: no Debug-Time", path)
		}
	}
	wantHeader(t, s.wantStatus(405, "PUT", "/xul.pdb/AB/xul.sym"), "Allow", "OPTIONS, GET, HEAD")
	wantHeader(t, s.wantStatus(204, "OPTIONS", "/xul.pdb/AB/xul.sym"), "Access-Control-Allow-Origin", "*", "Access-Control-Allow-Methods", "GET, HEAD")
	if len(s.watcher.faults) > 0 {
		t.Errorf("faults: %v", s.watcher.faults)
	}
}

func TestTryDownloads(t *testing.T) {
	s := newSite(t, withDownloads())
	try := s.makeToken(upload.PermissionUploadTry)
	s.publish(try, map[string]string{"app/AB/app.sym": "MODULE Linux x86 AB app\nINFO CODE_ID CDCDCDCD\nPUBLIC try\n"})
	for _, path := range []string{"/app/AB/app.sym", "/APP/AB/app.sym", "/app/CDCDCDCD/app.sym"} {
		s.wantStatus(404, "GET", path)
		s.wantStatus(404, "HEAD", path)
	}
	for _, path := range []string{"/try/app/AB/app.sym", "/app/ab/app.sym?try", "/app/AB/app.sym?x=1&try=1"} {
		s.wantStatus(200, "GET", path)
	}
	wantHeader(t, s.wantStatus(302, "GET", "/try/app/CDCDCDCD/app.sym?x=%0d"), "Location", "../../app/AB/app.sym?x=%0d")
	wantHeader(t, s.wantStatus(302, "GET", "/try/APP/AB/APP.sym"), "Location", "../../app/AB/app.sym")
	wantHeader(t, s.wantStatus(302, "GET", "/app/cdcdcdcd/app.sym?try&_refresh"), "Location", "../../app/AB/app.sym?try&_refresh")
	s.wantSyminfo("/api/syminfo/app/cdcdcdcd", "/app/AB/app.sym?try")
	// Once there is a regular one, it comes first.
	s.publish(s.token, map[string]string{"app/AB/app.sym": "MODULE Linux x86 AB app\nINFO CODE_ID CDCDCDCD\nPUBLIC regular\n"})
	for _, path := range []string{"/try/app/AB/app.sym", "/app/AB/app.sym"} {
		if _, body := s.fetch("GET", path); !strings.Contains(body, "regular") {
			t.Errorf("%s: %q", path, body)
		}
	}
	s.wantStatus(302, "GET", "/app/CDCDCDCD/app.sym")
	s.wantSyminfo("/api/syminfo/app/cdcdcdcd", "/app/AB/app.sym")
}

// wantSyminfo compares where a module's .sym is.
func (s *site) wantSyminfo(path, want string) {
	s.Helper()
	if got := s.ask("", path).body["url"]; got != s.url+want {
		s.Errorf("%s: the address is %v, want %s", path, got, want)
	}
}

// A regular symbol that was remembered and has expired hides no other.
func TestASymbolThatIsGone(t *testing.T) {
	s := newSite(t, withDownloads())
	s.publish(s.makeToken(upload.PermissionUploadTry), map[string]string{"app/AB/app.sym": "MODULE try"})
	s.publish(s.token, map[string]string{"app/AB/app.sym": "MODULE regular"})
	for _, method := range []string{"GET", "HEAD"} {
		s.wantStatus(200, method, "/try/app/AB/app.sym?_refresh")
		hidden := s.objects + "/gone"
		if err := os.Rename(s.objects+"/v1/app", hidden); err != nil {
			t.Fatal(err)
		}
		s.wantStatus(200, method, "/try/app/AB/app.sym")
		s.wantStatus(404, method, "/app/AB/app.sym")
		if err := os.Rename(hidden, s.objects+"/v1/app"); err != nil {
			t.Fatal(err)
		}
	}
}

func TestLegacyKeys(t *testing.T) {
	var dir string
	put := func(name string) {
		t.Helper()
		path := dir + "/v1/" + name
		if err := os.MkdirAll(path[:strings.LastIndex(path, "/")], 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte("MODULE"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, legacy := range []bool{false, true} {
		s := newSite(t, withDownloads(func(c *lookup.Config) { c.Legacy = legacy }))
		dir = s.objects
		put("app/aB/app.sym")
		want := map[bool]int{false: 404, true: 200}[legacy]
		s.wantStatus(want, "GET", "/app/aB/app.sym")
		s.wantStatus(want, "HEAD", "/app/aB/app.sym")
		s.wantStatus(404, "GET", "/app/Ab/app.sym")
		put("app/CD/app.sym")
		s.wantStatus(200, "GET", "/app/cd/app.sym")
	}
}

// An upload makes its symbols visible at once, whatever was asked for before.
func TestAnUploadIsVisibleAtOnce(t *testing.T) {
	s := newSite(t, withDownloads())
	for i := range 20 {
		id, code := fmt.Sprintf("A%032X", i), fmt.Sprintf("C%014X", i)
		path, byCode := "/app/"+id+"/app.sym", "/app/"+code+"/app.sym"
		s.wantStatus(404, "GET", path)
		s.wantStatus(404, "GET", byCode)
		s.publish(s.token, map[string]string{path[1:]: "MODULE Linux x86 " + id + " app\nINFO CODE_ID " + code + "\n"})
		s.wantStatus(200, "HEAD", path)
		s.wantStatus(302, "GET", byCode)
	}
}

// Debuggers of Windows ask in lower case, and macOS spells names in a form of its own: both find what is stored, in any spelling.
func TestNamesInAnyCase(t *testing.T) {
	s := newSite(t, withDownloads())
	sym := "MODULE windows x86_64 ABC BaseService.pdb\nINFO CODE_ID 5CF2591C6859000 BaseService.dll\n"
	s.publish(s.token, map[string]string{
		"BaseService.pdb/ABC/BaseService.pdb":        "PDB",
		"BaseService.pdb/ABC/BaseService.sym":        sym,
		"MYDRV.SYS/5CF2591C6859000/MYDRV.SYS":        "driver",
		"Gr\u00f6\u00dfe.dll/AB/Gr\u00f6\u00dfe.dll": "umlauts",
	})
	const umlauts = "../../Gr%C3%B6%C3%9Fe.dll/AB/Gr%C3%B6%C3%9Fe.dll"
	for path, want := range map[string]string{
		"/BaseService.pdb/abc/BaseService.pdb":             "",
		"/baseservice.pdb/abc/baseservice.pdb":             "../../BaseService.pdb/ABC/BaseService.pdb",
		"/try/BASESERVICE.PDB/abc/BASESERVICE.PDB?x=1":     "../../BaseService.pdb/ABC/BaseService.pdb?x=1",
		"/BaseService.pdb/abc/baseservice.pdb":             "../../BaseService.pdb/ABC/BaseService.pdb",
		"/baseservice.dll/5cf2591c6859000/baseservice.sym": "../../BaseService.pdb/ABC/BaseService.sym",
		"/mydrv.sys/5cf2591c6859000/mydrv.sys":             "../../MYDRV.SYS/5CF2591C6859000/MYDRV.SYS",
		"/Gr%C3%B6%C3%9Fe.dll/ab/Gr%C3%B6%C3%9Fe.dll":      "",
		"/Gro%CC%88%C3%9Fe.dll/ab/Gro%CC%88%C3%9Fe.dll":    "", // composed as it is looked up
		"/gr%C3%B6%C3%9Fe.dll/ab/GR%C3%96%E1%BA%9EE.DLL":   umlauts,
		"/GRO%CC%88%E1%BA%9EE.dll/ab/gro%CC%88%C3%9Fe.DLL": umlauts,
	} {
		status := map[bool]int{true: 200, false: 302}[want == ""]
		wantHeader(t, s.wantStatus(status, "GET", path), "Location", want)
		wantHeader(t, s.wantStatus(200, "HEAD", path), "Location", "")
	}
	for _, path := range []string{"/baseservice.pdb/abd/baseservice.pdb", "/baseservice.pdb/abc/baseservice.pd_", "/grosse.dll/ab/grosse.dll", "/gr%C3%B6sse.dll/ab/gr%C3%B6sse.dll"} {
		s.wantStatus(404, "GET", path)
		s.wantStatus(404, "HEAD", path)
	}
	// Of several spellings the one that was uploaded last counts.
	s.publish(s.token, map[string]string{"baseService.pdb/ABC/baseService.pdb": "newer"})
	wantHeader(t, s.wantStatus(302, "GET", "/baseservice.pdb/abc/baseservice.pdb"), "Location", "../../baseService.pdb/ABC/baseService.pdb")
	s.publish(s.token, map[string]string{"BaseService.pdb/ABC/BaseService.pdb": "PDB"}) // once more, and skipped
	wantHeader(t, s.wantStatus(302, "GET", "/baseservice.pdb/abc/baseservice.pdb"), "Location", "../../BaseService.pdb/ABC/BaseService.pdb")
}

func TestByCodeID(t *testing.T) {
	s := newSite(t, withDownloads())
	s.publish(s.token, map[string]string{
		xulKey: xulSym,
		// The .sym is named after the .pdb, and that not after the .dll.
		"core_x64.pdb/ABCD/core_x64.sym": "MODULE windows x86_64 ABCD core_x64.pdb\nINFO CODE_ID 12345678AB000 core+.dll\n",
	})
	wantHeader(t, s.wantStatus(302, "GET", "/xul.dll/5cf2591c6859000/xul.sym?_refresh=1"), "Location", "../../xul.pdb/44E4EC8C2F41492B9369D6B9A059577C2/xul.sym?_refresh=1")
	wantHeader(t, s.wantStatus(302, "GET", "/CORE+.dll/12345678ab000/core_x64.SYM"), "Location", "../../core_x64.pdb/ABCD/core_x64.sym")
	wantHeader(t, s.wantStatus(302, "GET", "/core+.dll/12345678ab000/core+.sym"), "Location", "../../core_x64.pdb/ABCD/core_x64.sym")
	s.wantStatus(200, "HEAD", "/core+.dll/12345678ab000/core+.sym")
	s.wantStatus(404, "GET", "/other.dll/5CF2591C6859000/xul.sym")
	s.wantStatus(404, "GET", "/xul.dll/5CF2591C6859000/xul.pdb")

	for _, path := range []string{"/api/syminfo/xul.dll/5CF2591C6859000", "/api/syminfo/XUL.DLL/5cf2591c6859000", "/api/syminfo/Xul.pdb/44e4ec8c2f41492b9369d6b9a059577c2"} {
		resp, err := http.Get(s.url + path)
		if err != nil {
			t.Fatal(err)
		}
		a := s.read(resp)
		if took, ok := a.body["time"].(float64); !ok || took < 0 {
			t.Errorf("time %v", a.body["time"])
		}
		delete(a.body, "time")
		want := "map[code_file:xul.dll code_id:5CF2591C6859000 debug_filename:xul.pdb debug_id:44E4EC8C2F41492B9369D6B9A059577C2 generator:dump_syms 2 url:" + s.url + "/" + xulKey + "]"
		if got := fmt.Sprint(a.body); got != want {
			t.Errorf("%s:\ngot  %s\nwant %s", path, got, want)
		}
	}
	s.wantStatus(404, "GET", "/api/syminfo/xul.dll/5CF2591C6859001")
}
