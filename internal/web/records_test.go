package web_test

import (
	"archive/zip"
	"context"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tecken-upload/internal/catalogue"
	"tecken-upload/internal/record"
	"tecken-upload/internal/upload"
	"tecken-upload/internal/web"
	"tecken-upload/internal/web/records"
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
			"download_url": nil, "redirect_urls": []any{}, "skipped_keys": []any{}, "ignored_keys": []any{"x-symbols.txt"},
			"files_count": 1.0, "files_incomplete_count": 0.0,
			"outcome": "completed", "error": nil, "format": "zip", "token_label": "nightly", "skipped_count": 0.0, "ignored_count": 1.0,
		}
		if id == 2 {
			u["try_symbols"], u["token_label"], u["files_count"], u["skipped_count"] = true, "", 0.0, 1.0
			u["skipped_keys"] = []any{"app.pdb/ab/app.sym"}
		}
		return u
	}
	list := s.ask(s.token, "/api/uploads/")
	uploads, _ := list.body["uploads"].([]any)
	for i := range uploads {
		without(t, object(uploads[i]), "created_at", "completed_at", "ended_at")
	}
	if diff := cmp.Diff(map[string]any{
		"uploads": []any{wantUpload(2), wantUpload(1)}, "can_view_all": false, "batch_size": 100.0, "has_next": false, "next_page": nil, "total": 2.0,
		"order_by": map[string]any{"sort": "created_at", "reverse": true},
	}, list.body); diff != "" || list.header.Get("Cache-Control") != "no-store" {
		t.Errorf("uploads (-want +got)\n%s%v", diff, list.header)
	}

	file := object(s.ask(s.token, "/api/uploads/files/?key=APP.PDB/AB&type=regular").body, "files")
	without(t, file, "created_at", "completed_at")
	without(t, object(file, "upload"), "created_at")
	stored, _ := file["size"].(float64)
	wantFile := map[string]any{
		"id": 1.0, "key": "app.pdb/AB/app.sym", "update": false, "compressed": true, "size": stored, "bucket_name": bucket,
		"name": "app.pdb/ab/app.sym", "state": "uploaded", "original_size": 63.0, "stored_size": stored, "md5": file["md5"],
		"upload": map[string]any{"id": 1.0, "upload_type": "regular", "try_symbols": false, "user": user},
	}
	if diff := cmp.Diff(wantFile, file); diff != "" || stored == 0 || stored == 63 || file["md5"] == nil {
		t.Errorf("files (-want +got)\n%s", diff)
	}
	delete(wantFile, "upload")

	// One upload shows what it left in storage, and others of the same archive.
	for id, other := range map[float64]float64{1: 2, 2: 1} {
		one := s.ask(s.token, fmt.Sprintf("/api/uploads/upload/%v", id))
		whole := func(id float64) map[string]any {
			u := wantUpload(id)
			u["file_uploads"] = map[float64][]any{1: {wantFile}, 2: {}}[id]
			return u
		}
		shown, related := object(one.body, "upload"), object(one.body, "upload", "related")
		for _, u := range []map[string]any{shown, related} {
			without(t, u, "created_at", "completed_at", "ended_at")
			for _, f := range u["file_uploads"].([]any) {
				without(t, object(f), "created_at", "completed_at")
			}
		}
		want := whole(id)
		want["related"] = []any{whole(other)}
		if diff := cmp.Diff(map[string]any{"upload": want}, one.body); diff != "" {
			t.Errorf("upload %v (-want +got)\n%s", id, diff)
		}
	}

	whole := object(s.ask(s.token, "/api/uploads/files/file/1").body, "file")
	without(t, whole, "created_at", "completed_at")
	without(t, object(whole, "upload"), "created_at", "completed_at", "ended_at")
	wantFile["url"], wantFile["upload"] = "/app.pdb/AB/app.sym", wantUpload(1)
	wantFile["debug_filename"], wantFile["debug_id"], wantFile["code_file"], wantFile["code_id"], wantFile["generator"] = "app.pdb", "AB", "app.exe", "5CF2591C", nil
	wantFile["module"] = map[string]any{
		"os": "windows", "arch": "x86_64", "debug_file": "app.pdb", "debug_id": "AB", "code_file": "app.exe", "code_id": "5CF2591C", "generator": "",
	}
	if diff := cmp.Diff(wantFile, whole); diff != "" {
		t.Errorf("a file (-want +got)\n%s", diff)
	}
}

func TestTheRecordOfAMemberThatWasSkipped(t *testing.T) {
	s := newSite(t)
	content := zipped(t, []byte("MODULE windows x86_64 AB app.pdb\n"), zip.Deflate, "app.pdb/ab/app.sym", "x-symbols.txt")
	s.post(s.token, content)
	s.post(s.token, content, "try")
	skipped := object(s.ask(s.token, "/api/uploads/files/file/3").body, "file")
	if skipped["url"] != "/app.pdb/AB/app.sym?try" || skipped["state"] != "skipped" || skipped["size"] != 0.0 || object(skipped, "upload")["id"] != 2.0 {
		t.Errorf("a file that was skipped: %v", skipped)
	}
}

func TestStatistics(t *testing.T) {
	s := newSite(t)
	content := zipped(t, []byte("MODULE windows x86_64 AB app.pdb\n"), zip.Deflate, "app.pdb/ab/app.sym")
	s.post(s.token, content)
	s.post(s.token, content, "try")
	stored := object(s.ask(s.token, "/api/uploads/files/").body, "files")["size"]

	both := map[string]any{"count": 2.0, "total_size": float64(2 * len(content))}
	none := map[string]any{"count": 0.0, "total_size": 0.0}
	stats := object(s.ask(s.token, "/api/stats/?colour=red").body, "stats")
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

// A file that takes the place of another is an update.
func TestAFileThatReplacedAnother(t *testing.T) {
	s := newSite(t)
	for _, content := range []string{"1", "2"} {
		s.post(s.token, zipped(t, []byte(content), zip.Store, "a.so/AA/a.bin", "b.so/BB/"+content))
	}
	for query, want := range map[string]string{"": "[true false false false]", "?update=true": "[true]", "?update=false": "[false false false]", "?update=": "[true false false false]", "?update=1&key=a.so": "[true]"} {
		var got []any
		files, _ := s.ask(s.token, "/api/uploads/files/"+query).body["files"].([]any)
		for _, f := range files {
			got = append(got, object(f)["update"])
		}
		if fmt.Sprint(got) != want {
			t.Errorf("%s: updates %v, want %s", query, got, want)
		}
	}
}

func TestRecordsAreSeenByWhoMay(t *testing.T) {
	s := newSite(t)
	s.post(s.token, zipped(t, []byte("x"), zip.Store, "a.so/AA/a.bin"))
	sameUser, other := s.makeToken(upload.PermissionUploadTry), s.tokenOf("dev@example.com", upload.PermissionUpload)
	viewer := s.tokenOf("admin@example.com", upload.PermissionViewAll)
	for _, tc := range []struct {
		path                             string
		own, others, all, nobody         int
		ownCount, othersCount, allCounts float64
	}{
		{"/api/uploads/", 200, 200, 200, 403, 1, 0, 1},
		{"/api/uploads/?user=CI@example.com", 200, 200, 200, 403, 1, 0, 1},
		{"/api/uploads/?user=ci@", 200, 200, 200, 403, 1, 0, 1},
		{"/api/uploads/?user=!ci@", 200, 200, 200, 403, 0, 0, 0},
		{"/api/uploads/?user=!dev", 200, 200, 200, 403, 1, 0, 1},
		{"/api/uploads/?user=example", 200, 200, 200, 403, 1, 0, 1},
		{"/api/uploads/?user=nobody@example.com", 200, 200, 200, 403, 0, 0, 0},
		{"/api/uploads/files/", 200, 200, 200, 403, 1, 0, 1},
		{"/api/uploads/files/?key=a.so", 200, 200, 200, 403, 1, 0, 1},
		{"/api/uploads/files/?key=a*", 200, 200, 200, 403, 1, 0, 1},
		{"/api/uploads/files/?user=ci@example.com", 200, 200, 200, 403, 1, 0, 1},
		{"/api/uploads/files/?user=!%20CI@&key=a.so", 200, 200, 200, 403, 0, 0, 0},
		{"/api/uploads/upload/1", 200, 403, 200, 403, 0, 0, 0},
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
		// The body has no meaning; a client that sends one gets its answer all the same.
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
type away struct{ records.UploadRecords }

func (away) ListUploads(context.Context, *catalogue.UploadQuery) (catalogue.Uploads, error) {
	return catalogue.Uploads{}, fmt.Errorf("list uploads: %w", upload.ErrUnavailable)
}

func TestRecordsWhileTheDatabaseIsAway(t *testing.T) {
	s := newSite(t, func(c *web.Config, _ *upload.Config) { c.Records.Uploads = away{} })
	if a := s.ask(s.token, "/api/uploads/"); a.status != 503 || a.header.Get("Retry-After") == "" {
		t.Errorf("status %d, %v", a.status, a.header)
	}
}

// slowRecords holds readers of records until it is let go.
type slowRecords struct {
	records.UploadRecords
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

// Readers of records take no more than a few of the database's connections from uploads.
func TestFewReadRecordsAtATime(t *testing.T) {
	const readers = 10
	slow := &slowRecords{begun: make(chan struct{}, readers), release: make(chan struct{})}
	s := newSite(t, func(c *web.Config, _ *upload.Config) {
		slow.UploadRecords = c.Records.Uploads
		c.Records.Uploads = slow
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

// hangingDatabase answers no call until it is let go.
type hangingDatabase struct {
	records.UploadRecords
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

// A client that hangs up while the database is asked is no fault of ours.
func TestAClientThatHangsUpWhileTheDatabaseIsAsked(t *testing.T) {
	h := hangingDatabase{begun: make(chan struct{}, 1)}
	tokens := func(c *web.Config, _ *upload.Config) { c.Exchange.Tokens = h }
	stats := func(c *web.Config, _ *upload.Config) { c.Records.Uploads = h }
	for _, x := range []struct {
		request, route string
		change         func(*web.Config, *upload.Config)
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
