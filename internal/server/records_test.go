package server_test

import (
	"archive/zip"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tecken-upload/internal/catalogue"
	"tecken-upload/internal/record"
	"tecken-upload/internal/server"
	"tecken-upload/internal/upload"
)

// ask asks for a path with a token.
func (s *site) ask(token, path string) answer {
	s.Helper()
	r, err := http.NewRequestWithContext(s.Context(), http.MethodGet, s.url+path, nil)
	if err != nil {
		s.Fatal(err)
	}
	r.Header.Set("Auth-Token", token)
	return s.do(r)
}

// tokenOf makes a token of another user.
func (s *site) tokenOf(user string, permissions ...upload.Permission) string {
	s.Helper()
	text, _, err := s.records.CreateToken(s.Context(), record.TokenSpec{User: user, Permissions: permissions, Weight: 1})
	if err != nil {
		s.Fatal(err)
	}
	return text
}

// without takes what changes from run to run out of an answer, after a look at it.
func without(t *testing.T, m map[string]any, times ...string) map[string]any {
	t.Helper()
	for _, name := range times {
		text, _ := m[name].(string)
		if at, err := time.Parse(time.RFC3339, text); err != nil || time.Since(at) > time.Minute || !strings.HasSuffix(text, "Z") {
			t.Errorf("%s is %v", name, m[name])
		}
		delete(m, name)
	}
	return m
}

func object(v any, path ...string) map[string]any {
	for _, name := range path {
		m, _ := v.(map[string]any)
		v = m[name]
	}
	switch v := v.(type) {
	case map[string]any:
		return v
	case []any:
		if len(v) > 0 {
			return object(v[0])
		}
	}
	return map[string]any{}
}

func TestRecordsOfAnUpload(t *testing.T) {
	s := newSite(t)
	content := zipped(t, []byte("MODULE windows x86_64 AB app.pdb\nINFO CODE_ID 5CF2591C app.exe\n"), zip.Deflate, "app.pdb/ab/app.sym", "x-symbols.txt")
	s.post(s.token+"-nightly", content)
	s.post(s.token, content, "try")

	bucket := filepath.Base(s.objects)
	user := map[string]any{"id": 1.0, "email": "ci@example.com"}
	wantUpload := func(id float64) map[string]any {
		u := map[string]any{
			"id": id, "user": user, "filename": "symbols.zip", "size": float64(len(content)), "bucket_name": bucket, "try_symbols": false,
			"download_url": nil, "redirect_urls": []any{}, "outcome": "completed", "error": nil, "format": "zip", "token_label": "nightly",
			"files_count": 1.0, "skipped_count": 0.0, "ignored_count": 1.0, "files_incomplete_count": 0.0,
		}
		if id == 2 {
			u["try_symbols"], u["token_label"], u["files_count"], u["skipped_count"] = true, "", 0.0, 1.0
		}
		return u
	}
	list := s.ask(s.token, "/api/uploads/")
	uploads, _ := list.body["uploads"].([]any)
	for i := range uploads {
		without(t, object(uploads[i]), "created_at", "completed_at")
	}
	if diff := cmp.Diff(map[string]any{
		"uploads": []any{wantUpload(2), wantUpload(1)}, "can_view_all": false, "batch_size": 100.0, "has_next": false, "next_page": nil, "total": 2.0,
		"order_by": map[string]any{"sort": "created_at", "reverse": true},
	}, list.body); diff != "" || list.header.Get("Cache-Control") != "no-store" {
		t.Errorf("uploads (-want +got)\n%s%v", diff, list.header)
	}

	one := s.ask(s.token, "/api/uploads/upload/2")
	u := without(t, object(one.body, "upload"), "created_at", "completed_at")
	files, _ := u["file_uploads"].([]any)
	if len(files) != 2 || cmp.Diff([]any{"app.pdb/ab/app.sym"}, u["skipped_keys"]) != "" || cmp.Diff([]any{"x-symbols.txt"}, u["ignored_keys"]) != "" {
		t.Errorf("an upload: %v", u)
	}
	for _, name := range []string{"file_uploads", "skipped_keys", "ignored_keys"} {
		delete(u, name)
	}
	if diff := cmp.Diff(wantUpload(2), u); diff != "" || one.body["total"] != 2.0 {
		t.Errorf("an upload (-want +got)\n%s", diff)
	}

	fileList := s.ask(s.token, "/api/uploads/files/?key=app.pdb/AB&type=regular")
	f := without(t, object(fileList.body, "files"), "created_at", "completed_at")
	without(t, object(f, "upload"), "created_at")
	stored, _ := f["stored_size"].(float64)
	wantFile := map[string]any{
		"id": 1.0, "name": "app.pdb/ab/app.sym", "key": "app.pdb/AB/app.sym", "state": "uploaded", "bucket_name": bucket, "compressed": true,
		"size": 63.0, "stored_size": stored, "md5": f["md5"], "upload": map[string]any{"id": 1.0, "try_symbols": false, "user": user},
	}
	if diff := cmp.Diff(wantFile, f); diff != "" || stored == 0 || f["md5"] == nil || fileList.body["total"] != 1.0 {
		t.Errorf("files (-want +got)\n%s%v", diff, fileList.body)
	}

	file := object(s.ask(s.token, "/api/uploads/files/file/3").body, "file")
	if file["url"] != "/app.pdb/AB/app.sym?try" || file["state"] != "skipped" || object(file, "upload")["id"] != 2.0 {
		t.Errorf("a file: %v", file)
	}
	if diff := cmp.Diff(map[string]any{
		"os": "windows", "arch": "x86_64", "debug_file": "app.pdb", "debug_id": "AB", "code_file": "app.exe", "code_id": "5CF2591C", "generator": "",
	}, object(file, "module")); diff != "" {
		t.Errorf("a file's module (-want +got)\n%s", diff)
	}

	both := map[string]any{"count": 2.0, "total_size": float64(2 * len(content))}
	none := map[string]any{"count": 0.0, "total_size": 0.0}
	stats := object(s.ask(s.token, "/api/stats/").body, "stats")
	if object(stats, "uploads", "yesterday")["count"] != 0.0 {
		return // midnight has passed meanwhile
	}
	if diff := cmp.Diff(map[string]any{"all_uploads": false, "today": both, "yesterday": none, "last_30_days": both}, stats["uploads"]); diff != "" {
		t.Errorf("stats of uploads (-want +got)\n%s", diff)
	}
	if diff := cmp.Diff(map[string]any{"count": 1.0, "total_size": stored}, object(stats, "files", "today")); diff != "" {
		t.Errorf("stats of files (-want +got)\n%s", diff)
	}
}

func TestRecordsAreSeenByWhoMay(t *testing.T) {
	s := newSite(t)
	s.post(s.token, zipped(t, []byte("x"), zip.Store, "a.so/AA/a.bin"))
	sameUser, other := s.makeToken(upload.PermissionUploadTry), s.tokenOf("dev@example.com", upload.PermissionUpload)
	viewer := s.tokenOf("admin@example.com", upload.PermissionUploadTry, upload.PermissionViewAll)
	for _, tc := range []struct {
		path                             string
		own, others, all, nobody         int
		ownCount, othersCount, allCounts float64
	}{
		{"/api/uploads/", 200, 200, 200, 403, 1, 0, 1},
		{"/api/uploads/?user=CI@example.com", 200, 403, 200, 403, 1, 0, 1},
		{"/api/uploads/?user=nobody@example.com", 403, 403, 200, 403, 0, 0, 0},
		{"/api/uploads/files/", 200, 200, 200, 403, 1, 0, 1},
		{"/api/uploads/files/?key=a.so", 200, 200, 200, 403, 1, 0, 1},
		{"/api/uploads/files/?key=a*", 200, 200, 200, 403, 1, 0, 1},
		{"/api/uploads/files/?user=ci@example.com", 200, 403, 200, 403, 1, 0, 1},
		{"/api/uploads/upload/1", 200, 403, 200, 403, 1, 0, 1},
		{"/api/uploads/files/file/1", 200, 403, 200, 403, 0, 0, 0},
		{"/api/uploads/upload/2", 404, 404, 404, 403, 0, 0, 0},
		{"/api/uploads/files/file/2", 404, 404, 404, 403, 0, 0, 0},
		{"/api/stats/", 200, 200, 200, 403, 0, 0, 0},
	} {
		for token, want := range map[string]struct {
			status int
			count  float64
		}{sameUser: {tc.own, tc.ownCount}, other: {tc.others, tc.othersCount}, viewer: {tc.all, tc.allCounts}, "abc": {tc.nobody, 0}} {
			a := s.ask(token, tc.path)
			count, _ := a.body["total"].(float64)
			if a.status != want.status || count != want.count {
				t.Errorf("%s: status %d, %v records, want %v: %v", tc.path, a.status, count, want, a.body)
			}
			if text := map[int]string{403: "Forbidden", 404: "Not Found"}[a.status]; token != "abc" && a.text() != text {
				t.Errorf("%s: %q", tc.path, a.text())
			}
		}
	}
	if a := s.ask(viewer, "/api/stats/"); object(a.body, "stats", "uploads")["all_uploads"] != true {
		t.Errorf("stats: %v", a.body)
	}
	if a := s.ask(s.token, "/api/uploads/?user="); a.status != 200 || a.body["can_view_all"] != false {
		t.Errorf("an empty filter: %v", a.body)
	}
}

func TestListsAreFiltered(t *testing.T) {
	s := newSite(t)
	content := zipped(t, []byte("x"), zip.Store, "xul.pdb/AA/a.bin", "xul_a.pdb/BB/b.bin")
	s.post(s.token, content)
	s.post(s.token, []byte("no archive"))
	now := time.Now().UTC()
	for query, want := range map[string]float64{
		"uploads/?size=%3E0": 2, "uploads/?size=%3E1m": 0, "uploads/?size=%3E0,%3C=1g,<1MB": 2, fmt.Sprintf("uploads/?size=%d", len(content)): 1,
		"uploads/?size=%3E=20k,<10": 0, "uploads/?size=>9007199254740993": 0, "uploads/?size=%20%3D%200b%20": 0,
		"uploads/?created_at=>2020-01-01": 2, "uploads/?created_at=<=2020-01-01": 0, "uploads/?created_at=" + now.Format(time.DateOnly): 2,
		"uploads/?created_at=<" + now.Add(time.Hour).Format(time.RFC3339) + ",>=yesterday": 2, "uploads/?created_at=>today": 0,
		"uploads/?created_at=<0001-01-01": 0, "uploads/?created_at=<9999-12-31T23:59:59Z": 2,
		"uploads/?outcome=rejected": 1, "uploads/?outcome=running": 0, "uploads/?type=try": 0, "uploads/?type=regular": 2,
		"uploads/?bucket_name=" + filepath.Base(s.objects): 2, "uploads/?bucket_name=%25": 0, "uploads/?sort=size&reverse=false&page=1": 2,
		"uploads/files/?key=xul.pdb": 1, "uploads/files/?key=xul*": 2, "uploads/files/?key=xul_*": 1, "uploads/files/?key=xul": 0,
		"uploads/files/?key=xul.pdb/aa": 1, "uploads/files/?key=xul.pdb/aa/a.bin": 1, "uploads/files/?key=xul.pdb/aa/b.bin": 0, "uploads/files/?key=xul.pdb/bb": 0,
		"uploads/files/?size=1": 2, "uploads/files/?size=>1": 0, "uploads/files/?type=try": 0, "uploads/files/?type=try&key=xul*": 0,
		"uploads/files/?created_at=today,>=today&key=xul*&size=<1k&bucket_name=" + filepath.Base(s.objects): 2,
		"uploads/files/?batch_size=1000": 2,
	} {
		if strings.Contains(query, "today") && time.Now().UTC().Day() != now.Day() {
			continue
		}
		if a := s.ask(s.token, "/api/"+query); a.status != 200 || a.body["total"] != want {
			t.Errorf("%s: %d, %v, want %v: %s", query, a.status, a.body["total"], want, a.text())
		}
	}
}

func TestPagesAreFollowed(t *testing.T) {
	s := newSite(t)
	for i := range 5 {
		s.post(s.token, zipped(t, []byte{byte(i)}, zip.Store, "a/AA/a.bin", "b/BB/b.bin", "x-symbols.txt"))
	}
	for path, want := range map[string]struct {
		field string
		rows  int
	}{
		"/api/uploads/?": {"uploads", 5}, "/api/uploads/?sort=size&": {"uploads", 5}, "/api/uploads/files/?": {"files", 15},
		"/api/uploads/files/?key=a&": {"files", 5}, "/api/uploads/files/?key=a*&": {"files", 5}, "/api/uploads/upload/1?": {"file_uploads", 3},
	} {
		seen, page := make(map[any]bool), "1"
		for page != "" {
			a := s.ask(s.token, path+"batch_size=2&page="+url.QueryEscape(page))
			body := a.body
			if want.field == "file_uploads" {
				body = object(body, "upload")
			}
			rows, _ := body[want.field].([]any)
			for _, r := range rows {
				seen[object(r)["id"]] = true
			}
			page, _ = a.body["next_page"].(string)
			if a.status != 200 || len(rows) > 2 || a.body["total"] != nil || a.body["has_next"] != (page != "") || len(seen) > want.rows {
				t.Fatalf("%s: %d: %v", path, a.status, a.body)
			}
		}
		if len(seen) != want.rows {
			t.Errorf("%s: %d rows, want %d", path, len(seen), want.rows)
		}
	}
}

// What is wrong with a request is a 400 that names the parameter, never a fault of ours.
func TestHostileQueries(t *testing.T) {
	s := newSite(t)
	huge := strings.Repeat("9", 400)
	for path, names := range map[string]string{
		"uploads/?size=x": "size", "uploads/?size=-1": "size", "uploads/?size=" + huge: "size", "uploads/?size=9223372036854775807": "size",
		"uploads/?size=9223372036854775807g": "size", "uploads/?size=1.5g": "size", "uploads/?size=1kg": "size", "uploads/?size=%3E%3E1": "size", "uploads/?size=,": "size",
		"uploads/?size=<": "size", "uploads/?size=1'%20OR%201=1": "size", "uploads/?size=%D9%A1": "size",
		"uploads/?created_at=now": "created_at", "uploads/?created_at=2026-13-01": "created_at", "uploads/?created_at=1700000000": "created_at",
		"uploads/?created_at=99999-01-01": "created_at",
		"uploads/?batch_size=0":           "batch_size", "uploads/?batch_size=1001": "batch_size", "uploads/?batch_size=-1": "batch_size", "uploads/?batch_size=" + huge: "batch_size",
		"uploads/?page=2": "page", "uploads/?page=0": "page", "uploads/?page=" + huge: "page", "uploads/?page=%00": "page", "uploads/?page=Yy4x": "page", "uploads/?page=?": "page",
		"uploads/?type=maybe": "type", "uploads/?outcome=good": "outcome", "uploads/?sort=user": "sort", "uploads/?reverse=1": "reverse",
		"uploads/?user=%ff": "user", "uploads/?user=a%00b": "user", "uploads/?bucket_name=%C3%28": "bucket_name", "uploads/?user=" + strings.Repeat("a", 2000): "user",
		"uploads/?limit=1": "limit", "uploads/?size=1&size=2": "size", "uploads/?%ff=1": "parameters", "uploads/?a=%zz": "encoded", "uploads/?a;b": "encoded",
		"uploads/files/?key=%25": "key", "uploads/files/?key=*": "key", "uploads/files/?key=a/b*": "key", "uploads/files/?key=a/AA/b*": "key", "uploads/files/?key=a*b": "", "uploads/files/?key=../x": "key",
		"uploads/files/?key=a/zz": "key", "uploads/files/?key=a/AA/b/c": "key", "uploads/files/?key=/": "key", "uploads/files/?key=" + strings.Repeat("a", 300): "key",
		"uploads/files/?key=%5C": "key", "uploads/files/?key=%E2%80%AE": "key", "uploads/files/?sort=size": "sort",
		"uploads/upload/1?key=a": "key", "stats/?x=1": "parameters",
	} {
		a := s.ask(s.token, "/api/"+path)
		if names == "" {
			if a.status != 200 || a.body["total"] != 0.0 {
				t.Errorf("%s: %d, %v", path, a.status, a.body)
			}
			continue
		}
		if a.status != 400 || !strings.Contains(a.text(), names) || !strings.HasSuffix(a.text(), ".") || len(a.text()) > 400 {
			t.Errorf("%.80s: %d, %q", path, a.status, a.text())
		}
	}
	for _, id := range []string{"0", "-1", "+1", "x", "1.0", huge, "18446744073709551616", "9223372036854775807", "1%27", "%00", "%ff", "1/"} {
		for _, path := range []string{"/api/uploads/upload/", "/api/uploads/files/file/"} {
			if a := s.ask(s.token, path+id); a.status != 404 || a.text() != "Not Found" {
				t.Errorf("%s%.20s: %d, %q", path, id, a.status, a.text())
			}
		}
	}
	if faults := s.watcher.faults; len(faults) != 0 {
		t.Errorf("faults: %v", faults)
	}
}

func TestAuthInfo(t *testing.T) {
	s := newSite(t)
	expires := time.Now().Add(time.Hour).Truncate(time.Second)
	limited, _, err := s.records.CreateToken(t.Context(), record.TokenSpec{
		User: "dev@example.com", Permissions: []upload.Permission{upload.PermissionUploadTry}, Weight: 1, Expires: expires,
	})
	if err != nil {
		t.Fatal(err)
	}
	for token, want := range map[string]map[string]any{
		s.token + "-label": {"email": "ci@example.com", "user_id": 1.0, "try_symbols": false, "token_expires_at": 253402300799.0, "upload_api_version": 1.0},
		limited:            {"email": "dev@example.com", "user_id": 2.0, "try_symbols": true, "token_expires_at": float64(expires.Unix()), "upload_api_version": 1.0},
		s.tokenOf("admin@example.com", upload.PermissionViewAll): {"error": "Forbidden"},
		"":    {"error": "This requires an Auth-Token to authenticate the request"},
		"ABC": {"error": "API Token not matched"},
	} {
		// The body is nobody's business; a client that sends one is to get its answer all the same.
		for _, body := range []io.Reader{nil, strings.NewReader("a=b"), io.LimitReader(letters{}, 4<<20)} {
			r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.url+"/upload/auth_info/", body)
			if err != nil {
				t.Fatal(err)
			}
			if token != "" {
				r.Header.Set("Auth-Token", token)
			}
			a := s.do(r)
			if diff := cmp.Diff(want, a.body); diff != "" || (a.status == 200) != (want["error"] == nil) {
				t.Errorf("status %d (-want +got)\n%s", a.status, diff)
			}
		}
	}
	if a := s.ask(s.token, "/upload/auth_info/"); a.status != 405 || a.text() != "Method Not Allowed (GET): /upload/auth_info/" {
		t.Errorf("GET: %d, %q", a.status, a.text())
	}
}

// letters never end.
type letters struct{}

func (letters) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 'a'
	}
	return len(p), nil
}

// away is a database that is down.
type away struct{ server.UploadRecords }

func (away) ListUploads(context.Context, *catalogue.UploadQuery) (catalogue.Uploads, error) {
	return catalogue.Uploads{}, fmt.Errorf("list uploads: %w", upload.ErrUnavailable)
}

func TestRecordsWhileTheDatabaseIsAway(t *testing.T) {
	s := newSite(t, func(c *server.Config, _ *upload.Config) { c.UploadRecords = away{} })
	if a := s.ask(s.token, "/api/uploads/"); a.status != 503 || a.header.Get("Retry-After") == "" {
		t.Errorf("status %d, %v", a.status, a.header)
	}
}

// slowRecords holds those who read records until it is let go.
type slowRecords struct {
	server.UploadRecords
	busy, most atomic.Int64
	begun      chan struct{}
	release    chan struct{}
}

func (r *slowRecords) Stats(ctx context.Context, userID int64, now time.Time) (catalogue.Stats, error) {
	busy := r.busy.Add(1)
	defer r.busy.Add(-1)
	for most := r.most.Load(); busy > most && !r.most.CompareAndSwap(most, busy); most = r.most.Load() {
	}
	r.begun <- struct{}{}
	<-r.release
	return r.UploadRecords.Stats(ctx, userID, now)
}

// Those who read records take no more than a few of the database's connections from uploads.
func TestFewReadRecordsAtATime(t *testing.T) {
	const readers = 10
	slow := &slowRecords{begun: make(chan struct{}, readers), release: make(chan struct{})}
	s := newSite(t, func(c *server.Config, _ *upload.Config) {
		slow.UploadRecords = c.UploadRecords
		c.UploadRecords = slow
	})
	var all sync.WaitGroup
	for range readers {
		all.Go(func() { s.ask(s.token, "/api/stats/") })
	}
	<-slow.begun
	<-slow.begun
	// Others are not in their way.
	if a := s.post(s.token, zipped(t, []byte("x"), zip.Store, "a/AA/a.bin")); a.status != http.StatusCreated {
		t.Errorf("an upload: status %d", a.status)
	}
	close(slow.release)
	all.Wait()
	if most := slow.most.Load(); most != 2 {
		t.Errorf("%d read records at a time", most)
	}
}

// hangingDatabase answers nobody, as long as it is let.
type hangingDatabase struct {
	server.UploadRecords
	begun chan struct{}
}

func (h hangingDatabase) hang(ctx context.Context) error {
	h.begun <- struct{}{}
	<-ctx.Done()
	return fmt.Errorf("query: %w", context.Cause(ctx))
}

func (h hangingDatabase) Token(ctx context.Context, _ upload.TokenHash) (upload.Token, error) {
	return upload.Token{}, h.hang(ctx)
}

func (h hangingDatabase) Stats(ctx context.Context, _ int64, _ time.Time) (catalogue.Stats, error) {
	return catalogue.Stats{}, h.hang(ctx)
}

// Who hangs up while the database is asked is no fault of ours.
func TestAClientThatHangsUpWhileTheDatabaseIsAsked(t *testing.T) {
	h := hangingDatabase{begun: make(chan struct{}, 1)}
	tokens := func(c *server.Config, _ *upload.Config) { c.Tokens = h }
	stats := func(c *server.Config, _ *upload.Config) { c.UploadRecords = h }
	for _, x := range []struct {
		request, route string
		change         func(*server.Config, *upload.Config)
	}{
		{"GET /api/stats/", "GET /api/stats/", stats},
		{"GET /api/uploads/upload/1", "GET /api/uploads/upload/:id", tokens},
		{"POST /upload/auth_info/", "POST /upload/auth_info/", tokens},
		{"POST /upload/", "POST /upload/", tokens},
	} {
		s := newSite(t, x.change)
		conn := s.raw(x.request + " HTTP/1.1\nHost: x\nContent-Length: 0\nAuth-Token: " + s.token + "\n\n")
		<-h.begun
		if err := conn.Close(); err != nil {
			t.Fatal(err)
		}
		s.waitRequest(x.route + " 499")
		s.watcher.mu.Lock()
		if len(s.watcher.faults) != 0 {
			t.Errorf("%s: faults told of: %v", x.request, s.watcher.faults)
		}
		s.watcher.mu.Unlock()
	}
}

// The record of an upload and the answer to it name the same keys: a file that came twice is one.
func TestTheSameFileTwiceInTheRecords(t *testing.T) {
	s := newSite(t)
	posted := s.post(s.token, zipped(t, []byte("MODULE Linux x86 AB app\n"), zip.Store, "app/AB/app.sym", "app/ab/app.sym", "x-symbols.txt"))
	shown := s.ask(s.token, "/api/uploads/upload/1")
	for _, a := range []map[string]any{object(posted.body, "upload"), object(shown.body, "upload")} {
		if diff := cmp.Diff([]any{"x-symbols.txt"}, a["ignored_keys"]); diff != "" {
			t.Errorf("ignored keys (-want +got)\n%s", diff)
		}
	}
}
