package web_test

import (
	"archive/zip"
	"bytes"
	"strings"
	"testing"
)

// What can't be an upload at all is refused with what to do instead, and is not recorded.
func TestBodiesThatAreNoUpload(t *testing.T) {
	s := newSite(t)
	good := zipped(t, []byte("x"), zip.Store, "a/AA/a.bin")
	b, ct := form(t, good)
	for name, c := range map[string]struct {
		contentType, encoding string
		body                  []byte
		want                  string
	}{
		"curl --data-binary": {"application/x-www-form-urlencoded", "", good, "curl -F symbols.zip=@symbols.zip"},
		"and much of it":     {"application/x-www-form-urlencoded", "", append(good, make([]byte, 1<<20)...), "curl -F symbols.zip=@symbols.zip"},
		"a form with gzip":   {ct, "gzip", b.Bytes(), "Content-Encoding"},
		"a form with zstd":   {ct, "zstd", b.Bytes(), "Content-Encoding"},
	} {
		r := s.request(s.token, c.contentType, bytes.NewReader(c.body))
		if c.encoding != "" {
			r.Header.Set("Content-Encoding", c.encoding)
		}
		if a := s.do(r); a.status != 400 || !strings.Contains(a.text(), c.want) {
			t.Errorf("%s: status %d, %q", name, a.status, a.text())
		}
		s.idle()
	}
	if n := s.published(); n != 0 {
		t.Errorf("%d files were published", n)
	}
	r := s.request(s.token, ct, bytes.NewReader(b.Bytes()))
	r.Header.Set("Content-Encoding", "identity")
	if a := s.do(r); a.status != 201 {
		t.Errorf("identity: status %d, %q", a.status, a.text())
	}
	if u := s.last().Upload; u.ID != 1 {
		t.Errorf("the first upload that was recorded has the id %d", u.ID)
	}
}
