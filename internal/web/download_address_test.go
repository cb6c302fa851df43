package web_test

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"tecken-upload/internal/testenv"
	"tecken-upload/internal/upload"
	"tecken-upload/internal/web"
)

// Behind a path of a proxy's every redirect stays behind it, also from storage that redirects in turn.
func TestASubPath(t *testing.T) {
	s3 := testenv.S3(t)
	for name, change := range map[string]func(*web.Config, *upload.Config){
		"directory": func(*web.Config, *upload.Config) {},
		"S3":        withS3(t, s3, s3.Endpoint, ""),
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, change, withDownloads())
			const sym = "MODULE Linux x86 AB cc:a b.pdb\nINFO CODE_ID C0DE a&b.dll\n"
			s.publish(s.token, map[string]string{"cc:a b.pdb/AB/App.sym": sym})
			s.publish(s.makeToken(upload.PermissionUploadTry), map[string]string{"t.pdb/AB/t.sym": "MODULE Linux x86 AB t.pdb\nINFO CODE_ID C0DF t.dll\n"})
			nginx := testenv.Nginx(t, func(listen string) string {
				return fmt.Sprintf("server { listen %s; location /symbols/ { proxy_pass %s/; } }", listen, s.url)
			})
			for path, want := range map[string]string{
				"cc:a%20b.pdb/AB/App.sym":    sym,
				"cc%3aa%20b.pdb/AB/APP.SYM":  sym,
				"CC:A%20B.pdb/ab/App.sym":    sym,
				"A&B.dll/c0de/app.sym":       sym,
				"/a&b.dll/C0DE/App.sym":      sym,
				"try/a&b.dll/C0DE/app.sym":   sym,
				"try//T.dll/C0DF/t.sym":      "MODULE Linux x86 AB t.pdb",
				"t.dll/C0DF/T.sym?try&x=%2F": "MODULE Linux x86 AB t.pdb",
			} {
				resp, err := http.Get(nginx.URL + "/symbols/" + path)
				if err != nil {
					t.Fatal(err)
				}
				text, err := io.ReadAll(resp.Body)
				resp.Body.Close()
				if err != nil || resp.StatusCode != http.StatusOK || !strings.HasPrefix(string(text), want) {
					t.Errorf("%s: %d %q at %s, %v", path, resp.StatusCode, text, resp.Request.URL, err)
				}
			}
		})
	}
}

// The answer about a module has an address: that of the request, or the configured one.
func TestAddressesOfModules(t *testing.T) {
	const key = "/xul.pdb/44E4EC8C2F41492B9369D6B9A059577C2/xul.sym"
	for _, c := range []struct {
		public, proto, want string
	}{
		{"", "", "http://x" + key},
		{"", "https", "https://x" + key},
		{"", "HTTPS , http", "https://x" + key},
		{"", "gopher", "http://x" + key},
		{"https://symbols.example.com/a/", "http", "https://symbols.example.com/a" + key},
	} {
		s := newSite(t, withDownloads(), func(sc *web.Config, _ *upload.Config) { sc.Symbols.PublicURL = c.public })
		s.publish(s.token, map[string]string{xulKey: xulSym})
		conn := s.raw("GET /api/syminfo/xul.dll/5CF2591C6859000 HTTP/1.1\nHost: x\nX-Forwarded-Proto: " + c.proto + "\n\n")
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatal(err)
		}
		if got := s.read(resp).body["url"]; got != c.want {
			t.Errorf("set to %q, behind %q: %v, want %s", c.public, c.proto, got, c.want)
		}
	}
}
