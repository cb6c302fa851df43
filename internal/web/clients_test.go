package web_test

import (
	"archive/zip"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"tecken-upload/internal/fetch/fetchtest"
	"tecken-upload/internal/upload"
)

// Requests that Tecken's clients make, and what they read of the answers, as their sources have it. An answer has these fields of these
// types, and may have more.

// A kind is what a client takes a value for. One that ends with "?" may be null.
type kind string

const (
	number kind = "number" // whole
	text   kind = "text"
	flag   kind = "flag"
	moment kind = "moment"
)

// shape is an object with fields; each is a kind, a shape, or a list of one.
type shape map[string]any

// list is an array of something.
type list struct{ of any }

var (
	userShape = shape{"email": text}
	fileShape = shape{
		"id": number, "bucket_name": text, "key": text, "update": flag, "compressed": flag, "size": number, "completed_at": moment, "created_at": moment,
	}
	uploadShape = shape{
		"id": number, "user": userShape, "filename": text, "size": number, "bucket_name": text, "skipped_keys": list{text}, "ignored_keys": list{text},
		"try_symbols": flag, "download_url": text + "?", "redirect_urls": list{text}, "completed_at": moment + "?", "created_at": moment,
	}
	pageShape      = shape{"batch_size": number, "has_next": flag, "total": number}
	uploadsShape   = pageShape.and(shape{"can_view_all": flag, "order_by": shape{"sort": text, "reverse": flag}, "uploads": list{uploadShape.and(shape{"files_count": number, "files_incomplete_count": number})}})
	filesShape     = pageShape.and(shape{"files": list{fileShape.and(shape{"upload": shape{"id": number, "upload_type": text, "try_symbols": flag, "user": userShape.and(shape{"id": number}), "created_at": moment}})}})
	oneUploadShape = shape{"upload": uploadShape.and(shape{
		"user": userShape.and(shape{"id": number}), "file_uploads": list{fileShape}, "related": list{uploadShape.and(shape{"file_uploads": list{fileShape}})},
	})}
	oneFileShape = shape{"file": fileShape.and(shape{
		"url": text, "debug_filename": text + "?", "debug_id": text + "?", "code_file": text + "?", "code_id": text + "?", "generator": text + "?",
		"upload": uploadShape.and(shape{"user": userShape.and(shape{"id": number})}),
	})}
	tallyShape    = shape{"count": number, "total_size": number}
	statsShape    = shape{"stats": shape{"uploads": shape{"all_uploads": flag, "today": tallyShape, "yesterday": tallyShape, "last_30_days": tallyShape}}}
	acceptedShape = shape{"upload": shape{
		"id": number, "size": number, "filename": text, "bucket": text, "download_url": text + "?", "try_symbols": flag, "redirect_urls": list{text},
		"completed_at": moment + "?", "created_at": moment, "user": text, "skipped_keys": list{text},
	}}
	authShape   = shape{"email": text, "user_id": number, "try_symbols": flag, "token_expires_at": number, "upload_api_version": number}
	errorShape  = shape{"error": text}
	faultsShape = func(field string) shape { return shape{"errors": shape{field: list{text}}} }
)

// and returns a shape with more fields, or others.
func (s shape) and(more shape) shape {
	all := shape{}
	for _, of := range []shape{s, more} {
		for name, value := range of {
			all[name] = value
		}
	}
	return all
}

// misshapen says where a value is not of a shape.
func misshapen(path string, want, got any) []string {
	wrong := func() []string { return []string{fmt.Sprintf("%s is %v, want %v", path, got, want)} }
	switch want := want.(type) {
	case kind:
		if got == nil && strings.HasSuffix(string(want), "?") || isOf(got, kind(strings.TrimSuffix(string(want), "?"))) {
			return nil
		}
		return wrong()
	case list:
		values, ok := got.([]any)
		if !ok {
			return wrong()
		}
		var all []string
		for i := range values {
			all = append(all, misshapen(fmt.Sprintf("%s[%d]", path, i), want.of, values[i])...)
		}
		return all
	case shape:
		fields, ok := got.(map[string]any)
		if !ok {
			return wrong()
		}
		var all []string
		for name, of := range want {
			value, there := fields[name]
			if !there {
				all = append(all, path+"."+name+" is missing")
				continue
			}
			all = append(all, misshapen(path+"."+name, of, value)...)
		}
		return all
	}
	return wrong()
}

func isOf(got any, want kind) bool {
	switch v := got.(type) {
	case json.Number:
		_, err := v.Int64()
		return want == number && err == nil
	case bool:
		return want == flag
	case string:
		_, err := time.Parse(time.RFC3339, v)
		return want == text || want == moment && err == nil
	}
	return false
}

// A call is one request of a client's.
type call struct {
	client, method, path string
	query                url.Values
	token                string // the name of a token
	body                 func() (io.Reader, string)
	status               int
	answer               any // its shape; nil where it is no JSON
	rows                 int // of the list that the answer has
}

const tecken = "smoke tests"

func TestTeckensClients(t *testing.T) {
	sym := "MODULE windows x86_64 44E4EC8C2F41492B9369D6B9A059577C2 xul.pdb\nINFO CODE_ID 5CF2591C6859000 xul.dll\nINFO GENERATOR mozilla/dump_syms 2\n"
	archive := string(zipped(t, []byte(sym), zip.Deflate, xulKey, "libxul.so/A772CC9A3E852CF48965ED79FB65E3150/libxul.so.sym", "x-symbols.txt"))
	tried := string(zipped(t, []byte("MODULE Linux x86_64 DD96A970FE8C124793936C72BEE34D730 TestArray\n"), zip.Deflate, "TestArray/DD96A970FE8C124793936C72BEE34D730/TestArray.sym"))
	remote := fetchtest.NewServer(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, archive) }))
	s := newSite(t, from(remote), withDownloads())
	tokens := map[string]string{
		"regular": s.token, "try": s.makeToken(upload.PermissionUploadTry), "view": s.tokenOf("boss@example.com", upload.PermissionViewAll),
		"other": s.tokenOf("dev@example.com", upload.PermissionUpload), "bad": "badtoken", "invalid": "invalidtoken",
	}
	form := func(fields ...string) func() (io.Reader, string) {
		return func() (io.Reader, string) { return parts(t, fields...) }
	}
	encoded := func(values url.Values) func() (io.Reader, string) {
		return func() (io.Reader, string) {
			return strings.NewReader(values.Encode()), "application/x-www-form-urlencoded"
		}
	}
	q := func(pairs ...string) url.Values {
		values := url.Values{}
		for i := 0; i < len(pairs); i += 2 {
			values.Add(pairs[i], pairs[i+1])
		}
		return values
	}
	today := time.Now().UTC().Format(time.DateOnly)
	month := ">=" + time.Now().AddDate(0, 0, -30).Format(time.DateOnly)
	for _, c := range slices.Concat([]call{
		// Uploads with Python's requests, curl and reqwest: a form of one file; its field has the archive's name.
		{client: tecken, method: "POST", path: "/upload/", token: "regular", body: form("@symbols_20260101_120000__regular.zip", archive), status: 201, answer: acceptedShape},
		{client: tecken, method: "POST", path: "/upload/", token: "try", body: form("@symbols_20260101_120000__try.zip", tried), status: 201, answer: acceptedShape},
		{client: tecken, method: "POST", path: "/upload/", token: "bad", body: form("@symbols.zip", archive), status: 403, answer: errorShape},
		{client: tecken, method: "POST", path: "/upload/", token: "regular", body: encoded(q("url", remote.At("/symbols.zip"))), status: 201, answer: acceptedShape},
		{client: "system tests", method: "POST", path: "/upload/", status: 403, answer: errorShape},
		{client: "system tests", method: "POST", path: "/upload/", token: "invalid", status: 403, answer: errorShape},
		{client: "system tests", method: "POST", path: "/upload/", token: "regular", body: encoded(q("url", "https://www.mozilla.org/")), status: 400, answer: errorShape},
		{client: "upload_symbols.py", method: "POST", path: "/upload/", token: "regular", body: form("@symbols.zip", archive), status: 201, answer: acceptedShape},
		{client: "upload_symbols.py", method: "POST", path: "/upload/", token: "regular", body: encoded(q("url", remote.At("/target.crashreporter-symbols.zip"))), status: 201, answer: acceptedShape},
		{client: "upload-symbols", method: "POST", path: "/upload/", token: "regular", body: form("@symbols-0.zip", archive), status: 201, answer: shape{"upload": shape{"skipped_keys": list{text}}}},
		{client: "upload-symbols", method: "POST", path: "/upload/", token: "regular", body: form("@symbols-0.zip", "no archive"), status: 400, answer: errorShape},
		{client: "upload-symbols", method: "POST", path: "/upload/auth_info/", token: "regular", status: 200, answer: authShape},
		{client: "upload-symbols", method: "POST", path: "/upload/auth_info/", token: "try", status: 200, answer: authShape},
		{client: "upload-symbols", method: "POST", path: "/upload/auth_info/", token: "view", status: 403, answer: errorShape},
		{client: "curl", method: "POST", path: "/upload/", token: "regular", body: form("try", "1", "@myfile.zip", archive), status: 201, answer: acceptedShape},
		{client: "curl", method: "POST", path: "/upload/", token: "regular", body: form("@myfile.zip", archive, "try", "1"), status: 201, answer: acceptedShape},
		{client: "curl", method: "POST", path: "/upload/", token: "regular", body: form("url", remote.At("/symbols.zip"), "try", "1"), status: 201, answer: acceptedShape},
		{client: "curl", method: "POST", path: "/upload", token: "regular", body: encoded(q("try", "1", "url", remote.At("/symbols.zip"))), status: 201, answer: acceptedShape},

		// The set-up of the smoke tests: pages by number, each address without its last slash. Of two keys the last one counts.
		{client: tecken, method: "GET", path: "/api/uploads/files", token: "view", query: q("page", "1", "size", "< 10mb"), status: 200, answer: filesShape, rows: 3},
		{client: tecken, method: "GET", path: "/api/uploads/files", token: "view", query: q("page", "2", "size", "< 10mb"), status: 200, answer: filesShape},
		{client: tecken, method: "GET", path: "/api/uploads/files", token: "view", query: q("page", "8", "size", "< 10mb"), status: 200, answer: filesShape},
		{client: tecken, method: "GET", path: "/api/uploads/files", token: "view", query: q("page", "1", "size", "< 10mb", "key", ".sym"), status: 200, answer: filesShape, rows: 3},
		{client: tecken, method: "GET", path: "/api/uploads/files", token: "view", query: q("page", "1", "size", "< 10mb", "key", ".sym", "key", "try/"), status: 200, answer: filesShape, rows: 1},
		{client: tecken, method: "GET", path: "/api/uploads/files", token: "bad", query: q("page", "1"), status: 403, answer: errorShape},
		{client: tecken, method: "HEAD", path: "/" + xulKey, status: 200},
		{client: tecken, method: "GET", path: "/" + xulKey, status: 200},
		{client: tecken, method: "GET", path: "/" + xulKey, query: q("try", ""), status: 200},
		{client: tecken, method: "HEAD", path: "/libEGL.so/8787CB75CD6E976D87477CA9AC1EB98D0/libEGL.so.sym", status: 404},
		{client: tecken, method: "GET", path: "/libvlc.dll/3BDB3BCF29000/libvlc.dl_", status: 404, answer: errorShape},

		// download-symbols: all keys of an upload, then each of them as a try upload's.
		{client: "download-symbols", method: "GET", path: "/api/uploads/upload/1", token: "view", status: 200,
			answer: shape{"upload": shape{"skipped_keys": list{text}, "file_uploads": list{shape{"key": text}}}}},
		{client: "download-symbols", method: "GET", path: "/try/" + xulKey, status: 200},
		{client: "download-symbols", method: "GET", path: "/api/uploads/upload/2", token: "view", status: 200,
			answer: shape{"upload": shape{"skipped_keys": list{text}, "file_uploads": list{shape{"key": text}}}}},
		{client: "download-symbols", method: "GET", path: "/try/TestArray/DD96A970FE8C124793936C72BEE34D730/TestArray.sym", status: 200},
	}, frontEnd(q, today, month)) {
		s.replay(c, tokens[c.token])
	}
}

// frontEnd are the requests of Tecken's pages, and those that its tests make for them.
func frontEnd(q func(...string) url.Values, today, month string) []call {
	uploads := func(rows int, pairs ...string) call {
		return call{method: "GET", path: "/api/uploads/", token: "view", query: q(pairs...), status: 200, answer: uploadsShape, rows: rows}
	}
	files := func(rows int, pairs ...string) call {
		return call{method: "GET", path: "/api/uploads/files/", token: "view", query: q(pairs...), status: 200, answer: filesShape, rows: rows}
	}
	fault := func(path, field, value string) call {
		return call{method: "GET", path: path, token: "view", query: q(field, value), status: 400, answer: faultsShape(field)}
	}
	all := []call{
		uploads(11), uploads(11, "created_at", month), uploads(11, "page", "0"), uploads(11, "page", "1", "created_at", month), uploads(0, "page", "2"),
		uploads(11, "sort", "size"), uploads(11, "reverse", "true", "sort", "created_at"),
		uploads(11, "user", "CI@"), uploads(11, "user", "ci@example.com"), uploads(0, "user", "! ci@example.com"), uploads(0, "user", "nobody"),
		uploads(11, "size", ">= 1b"), uploads(0, "size", "< 10"), uploads(11, "size", ">= 10b, < 1g"), uploads(10, "size", ">0.05KB,<1.5mb"),
		uploads(11, "created_at", today), uploads(11, "created_at", ">"+today), uploads(0, "created_at", "yesterday"), uploads(11, "created_at", "Today"),
		uploads(1, "completed_at", "Incomplete"), uploads(1, "created_at", ">"+today, "completed_at", "= null"), uploads(10, "completed_at", "today"), uploads(0, "completed_at", "<2017-10-09"),
		files(3, "created_at", month), files(3, "page", "1", "key", "", "size", "", "created_at", "", "bucket_name", "", "upload_type", ""),
		files(3, "key", "sym"), files(1, "key", "libxul.so.sym, A772CC9A3E852CF48965ED79FB65E3150"), files(1, "key", "XUL.pdb"), files(1, "key", "B9369d6b9"), files(0, "key", "xul.pdb,libxul"),
		files(0, "upload_type", "try", "key", "regular"), files(1, "upload_type", "try"), files(2, "upload_type", "regular"), files(3, "compressed", "true"), files(0, "update", "true"),
		files(0, "bucket_name", "publicbucket"), files(3, "bucket_name", "!publicbucket"), files(3, "size", "> 10"), files(0, "size", ">= 1mb"), files(3, "user", "ci@"), files(3, "sort", "anything"),
		files(3, "completed_at", today), files(0, "completed_at", "incomplete"),
		fault("/api/uploads/", "page", "notanumber"), fault("/api/uploads/", "size", ">= xxx"), fault("/api/uploads/", "size", "mozilla.com"), fault("/api/uploads/", "sort", "user"),
		fault("/api/uploads/", "created_at", "2017-88-28"), fault("/api/uploads/", "completed_at", "%2017-01-23"),
		fault("/api/uploads/files/", "page", "notanumber"), fault("/api/uploads/files/", "upload_type", "perhaps"), fault("/api/uploads/files/", "size", "big"),
		{method: "GET", path: "/api/uploads/", token: "regular", query: q("user", "ci"), status: 200, answer: uploadsShape, rows: 11},
		{method: "GET", path: "/api/uploads/", token: "other", status: 200, answer: uploadsShape},
		{method: "GET", path: "/api/uploads/", status: 403, answer: errorShape},
		{method: "GET", path: "/api/uploads/upload/1", token: "regular", status: 200, answer: oneUploadShape},
		{method: "GET", path: "/api/uploads/upload/4", token: "view", status: 200, answer: oneUploadShape},
		{method: "GET", path: "/api/uploads/upload/1", token: "other", status: 403, answer: errorShape},
		{method: "GET", path: "/api/uploads/upload/9999999", token: "other", status: 404, answer: errorShape},
		{method: "GET", path: "/api/uploads/files/file/1", token: "view", status: 200, answer: oneFileShape},
		{method: "GET", path: "/api/uploads/files/file/1", token: "other", status: 403, answer: errorShape},
		{method: "GET", path: "/api/uploads/files/file/9999999", token: "view", status: 404, answer: errorShape},
		{method: "GET", path: "/api/stats/", token: "view", status: 200, answer: statsShape},
		{method: "GET", path: "/api/stats/", token: "other", status: 200, answer: statsShape},
	}
	for i := range all {
		all[i].client = "front end"
	}
	return all
}

// replay makes a client's request, and compares the answer with what the client reads of it.
func (s *site) replay(c call, token string) {
	s.Helper()
	name := fmt.Sprintf("%s: %s %s?%s", c.client, c.method, c.path, c.query.Encode())
	var body io.Reader
	contentType := ""
	if c.body != nil {
		body, contentType = c.body()
	}
	r, err := http.NewRequestWithContext(s.Context(), c.method, s.url+c.path+"?"+c.query.Encode(), body)
	if err != nil {
		s.Fatal(err)
	}
	r.Header.Set("User-Agent", "tecken-smoketests")
	if contentType != "" {
		r.Header.Set("Content-Type", contentType)
	}
	if token != "" {
		r.Header["auth-token"] = []string{token} // as they write it
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		s.Fatal(err)
	}
	defer resp.Body.Close()
	content, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != c.status {
		s.Errorf("%s: status %d, want %d: %.300s (%v)", name, resp.StatusCode, c.status, content, err)
		return
	}
	if c.answer == nil {
		return
	}
	var got any
	decoder := json.NewDecoder(strings.NewReader(string(content)))
	decoder.UseNumber()
	if err := decoder.Decode(&got); err != nil {
		s.Errorf("%s: %v", name, err)
	}
	for _, wrong := range misshapen("", c.answer, got) {
		s.Errorf("%s: %s", name, wrong)
	}
	fields, _ := got.(map[string]any)
	for _, rows := range []string{"uploads", "files"} {
		if found, ok := fields[rows].([]any); ok && len(found) != c.rows && c.status == 200 {
			s.Errorf("%s: %d rows, want %d", name, len(found), c.rows)
		}
	}
}
