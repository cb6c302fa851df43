package main

import (
	"archive/zip"
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"tecken-upload/internal/lab"
	"tecken-upload/internal/testenv"
)

// zipOf is a zip of one file.
func zipOf(t testing.TB, name, content string) *lab.Archive {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	f, err := z.Create(name)
	if err == nil {
		_, err = io.WriteString(f, content)
	}
	if err := errors.Join(err, z.Close()); err != nil {
		t.Fatal(err)
	}
	return raw(b.Bytes())
}

func TestUploadsHaveConnectionsOfTheirOwn(t *testing.T) {
	for conns, left := range map[int]int{3: 1, 4: 2, 5: 2, 10: 4, 11: 5} {
		// More than 2 are not used for records.
		if got := conns - lookupQueries(conns) - min(2, recordReads(conns)); got != left {
			t.Errorf("of %d, %d are left to uploads; want %d", conns, got, left)
		}
	}
	if lookupQueries(1) != 1 || recordReads(1) != 1 {
		t.Error("one connection serves nobody else")
	}
}

// lookup makes a request and follows no redirect.
func (d *daemon) lookup(method, path string) *http.Response {
	d.Helper()
	r, err := http.NewRequestWithContext(d.Context(), method, d.URL(path), nil)
	if err != nil {
		d.Fatal(err)
	}
	resp, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		d.Fatal(err)
	}
	resp.Body.Close()
	return resp
}

// syminfo returns the address that is told of a module.
func (d *daemon) syminfo(path string) string {
	d.Helper()
	var body struct{ URL string }
	if err := json.Unmarshal([]byte(d.text(d.URL(path))), &body); err != nil {
		d.Fatal(err)
	}
	return body.URL
}

// What the real program took it gives out again: by key and by code id, from both storages. Its settings reach what
// they are for, and lookups are counted.
func TestSymbolsOutAgain(t *testing.T) {
	t.Parallel()
	s3 := testenv.S3(t)
	settings := map[string]string{"TECKEN_DOWNLOAD_EXTENSIONS": ".sym", "TECKEN_LEGACY_KEYS": "true"}
	for name, c := range map[string]struct {
		settings map[string]string
		s3       bool
		status   int
		location string
	}{
		"directory": {settings, false, http.StatusOK, ""},
		"presigned": {settings, true, http.StatusFound, s3.Endpoint + "/symbols/v1/app/AB1/app.sym?X-Amz-"},
		"public": {map[string]string{"TECKEN_STORAGE_PUBLIC_URL": "https://cdn.example.com", "TECKEN_PUBLIC_URL": "https://symbols.example.com/a/"}, true,
			http.StatusFound, "https://cdn.example.com/v1/app/AB1/app.sym"},
	} {
		t.Run(name, func(t *testing.T) {
			site := newSite(t, c.settings)
			if c.s3 {
				site.UseS3(s3)
			}
			d := serveOn(site)
			known := d.lookup(http.MethodHead, "/app/ab1/app.sym").StatusCode == http.StatusOK // of a test before
			d.expectPost(zipOf(t, "app/ab1/app.sym", "MODULE Linux x86 AB1 app\nINFO CODE_ID CDCD app\n"), http.StatusCreated)
			resp := d.lookup(http.MethodGet, "/app/aB1/app.sym")
			if location := resp.Header.Get("Location"); resp.StatusCode != c.status || !strings.HasPrefix(location, c.location) {
				t.Errorf("status %d, Location %s", resp.StatusCode, location)
			}
			if resp := d.lookup(http.MethodHead, "/app/ab1/app.sym"); resp.StatusCode != http.StatusOK {
				t.Errorf("HEAD: status %d", resp.StatusCode)
			}
			if resp := d.lookup(http.MethodGet, "/app/cdcd/app.sym"); resp.Header.Get("Location") != "../../app/AB1/app.sym" {
				t.Errorf("by code id: status %d, %v", resp.StatusCode, resp.Header)
			}
			if resp := d.lookup(http.MethodGet, "//APP/AB1/App.SYM"); resp.Header.Get("Location") != "../../app/AB1/app.sym" {
				t.Errorf("in another case: status %d, %v", resp.StatusCode, resp.Header)
			}
			if url := d.syminfo("/api/syminfo/app/ab1"); url != strings.TrimSuffix(cmp.Or(c.settings["TECKEN_PUBLIC_URL"], d.URL("")), "/")+"/app/AB1/app.sym" {
				t.Errorf("the address of a module is %q", url)
			}
			if c.settings["TECKEN_DOWNLOAD_EXTENSIONS"] != "" {
				if resp := d.lookup(http.MethodGet, "/app/AB1/app.pdb"); resp.StatusCode != http.StatusNotFound {
					t.Errorf("another extension: status %d", resp.StatusCode)
				}
			}
			if !known && d.metric(`tecken_lookups_total{cached="false",kind="symbol",result="missing"}`) < 1 {
				t.Error("misses are not counted")
			}
			if d.metric(`tecken_lookups_total{cached="true",kind="symbol",result="present"}`) < 1 ||
				d.metric(`tecken_lookup_duration_seconds_count{kind="spelling"}`) < 1 || d.metric(`tecken_lookup_duration_seconds_count{kind="module"}`) < 1 || d.metric("tecken_lookup_answers") < 2 {
				t.Error("lookups are not counted")
			}
		})
	}
}
