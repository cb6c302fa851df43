package web_test

import (
	"archive/zip"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tecken-upload/internal/catalogue"
	"tecken-upload/internal/fetch/fetchtest"
	"tecken-upload/internal/lookup"
	"tecken-upload/internal/testenv"
	"tecken-upload/internal/upload"
	"tecken-upload/internal/web"
	"tecken-upload/internal/web/symbols"
)

// The document of the API and the server say the same: they have the same routes, real answers are what the document
// says, and there is nothing in the document that no real exchange shows.
func TestOpenAPI(t *testing.T) {
	c := readContract(t)
	s := newSite(t, withDownloads(), withAllChecks)
	if diff := cmp.Diff(c.operations(), s.routes()); diff != "" {
		t.Errorf("routes (-documented +registered):\n%s", diff)
	}
	c.uploads()
	c.uploadsByURL()
	c.downloads(s)
	c.downloadsFromS3()
	c.debuginfod(s)
	c.records(s)
	c.queries(s)
	c.strangers(s)
	c.constants()
	c.faults()
	c.elsewhere(s)
	c.operation(s) // the last: it drains the site
	c.wantAllShown()
}

// withAllChecks gives a site's heartbeat all that it has in production.
func withAllChecks(sc *web.Config, _ *upload.Config) {
	fine := func(context.Context) error { return nil }
	sc.Checks = map[string]web.Check{"database": fine, "storage": fine, "spool": fine, "queue": fine, "migration": fine}
	sc.Saturation = func(context.Context) float64 { return 0.25 }
}

// upload makes an exchange of a form.
func (c *contract) upload(s *site, status int, token string, content []byte, fields ...string) {
	c.Helper()
	body, contentType := form(c, content, fields...)
	c.exchange(s, request{
		method: "POST", path: "/upload/", status: status, header: []string{"Content-Type", contentType, "Auth-Token", token}, body: body.String(),
	})
}

func (c *contract) uploads() {
	c.Helper()
	s := newSite(c.T)
	content := zipped(c, []byte("MODULE Linux x86_64 AB app\n"), zip.Deflate, "app/AB/app.sym", "x-symbols.txt")
	c.upload(s, 201, s.token, content)
	c.upload(s, 201, s.token, content, "try")
	c.upload(s, 400, s.token, []byte("<html>"))
	c.uploadStates(s, content)
	c.upload(s, 403, "ABC", content)
	c.upload(s, 413, s.token, make([]byte, maxUpload+1))
	_, contentType := form(c, nil)
	c.exchange(s, request{method: "POST", path: "/upload/", status: 403, header: []string{"Content-Type", contentType}, body: "x", wrong: true})

	for status, change := range map[int]func(*web.Config, *upload.Config){
		429: func(sc *web.Config, _ *upload.Config) {
			sc.Uploads.Gate = refusingGate{&upload.BusyError{OverLimit: true, Reason: "Full.", RetryAfter: time.Second}}
		},
		500: func(sc *web.Config, _ *upload.Config) { sc.Uploads.Gate = refusingGate{errors.New("broken")} },
		503: func(sc *web.Config, _ *upload.Config) {
			sc.Uploads.Gate = refusingGate{&upload.BusyError{Reason: "Full.", RetryAfter: time.Second}}
		},
		504: func(_ *web.Config, uc *upload.Config) { uc.Timeout = time.Nanosecond },
	} {
		s := newSite(c.T, change)
		c.upload(s, status, s.token, content)
	}
}

// uploadStates asks how far uploads are: one that its client does not wait for, and others.
func (c *contract) uploadStates(s *site, content []byte) {
	c.Helper()
	body, contentType := form(c, content)
	answer := c.exchange(s, request{
		method: "POST", path: "/upload/", status: 202, header: []string{"Content-Type", contentType, "Auth-Token", s.token, "Prefer", "respond-async"}, body: body.String(),
	})
	for path, status := range map[string]int{answer.Get("Location"): 200, "/upload/status/1": 200, "/upload/status/3": 200, "/upload/status/1000": 404} {
		for _, method := range []string{"GET", "HEAD"} {
			c.exchange(s, request{method: method, path: path, status: status, header: []string{"Auth-Token", s.token}})
			c.exchange(s, request{method: method, path: path, status: 403, wrong: true})
		}
	}
}

func (c *contract) uploadsByURL() {
	c.Helper()
	content := zipped(c, []byte("MODULE Linux x86_64 AB app\n"), zip.Deflate, "app/AB/app.sym")
	remote := fetchtest.NewServer(c.T, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/latest":
			http.Redirect(w, r, "/7/symbols.zip", http.StatusFound)
		case "/down":
			w.WriteHeader(http.StatusInternalServerError)
		default:
			_, _ = w.Write(content)
		}
	}))
	s := newSite(c.T, from(remote))
	for address, status := range map[string]int{
		remote.At("/latest"): 201, remote.At("/down"): 503, "https://evil.example.com/x": 400, "http://evil.example.com/x": 400, "": 400,
	} {
		c.exchange(s, request{
			method: "POST", path: "/upload/", status: status, body: url.Values{"url": {address}, "try": {"1"}}.Encode(),
			header: []string{"Content-Type", "application/x-www-form-urlencoded", "Auth-Token", s.token},
			wrong:  !strings.HasPrefix(address, "https://"),
		})
	}
}

const binaryKey = "xul.pdb/44E4EC8C2F41492B9369D6B9A059577C2/xul.pd_"

func (c *contract) downloads(s *site) {
	c.Helper()
	s.publish(s.token, map[string]string{xulKey: xulSym, binaryKey: "MSCF, binary"})
	for _, prefix := range []string{"/", "/try/"} {
		query := "?try&_refresh"
		if prefix == "/try/" {
			query = "?_refresh=1"
		}
		for _, method := range []string{"GET", "HEAD"} {
			get := func(status int, path string, header ...string) http.Header {
				return c.exchange(s, request{method: method, path: prefix + path, status: status, header: append(header, "Debug", "true")})
			}
			get(200, xulKey+query)
			get(200, binaryKey)
			get(404, strings.ToLower("XUL.pdb/AB/")+"xul.sym")
			c.conditional(get, xulKey)
			get(304, xulKey, "If-None-Match", get(200, xulKey).Get("Etag"))
			get(412, xulKey, "If-Match", `"another"`)
			c.exchange(s, request{method: method, path: prefix + "%2e%2e/AB/xul.sym", status: 404, header: []string{"Debug", "1"}, wrong: true})
			c.exchange(s, request{method: method, path: prefix + "xul.pdb/xyz/xul.sym", status: 404, wrong: true})
			if method == "HEAD" {
				get(200, binaryKey, "Range", "bytes=0-3")
				continue
			}
			c.ranges(get, xulKey)
			get(206, binaryKey, "Range", "bytes=2-")
			get(302, "xul.dll/5CF2591C6859000/xul.sym")
			get(302, strings.ToUpper(binaryKey))
		}
		c.exchange(s, request{method: "OPTIONS", path: prefix + xulKey, status: 204})
	}
	for _, method := range []string{"GET", "HEAD"} {
		for path, status := range map[string]int{"XUL.dll/5cf2591c6859000?_refresh": 200, "xul.pdb/AB": 404, "%2e%2e/AB": 404} {
			c.exchange(s, request{method: method, path: "/api/syminfo/" + path, status: status, header: []string{"Debug", "true"}, wrong: strings.Contains(path, "%")})
		}
	}
	c.exchange(s, request{method: "OPTIONS", path: "/api/syminfo/xul.dll/AB", status: 204})
}

// conditional asks for a file that is stored as gzip in terms of what the client has.
func (c *contract) conditional(get func(status int, path string, header ...string) http.Header, path string) {
	c.Helper()
	stored := get(200, path, "Accept-Encoding", "gzip")
	get(304, path, "Accept-Encoding", "gzip", "If-None-Match", stored.Get("Etag"))
	get(304, path, "Accept-Encoding", "gzip", "If-Modified-Since", stored.Get("Last-Modified"))
	get(200, path, "If-Modified-Since", "Thu, 01 Jan 1970 00:00:00 GMT")
	get(200, path, "Accept-Encoding", "gzip", "If-Match", stored.Get("Etag"))
	get(412, path, "Accept-Encoding", "gzip", "If-Match", `"another"`)
}

// ranges asks for parts of it.
func (c *contract) ranges(get func(status int, path string, header ...string) http.Header, path string) {
	c.Helper()
	stored := get(206, path, "Accept-Encoding", "gzip", "Range", "bytes=0-3")
	get(200, path, "Accept-Encoding", "gzip", "Range", "bytes=0-3,5-6") // one range at a time
	get(206, path, "Accept-Encoding", "gzip", "Range", "bytes=0-3", "If-Range", stored.Get("Etag"))
	get(200, path, "Accept-Encoding", "gzip", "Range", "bytes=0-3", "If-Range", `"another"`)
	get(416, path, "Accept-Encoding", "gzip", "Range", "bytes=1000000-")
}

func (c *contract) downloadsFromS3() {
	c.Helper()
	s3 := testenv.S3(c.T)
	s := newSite(c.T, withS3(c.T, s3, s3.Endpoint, ""), withDownloads())
	s.publish(s.token, map[string]string{xulKey: xulSym})
	for _, prefix := range []string{"/", "/try/"} {
		c.exchange(s, request{method: "GET", path: prefix + xulKey, status: 302})
		c.exchange(s, request{method: "HEAD", path: prefix + xulKey, status: 200})
	}
}

func (c *contract) debuginfod(s *site) {
	c.Helper()
	b := build(c.T)
	files := b.files(c.T, true)
	program := "app/" + b.debugID + "/app"
	var text bytes.Buffer
	w := gzip.NewWriter(&text)
	_, err := io.WriteString(w, files[program])
	if err := errors.Join(err, w.Close()); err != nil {
		c.Fatal(err)
	}
	delete(files, program)
	files[program+".gz"] = text.String()
	s.publish(s.token, files)
	for _, kind := range []string{"/debuginfo", "/executable"} {
		path := "/buildid/" + b.buildID + kind
		for _, method := range []string{"GET", "HEAD"} {
			get := func(status int, path string, header ...string) http.Header {
				return c.exchange(s, request{method: method, path: path, status: status, header: header})
			}
			get(200, path+"?_refresh")
			get(404, "/buildid/0123456789abcdef"+kind)
			c.conditional(get, path)
			if method == "GET" {
				c.ranges(get, path)
			}
			c.exchange(s, request{method: method, path: "/buildid/abcd" + kind, status: 404, wrong: true})
		}
		c.exchange(s, request{method: "OPTIONS", path: path, status: 204})
	}
	for _, path := range []string{"/app/elf-buildid-" + b.buildID + "/app", "/try/_.debug/ELF-BuildID-Sym-" + b.buildID + "/_.debug"} {
		for _, method := range []string{"GET", "HEAD"} {
			c.exchange(s, request{method: method, path: path, status: 200})
		}
	}
}

func (c *contract) records(s *site) {
	c.Helper()
	s.post(s.token, zipped(c, []byte("x"), zip.Deflate, "a/AA/a.bin", "x-symbols.txt"))
	s.post(s.token, []byte("no archive"))
	viewer := s.tokenOf("admin@example.com", upload.PermissionUpload, upload.PermissionViewAll)
	other := s.tokenOf("dev@example.com", upload.PermissionUpload)
	filters := "?user=ci@example.com&size=" + url.QueryEscape(">=0,<1.5g") + "&created_at=" + url.QueryEscape(">=yesterday") + "&completed_at=Today&type=regular&bucket_name=x,!y&page=1&batch_size=10"
	for _, x := range []struct {
		status      int
		token, path string
		wrong       bool
	}{
		{200, s.token, "uploads/", false},
		{200, s.token, "uploads/?batch_size=1", false},
		{200, s.token, "uploads/?page=3&user=!dev", false},
		{200, viewer, "uploads/" + filters + "&outcome=completed&sort=size&reverse=false", false},
		{400, s.token, "uploads/?size=large", true},
		{400, s.token, "uploads/?created_at=now", true},
		{400, s.token, "uploads/?batch_size=0", true},
		{400, s.token, "uploads/?page=Yy4x", false},
		{400, s.token, "uploads/?outcome=good&sort=name", true},
		{200, s.token, "uploads/upload/1", false},
		{403, other, "uploads/upload/1", false},
		{404, s.token, "uploads/upload/1000", false},
		{404, s.token, "uploads/upload/x", true},
		{200, s.token, "uploads/files/", false},
		{200, s.token, "uploads/files/?batch_size=1", false},
		{200, viewer, "uploads/files/" + filters + "&key=xul*&upload_type=try&update=false&compressed=true", false},
		{200, s.token, "uploads/files/?key=a/aa/a.bin", false},
		{400, s.token, "uploads/files/?upload_type=maybe", true},
		{403, other, "uploads/files/file/1", false},
		{404, s.token, "uploads/files/file/1000", false},
		{404, s.token, "uploads/files/file/-1", true},
		{200, viewer, "stats/", false},
		{403, "", "uploads/", true},
		{403, "", "uploads/files/", true},
		{403, "", "stats/", true},
	} {
		header := []string{}
		if x.token != "" {
			header = append(header, "Auth-Token", x.token)
		}
		c.exchange(s, request{method: "GET", path: "/api/" + x.path, status: x.status, header: header, wrong: x.wrong})
	}
	for id := 1; id <= 6; id++ { // a .sym, one that is no .sym, an ignored one, and what a build leaves
		c.exchange(s, request{method: "GET", path: fmt.Sprintf("/api/uploads/files/file/%d", id), status: 200, header: []string{"Auth-Token", s.token}})
	}
	c.exchange(s, request{method: "POST", path: "/upload/auth_info/", status: 200, header: []string{"Auth-Token", s.token}})
	c.exchange(s, request{method: "POST", path: "/upload/auth_info/", status: 403, header: []string{"Auth-Token", "ABC"}})
	c.exchange(s, request{method: "POST", path: "/upload/auth_info/", status: 403, wrong: true})
}

// broken has nothing but one error.
type broken struct {
	symbols.Finder
	err error
}

func (b broken) Token(context.Context, upload.TokenHash) (upload.Token, error) {
	return upload.Token{}, b.err
}

func (b broken) Find(context.Context, lookup.Query) (lookup.Found, error) {
	return lookup.Found{}, b.err
}

func (b broken) Module(context.Context, lookup.Query) (catalogue.Module, error) {
	return catalogue.Module{}, b.err
}

func (b broken) FindBinary(context.Context, lookup.BinaryQuery) (lookup.Found, error) {
	return lookup.Found{}, b.err
}

// faults asks for everything where nothing works.
func (c *contract) faults() {
	c.Helper()
	for status, err := range map[int]error{500: errors.New("broken"), 503: fmt.Errorf("look up: %w", upload.ErrUnavailable)} {
		s := newSite(c.T, func(sc *web.Config, _ *upload.Config) {
			sc.Exchange.Tokens, sc.Symbols.Finder = broken{err: err}, broken{err: err}
		})
		for _, operation := range c.operations() {
			method, path, _ := strings.Cut(operation, " ")
			if documented := c.doc.Paths.Value(path).GetOperation(method).Responses.Status(status); documented == nil || path == "/upload/" || strings.HasPrefix(path, "/__") {
				continue
			}
			c.exchange(s, request{method: method, path: c.example(path), status: status, header: []string{"Auth-Token", "ABC", "Debug", "true"}})
		}
	}
}

// example fills the parameters of a path in with the document's examples.
func (c *contract) example(path string) string {
	c.Helper()
	item := c.doc.Paths.Value(path)
	for _, op := range item.Operations() {
		for _, p := range slices.Concat(item.Parameters, op.Parameters) {
			if p.Value.In == "path" {
				path = strings.ReplaceAll(path, "{"+p.Value.Name+"}", fmt.Sprint(p.Value.Example))
			}
		}
	}
	return path
}

// elsewhere asks for what there is not: other methods and other paths.
func (c *contract) elsewhere(s *site) {
	c.Helper()
	send := func(method, path, answer string) *http.Response {
		resp, body := c.send(c.request(s, request{method: method, path: path}))
		c.check(method+" "+path, method, c.doc.Components.Responses[answer].Value, resp, body)
		return resp
	}
	for path, item := range c.doc.Paths.Map() {
		allowed := []string{"OPTIONS"}
		for method := range item.Operations() {
			if method != "OPTIONS" {
				allowed = append(allowed, method)
			}
		}
		slices.Sort(allowed)
		for _, method := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"} {
			if item.GetOperation(method) != nil {
				continue
			}
			status, answer := http.StatusMethodNotAllowed, "MethodNotAllowed"
			if method == "OPTIONS" {
				status, answer = http.StatusNoContent, "Methods"
			}
			resp := send(method, c.example(path), answer)
			got := strings.Split(resp.Header.Get("Allow"), ", ")
			slices.Sort(got)
			if resp.StatusCode != status || !slices.Equal(got, allowed) {
				c.Errorf("%s %s: status %d, Allow %v, want %v", method, path, resp.StatusCode, got, allowed)
			}
		}
	}
	for _, path := range []string{"/nowhere", "/", "//", "/xul.pdb//xul.sym", "/xul.pdb//AB/xul.sym", "/x/" + xulKey, "/" + xulKey + "/x", "/try/" + xulKey + "/x", "/api/syminfo/xul.dll/5CF2591C6859000/x", "/buildid/0123456789abcdef/source/main.c", "/api/syminfo//AB"} {
		for _, method := range []string{"GET", "HEAD"} {
			if resp := send(method, path, "NoSuchRoute"); resp.StatusCode != http.StatusNotFound {
				c.Errorf("%s %s: status %d", method, path, resp.StatusCode)
			}
		}
	}
}

func (c *contract) operation(s *site) {
	c.Helper()
	paths := []string{"/__lbheartbeat__", "/__heartbeat__", "/__version__"}
	for _, status := range []int{200, 503} {
		for _, path := range paths {
			for _, method := range []string{"GET", "HEAD"} {
				c.exchange(s, request{method: method, path: path, status: status})
			}
		}
		s.server.Drain()
		paths = paths[:2] // a version has no health
	}
}
