package web_test

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// status asks for a path exactly as it is written.
func (s *site) status(method, path string, fields ...string) *http.Response {
	s.Helper()
	conn := s.raw(fmt.Sprintf("%s %s HTTP/1.1\nHost: x\nConnection: close\n%s\n\n", method, path, strings.Join(fields, "\n")))
	resp, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: method})
	if err != nil {
		s.Fatalf("%s %s: %v", method, path, err)
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		s.Errorf("%s %s: %v", method, path, err)
	}
	return resp
}

// Clients put addresses together out of a base, with or without a slash at its end, and a path. None of it is answered by a
// redirect, and all of it counts as the same route.
func TestSlashes(t *testing.T) {
	s := newSite(t, withDownloads())
	s.publish(s.token, map[string]string{"a b.pdb/AB/a b.pdb": "PDB", "app.pdb/AB/app.sym": "MODULE windows x86 AB app.pdb\nINFO CODE_ID C0DE app.dll\n"})
	auth := "Auth-Token: " + s.token
	for _, c := range []struct {
		method, path string
		status       int
		route        string
	}{
		{"GET", "/a%20b.pdb/AB/a%20b.pdb", 200, "/:debug_file/:debug_id/:file"},
		{"GET", "//a%20b.pdb/AB/a%20b.pdb", 200, "/:debug_file/:debug_id/:file"},
		{"HEAD", "////a%20b.pdb/AB/a%20b.pdb", 200, "/:debug_file/:debug_id/:file"},
		{"GET", "/try//a%20b.pdb/AB/a%20b.pdb?x=//", 200, "/try/:debug_file/:debug_id/:file"},
		{"GET", "//try///a%20b.pdb/AB/a%20b.pdb", 200, "/try/:debug_file/:debug_id/:file"},
		{"GET", "http://x//a%20b.pdb/AB/a%20b.pdb", 200, "/:debug_file/:debug_id/:file"},
		{"GET", "//app.dll/C0DE/app.sym", 302, "/:debug_file/:debug_id/:file"},
		{"OPTIONS", "//app.dll/C0DE/app.sym", 204, "/:debug_file/:debug_id/:file"},
		{"GET", "/a%20b.pdb//AB/a%20b.pdb", 404, "/:debug_file/:debug_id/:file"},
		{"GET", "/a%20b.pdb/AB/a%20b.pdb/", 404, "/:debug_file/:debug_id/:file"},
		{"GET", "/%2Fa%20b.pdb/AB/a%20b.pdb", 404, "/:debug_file/:debug_id/:file"},
		{"GET", "//%2Fa%20b.pdb/AB/a%20b.pdb", 404, "/:debug_file/:debug_id/:file"},
		{"GET", "/try%2F/a%20b.pdb/AB/a%20b.pdb", 404, "/:debug_file/:debug_id/:file"},
		{"GET", "//", 404, "none"},
		{"GET", "/try", 404, "none"},
		{"GET", "//api/syminfo/app.dll/c0de", 200, "/api/syminfo/:file/:id"},
		{"GET", "//buildid/0123456789abcdef/debuginfo", 404, "/buildid/:id/debuginfo"},
		{"GET", "/api/uploads", 200, "/api/uploads/"},
		{"GET", "//api/uploads?batch_size=1", 200, "/api/uploads/"},
		{"GET", "/api/uploads/files", 200, "/api/uploads/files/"},
		{"GET", "/api/uploads/files?batch_size=1", 200, "/api/uploads/files/"},
		{"GET", "/api/stats", 200, "/api/stats/"},
		{"GET", "//api/uploads/upload/1", 200, "/api/uploads/upload/:id"},
		{"POST", "/upload/auth_info", 200, "/upload/auth_info/"},
		{"GET", "/upload", 405, "/upload/"},
		{"GET", "//__version__", 200, "/__version__"},
	} {
		s.watcher.mu.Lock()
		s.watcher.requests = nil
		s.watcher.mu.Unlock()
		if resp := s.status(c.method, c.path, auth); resp.StatusCode != c.status {
			t.Errorf("%s %s: status %d, want %d", c.method, c.path, resp.StatusCode, c.status)
		}
		s.waitRequest(fmt.Sprintf("[%s %s %d]", c.method, c.route, c.status))
	}
	if resp := s.status("OPTIONS", "*"); resp.StatusCode >= 500 {
		t.Errorf("OPTIONS *: status %d", resp.StatusCode)
	}
}

// An upload keeps its body, whatever slashes its address has.
func TestUploadsToAnyAddress(t *testing.T) {
	s := newSite(t)
	for _, path := range []string{"/upload", "//upload", "//upload/"} {
		body, contentType := form(t, []byte("x"))
		r := s.request(s.token, contentType, body)
		address, err := url.Parse(s.url + path)
		if err != nil {
			t.Fatal(err)
		}
		r.URL = address
		if a := s.do(r); a.status != http.StatusBadRequest || !strings.Contains(a.text(), "not an archive") {
			t.Errorf("%s: %d %q", path, a.status, a.text())
		}
	}
}
