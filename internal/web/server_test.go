package web_test

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"mime/multipart"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"tecken-upload/internal/archive"
	"tecken-upload/internal/fetch"
	"tecken-upload/internal/gate"
	"tecken-upload/internal/headers"
	"tecken-upload/internal/health"
	"tecken-upload/internal/record"
	"tecken-upload/internal/sched"
	"tecken-upload/internal/spool"
	"tecken-upload/internal/storage/dirstore"
	"tecken-upload/internal/testenv"
	"tecken-upload/internal/upload"
	"tecken-upload/internal/web"
	"tecken-upload/internal/web/exchange"
	"tecken-upload/internal/web/records"
	"tecken-upload/internal/web/uploads"
)

const maxUpload = 2 << 20

// site is a server on a real port, with everything behind it real too.
type site struct {
	*testing.T
	url     string
	server  *web.Server
	records *record.Store
	spool   *spool.Spool
	gate    *siteGate
	watcher *watcher
	headers headers.Budget
	token   string // of a regular user

	objects, spoolDir string // the storage's directory, and the spool's
}

// siteGate is a real gate, made once its settings are known.
type siteGate struct {
	*gate.Gate
	config gate.Config
}

// withGate returns what alters the settings of a site's gate.
func withGate(change func(*gate.Config)) func(*web.Config, *upload.Config) {
	return func(c *web.Config, _ *upload.Config) { change(&c.Uploads.Gate.(*siteGate).config) }
}

// newSite starts a server; change may alter its settings first.
func newSite(t *testing.T, change ...func(*web.Config, *upload.Config)) *site {
	t.Helper()
	s := &site{T: t, objects: t.TempDir(), spoolDir: filepath.Join(t.TempDir(), "spool"), watcher: &watcher{ended: make(chan *upload.Report, 100)}}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	var err error
	s.records, err = record.Open(t.Context(), "sqlite:"+filepath.Join(t.TempDir(), "records.db"), record.Options{})
	must(err)
	t.Cleanup(func() { must(s.records.Close()) })
	must(s.records.Migrate(t.Context()))
	s.token = s.makeToken(upload.PermissionUpload)
	s.spool, err = spool.Open(s.spoolDir, spool.Options{})
	must(err)
	t.Cleanup(func() { must(s.spool.Close()) })
	store, err := dirstore.Open(t.Context(), s.objects)
	must(err)
	uc := upload.Config{
		Storage: store, Records: s.records,
		VerifySlots: sched.New(sched.Options{Slots: 2}), PublishSlots: sched.New(sched.Options{Slots: 2}), StageSlots: sched.New(sched.Options{Slots: 1}), DecoderSlots: sched.New(sched.Options{Slots: 1}),
		Limits:  archive.Limits{MaxMembers: 10, MaxMemberSize: 8 << 20, MaxExtractedSize: 8 << 20, DisallowedSnippets: []string{"secret/stuff"}},
		MaxSize: maxUpload, Timeout: time.Minute, Retention: 2 * time.Hour, TryRetention: time.Hour, PublishParallel: 4, Now: time.Now,
	}
	disk := spoolDisk(3, time.Now)
	uc.Observer = s.watcher
	s.gate = &siteGate{config: gate.Config{Spool: s.spool, ReceivingSlots: 4, FetchSlots: 2, FetchLine: 2, Wait: time.Second}}
	sc := web.Config{
		Exchange: exchange.Config{Tokens: s.records, Reporter: s.watcher, Logger: slog.New(slog.DiscardHandler), Now: time.Now},
		Uploads: uploads.Config{
			Gate: s.gate, Watcher: s.watcher, Disk: disk,
			MaxUploadSize: maxUpload, ReceiveTimeout: time.Minute, ReceiveStallTimeout: 10 * time.Second,
			Fetch: fetch.New(fetch.Config{}),
		},
		Records: records.Config{Uploads: s.records, Files: s.records},
		Watcher: s.watcher, Disk: disk,
		Version: web.Version{Source: "https://example.com/src", Version: "1.2.3", Commit: "abc", Build: "7"},
		Checks:  map[string]web.Check{"database": s.records.Check, "storage": store.Check},
	}
	for _, c := range change {
		c(&sc, &uc)
	}
	s.watcher.disk = sc.Uploads.Disk
	s.gate.Gate = gate.New(s.gate.config)
	if sc.Uploads.Records == nil {
		sc.Uploads.Records = s.records
	}
	sc.Uploads.Uploads = upload.NewService(uc)
	s.server = web.New(t.Context(), sc)
	ts := httptest.NewUnstartedServer(nil)
	ts.Config = s.server.HTTPServer()
	ts.Listener = s.headers.Guard(ts.Config, ts.Listener)
	ts.Start()
	s.url = ts.URL
	t.Cleanup(func() {
		s.server.Stop()
		ts.Close()
		s.idle()
	})
	return s
}

func (s *site) makeToken(permissions ...upload.Permission) string {
	s.Helper()
	text, _, err := s.records.CreateToken(s.Context(), record.TokenSpec{User: "ci@example.com", Permissions: permissions, Weight: 1})
	if err != nil {
		s.Fatal(err)
	}
	return text
}

// idle fails the test where anything of an upload is left.
func (s *site) idle() {
	s.Helper()
	usage, err := s.spool.Usage(context.Background())
	if err != nil {
		s.Fatal(err)
	}
	entries, err := os.ReadDir(s.spoolDir)
	if err != nil {
		s.Fatal(err)
	}
	if usage.Live != 0 || usage.Held != 0 || usage.Reserved != 0 || len(entries) != 1 {
		s.Errorf("the spool holds %d entries, %+v", len(entries), usage)
	}
}

// published counts the files in storage, metadata and temporary ones included.
func (s *site) published() int {
	s.Helper()
	n := 0
	err := filepath.WalkDir(s.objects, func(_ string, d os.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() && d.Name() != ".lock" {
			n++
		}
		return err
	})
	if err != nil {
		s.Fatal(err)
	}
	return n
}

// answer is what a client got.
type answer struct {
	status int
	header http.Header
	body   map[string]any
}

func (a answer) text() string {
	text, _ := a.body["error"].(string)
	return text
}

func (s *site) do(r *http.Request) answer {
	s.Helper()
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		s.Fatal(err)
	}
	return s.read(resp)
}

func (s *site) read(resp *http.Response) answer {
	s.Helper()
	defer resp.Body.Close()
	a := answer{status: resp.StatusCode, header: resp.Header}
	if err := json.NewDecoder(resp.Body).Decode(&a.body); err != nil && err != io.EOF {
		s.Fatalf("status %d, and a body that is no JSON: %v", resp.StatusCode, err)
	}
	if resp.StatusCode >= 400 && (len(a.body) != 1 || a.text() == "") && a.body["status"] == nil && a.body["errors"] == nil {
		s.Errorf("an error that is not one: %v", a.body)
	}
	return a
}

// request makes an upload's request of a form's body.
func (s *site) request(token, contentType string, body io.Reader) *http.Request {
	s.Helper()
	r, err := http.NewRequestWithContext(s.Context(), http.MethodPost, s.url+"/upload/", body)
	if err != nil {
		s.Fatal(err)
	}
	r.Header.Set("Content-Type", contentType)
	if token != "" {
		r.Header.Set("Auth-Token", token)
	}
	return r
}

// post uploads content as a well-formed client does.
func (s *site) post(token string, content []byte, fields ...string) answer {
	s.Helper()
	body, contentType := form(s, content, fields...)
	return s.do(s.request(token, contentType, body))
}

// form writes a multipart form: a file and, behind it, fields with the value 1.
func form(t testing.TB, content []byte, fields ...string) (*bytes.Buffer, string) {
	t.Helper()
	var b bytes.Buffer
	w := multipart.NewWriter(&b)
	f, err := w.CreateFormFile("symbols.zip", "symbols.zip")
	if err == nil {
		_, err = f.Write(content)
	}
	for _, name := range fields {
		err = errors.Join(err, w.WriteField(name, "1"))
	}
	if err := errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	return &b, w.FormDataContentType()
}

// zipped makes a zip of files that all have the given content.
func zipped(t testing.TB, content []byte, method uint16, names ...string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for _, name := range names {
		f, err := w.CreateHeader(&zip.FileHeader{Name: name, Method: method})
		if err == nil {
			_, err = f.Write(content)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// last returns the report of the upload that ended last, waiting for it.
func (s *site) last() *upload.Report {
	s.Helper()
	select {
	case r := <-s.watcher.ended:
		return r
	case <-time.After(testenv.Patience):
		s.Fatal("no upload ended")
		return nil
	}
}

// recorded returns what the database says of the upload.
func (s *site) recorded(r *upload.Report) upload.Upload {
	s.Helper()
	u, err := s.records.Status(s.Context(), r.Upload.ID)
	if err != nil {
		s.Fatal(err)
	}
	return u
}

// watcher keeps what it is told.
type watcher struct {
	ended chan *upload.Report
	disk  uploads.Disk

	mu       sync.Mutex
	requests []string
	refusals []string
	faults   []error
	told     []exchange.Fault
	stacks   int
}

func (w *watcher) Ended(_ context.Context, r *upload.Report) {
	w.disk.Note(r.Err)
	if lack := exchange.Lack(r.Err); lack != "" {
		w.Refused(lack, false)
	}
	w.ended <- r
}

func (w *watcher) EndLost(context.Context, *upload.Upload, upload.Loss, error) {}

func (w *watcher) Request(route, method string, status int, _ time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.requests = append(w.requests, fmt.Sprintf("%s %s %d", method, route, status))
}

func (w *watcher) Refused(reason string, failed bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if failed {
		reason += ", by our fault"
	}
	w.refusals = append(w.refusals, reason)
}

func (w *watcher) Fault(_ context.Context, f *exchange.Fault) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.faults, w.told = append(w.faults, f.Err), append(w.told, *f)
	if f.Stack != nil {
		w.stacks++
	}
}

// raw sends a request's head and what follows it on a connection of its own.
func (s *site) raw(head string) net.Conn {
	s.Helper()
	conn, err := (&net.Dialer{}).DialContext(s.Context(), "tcp", strings.TrimPrefix(s.url, "http://"))
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() { _ = conn.Close() })
	if _, err := io.WriteString(conn, strings.ReplaceAll(head, "\n", "\r\n")); err != nil {
		s.Fatal(err)
	}
	return conn
}

// spoolDisk turns the heartbeats red from threshold errors of the spool inside of a minute on.
func spoolDisk(threshold int, now func() time.Time) *health.Disks {
	return health.NewDisks(health.DisksConfig{Threshold: threshold, Window: time.Minute, Now: now, Recovered: map[upload.Disk]func() bool{
		upload.DiskSpool: func() bool { return true },
	}})
}
