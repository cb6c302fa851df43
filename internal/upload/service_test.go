package upload_test

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/md5"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tecken-upload/internal/archive"
	"tecken-upload/internal/sched"
	"tecken-upload/internal/spool"
	"tecken-upload/internal/storage/dirstore"
	"tecken-upload/internal/symbol"
	"tecken-upload/internal/testenv"
	"tecken-upload/internal/upload"
)

// house is a service with all that it stands on, and what a test looks at afterwards.
type house struct {
	*testing.T
	service *upload.Service
	config  upload.Config
	spool   *spool.Spool
	storage *storage
	records *records
	ends    *ends
}

func newHouse(t *testing.T) *house {
	t.Helper()
	dir, err := dirstore.Open(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	sp, err := spool.Open(t.TempDir()+"/spool", spool.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := sp.Close(); err != nil {
			t.Error(err)
		}
	})
	h := &house{T: t, spool: sp, storage: &storage{Store: dir}, records: &records{t: t, ended: make(map[int64]upload.Upload)}, ends: &ends{t: t}}
	h.config = upload.Config{
		Storage:         h.storage,
		Records:         h.records,
		VerifySlots:     sched.New(sched.Options{Slots: 2}),
		PublishSlots:    sched.New(sched.Options{Slots: 2}),
		StageSlots:      sched.New(sched.Options{Slots: 1}),
		DecoderSlots:    sched.New(sched.Options{Slots: 1}),
		Limits:          archive.Limits{MaxMembers: 100, MaxMemberSize: 1 << 20, MaxExtractedSize: 4 << 20},
		MaxSize:         1 << 20,
		Timeout:         time.Minute,
		Retention:       time.Hour,
		TryRetention:    20 * time.Minute,
		PublishParallel: 4,
		Stale:           time.Minute,
		Observer:        h.ends,
		Now:             time.Now,
	}
	h.service = upload.NewService(h.config)
	return h
}

var regular = upload.Token{ID: 7, User: "ci@example.com", Permissions: []upload.Permission{upload.PermissionUpload}}

// source delivers bytes.
type source struct {
	content io.Reader
	try     bool
}

func (s source) Deliver(ctx context.Context, in *upload.Arrival) (upload.Delivery, error) {
	f, err := in.Receive(ctx, s.content, s.try)
	if err != nil {
		return upload.Delivery{}, err
	}
	return upload.Delivery{File: f, Filename: "symbols.zip", Try: s.try}, nil
}

// post runs one upload and checks what holds for every one of them.
func (h *house) post(ctx context.Context, token upload.Token, src upload.Deliverer) *upload.Report {
	h.Helper()
	ws, err := h.spool.Create(h.Context(), -1)
	if err != nil {
		h.Fatal(err)
	}
	p := &pass{ws: ws}
	report := h.service.Run(ctx, upload.Request{Token: token, Label: "nightly", Declared: -1, Pass: p, Source: upload.Archive(src)})
	if begun := report.Upload.ID != 0; p.closed != 1 || begun != (h.ends.last == report) {
		h.Errorf("the pass was closed %d times, the end of %d reported: %t", p.closed, report.Upload.ID, h.ends.last == report)
	}
	usage, err := h.spool.Usage(h.Context())
	if err != nil {
		h.Fatal(err)
	}
	if usage.Live != 0 || usage.Held != 0 || usage.Reserved != 0 {
		h.Errorf("the upload left %+v in the spool", usage)
	}
	if report.Upload.ID != 0 && !h.records.failing {
		if diff := cmp.Diff(report.Upload, h.records.ended[report.Upload.ID], cmp.AllowUnexported(symbol.Key{})); diff != "" {
			h.Errorf("report and record differ (-report +record):\n%s", diff)
		}
	}
	return report
}

func (h *house) complete(token upload.Token, src upload.Deliverer) upload.Upload {
	h.Helper()
	r := h.post(h.Context(), token, src)
	if r.Err != nil || r.Upload.Outcome != upload.Completed || r.Upload.Error != "" {
		h.Fatalf("upload ended as %q: %v", r.Upload.Outcome, r.Err)
	}
	return r.Upload
}

// states tells what became of each member.
func states(u upload.Upload) map[string]upload.FileState {
	m := make(map[string]upload.FileState)
	for _, f := range u.Files {
		m[f.Name] = f.State
	}
	return m
}

// stored reads an object back, inflated where it is stored as gzip.
func (h *house) stored(name string, try bool) (string, bool) {
	h.Helper()
	key, err := symbol.ParseKey(name)
	if err != nil {
		h.Fatal(err)
	}
	body, err := h.storage.Open(h.Context(), upload.Location{Key: key, Try: try})
	if errors.Is(err, upload.ErrNotFound) {
		return "", false
	}
	if err != nil {
		h.Fatal(err)
	}
	defer body.Close()
	var r io.Reader = body
	if body.Object.Gzip {
		if r, err = gzip.NewReader(body); err != nil {
			h.Fatal(err)
		}
	}
	content, err := io.ReadAll(r)
	if err != nil {
		h.Fatal(err)
	}
	if obj := body.Object; obj.Size != int64(len(content)) || obj.MD5 != md5.Sum(content) {
		h.Errorf("%s: %d bytes are stored, its metadata are of others: %+v", name, len(content), obj)
	}
	return string(content), true
}

const sym = "MODULE Linux x86_64 ABCDEF012 app\nINFO CODE_ID 12CD app.bin\nINFO GENERATOR dump_syms 2\nFUNC 0 1 0 main\n"

// members are one of each kind, by name.
var members = map[string]string{
	"app/ABCDEF012/app.sym":  sym,
	"app/abcdef013/app2.SYM": strings.Repeat(sym, 50),
	"app.exe/12CD/app.ex_":   "MSCF\x00\x01",
	"build-symbols.txt":      "app.sym\n",
}

func zipOf(t testing.TB, files map[string]string, method uint16) io.Reader {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		f, err := w.CreateHeader(&zip.FileHeader{Name: name, Method: method})
		if err == nil {
			_, err = io.WriteString(f, files[name])
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return &b
}

func tarOf(t testing.TB, files map[string]string) io.Reader {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	w := tar.NewWriter(z)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		err := w.WriteHeader(&tar.Header{Name: name, Size: int64(len(files[name])), Mode: 0o644})
		if err == nil {
			_, err = io.WriteString(w, files[name])
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(w.Close(), z.Close()); err != nil {
		t.Fatal(err)
	}
	return &b
}

func TestEveryMemberIsStoredThenSkipped(t *testing.T) {
	for name, archiveOf := range map[string]func(map[string]string) io.Reader{
		"deflated zip": func(f map[string]string) io.Reader { return zipOf(t, f, zip.Deflate) },
		"stored zip":   func(f map[string]string) io.Reader { return zipOf(t, f, zip.Store) },
		"tar.gz":       func(f map[string]string) io.Reader { return tarOf(t, f) },
	} {
		t.Run(name, func(t *testing.T) {
			h := newHouse(t)
			for _, want := range []upload.FileState{upload.FileUploaded, upload.FileSkipped} {
				u := h.complete(regular, source{content: archiveOf(members)})
				wantStates := map[string]upload.FileState{"build-symbols.txt": upload.FileIgnored}
				for name := range members {
					if _, ignored := wantStates[name]; !ignored {
						wantStates[name] = want
					}
				}
				if diff := cmp.Diff(wantStates, states(u)); diff != "" {
					t.Errorf("states differ (-want +got):\n%s", diff)
				}
				for name, content := range members {
					if wantStates[name] == upload.FileIgnored {
						continue
					}
					if got, ok := h.stored(name, false); !ok || got != content {
						t.Errorf("%s: stored %t, %d bytes, want %d", name, ok, len(got), len(content))
					}
				}
			}
			i := slices.IndexFunc(h.records.ended[1].Files, func(f upload.File) bool { return strings.HasSuffix(f.Name, "app.sym") })
			want := symbol.Header{OS: "Linux", Arch: "x86_64", DebugID: "ABCDEF012", DebugFile: "app", CodeID: "12CD", CodeFile: "app.bin", Generator: "dump_syms 2"}
			if diff := cmp.Diff(want, h.records.ended[1].Files[i].Header); diff != "" {
				t.Errorf("header differs (-want +got):\n%s", diff)
			}
		})
	}
}

func TestAMemberThatDiffersIsReplaced(t *testing.T) {
	h := newHouse(t)
	const name = "app/ABCDEF012/app.sym"
	if u := h.complete(regular, source{content: zipOf(t, map[string]string{name: sym}, zip.Deflate)}); u.Files[0].Replaced {
		t.Error("the first one is said to have replaced another")
	}
	changed := strings.Replace(sym, "main", "niam", 1) // of the same length
	u := h.complete(regular, source{content: zipOf(t, map[string]string{name: changed}, zip.Deflate)})
	if got, _ := h.stored(name, false); got != changed || u.Files[0].State != upload.FileUploaded || !u.Files[0].Replaced {
		t.Errorf("state %s, replaced %t, stored content changed: %t", u.Files[0].State, u.Files[0].Replaced, got == changed)
	}
}

func TestTryUploads(t *testing.T) {
	h := newHouse(t)
	h.complete(regular, source{content: zipOf(t, map[string]string{"a/AA/a.sym": sym}, zip.Deflate)})
	files := map[string]string{"a/AA/a.sym": sym, "b/BB/b.sym": sym}

	u := h.complete(regular, source{content: zipOf(t, files, zip.Deflate), try: true})
	want := map[string]upload.FileState{"a/AA/a.sym": upload.FileSkipped, "b/BB/b.sym": upload.FileUploaded}
	if diff := cmp.Diff(want, states(u)); diff != "" || !u.Try {
		t.Errorf("try %t, states (-want +got):\n%s", u.Try, diff)
	}
	for _, at := range []struct {
		name      string
		try, want bool
	}{{"b/BB/b.sym", true, true}, {"b/BB/b.sym", false, false}, {"a/AA/a.sym", true, false}} {
		if _, ok := h.stored(at.name, at.try); ok != at.want {
			t.Errorf("%s, try %t: stored %t", at.name, at.try, ok)
		}
	}

	tryToken := upload.Token{ID: 8, User: "dev@example.com", Permissions: []upload.Permission{upload.PermissionUploadTry}}
	if u := h.complete(tryToken, source{content: zipOf(t, map[string]string{"c/CC/c.sym": sym}, zip.Deflate)}); !u.Try {
		t.Error("an upload by a try token was a regular one")
	}
}

func TestAFaultAnywhereRejectsAllOfIt(t *testing.T) {
	good, err := io.ReadAll(zipOf(t, members, zip.Store))
	if err != nil {
		t.Fatal(err)
	}
	wrongCRC := bytes.Replace(good, []byte("MSCF"), []byte("MSCX"), 1)
	for _, tc := range []struct {
		name    string
		content []byte
		want    string
	}{
		{"wrong CRC", wrongCRC, "app.exe/12CD/app.ex_"},
		{"cut", good[:len(good)-10], "zip"},
		{"not an archive", []byte("<html>"), "archive"},
		{"one byte too many", make([]byte, 1<<20+1), "larger than the 1048576 bytes"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			h := newHouse(t)
			r := h.post(t.Context(), regular, source{content: bytes.NewReader(tc.content)})
			if r.Upload.Outcome != upload.Rejected || !strings.Contains(r.Upload.Error, tc.want) {
				t.Errorf("outcome %q, %q", r.Upload.Outcome, r.Upload.Error)
			}
			for name := range members {
				if name == "build-symbols.txt" {
					continue
				}
				if _, ok := h.stored(name, false); ok {
					t.Errorf("%s was published", name)
				}
			}
		})
	}
}

func TestDeadline(t *testing.T) {
	h := newHouse(t)
	c := h.config
	c.Timeout = testenv.Slack(t, 2*time.Second) // in which one file is stored
	c.PublishSlots = sched.New(sched.Options{Slots: 1})
	h.service = upload.NewService(c)
	files := map[string]string{"a/AA/a.sym": sym, "b/BB/b.sym": sym, "c/CC/c.sym": sym}
	// The second Put never returns by itself.
	h.storage.fault = func(ctx context.Context, n int) error {
		if n != 2 {
			return nil
		}
		<-ctx.Done()
		return context.Cause(ctx)
	}
	r := h.post(t.Context(), regular, source{content: zipOf(t, files, zip.Deflate)})
	var deadline *upload.DeadlineError
	if !errors.As(r.Err, &deadline) || deadline.Done != 1 || deadline.Total != 3 {
		t.Fatalf("error %v, want a deadline that passed at 1 of 3", r.Err)
	}
	if r.Upload.Outcome != upload.TimedOut || !strings.Contains(r.Upload.Error, "1 of 3 files") {
		t.Errorf("outcome %q, %q", r.Upload.Outcome, r.Upload.Error)
	}

	h.service = upload.NewService(h.config)
	got := map[upload.FileState]int{}
	for _, s := range states(h.complete(regular, source{content: zipOf(t, files, zip.Deflate)})) {
		got[s]++
	}
	if diff := cmp.Diff(map[upload.FileState]int{upload.FileSkipped: 1, upload.FileUploaded: 2}, got); diff != "" {
		t.Errorf("the retry (-want +got):\n%s", diff)
	}
}

func TestWhatEndsAnUploadIsRecorded(t *testing.T) {
	broken := fmt.Errorf("%w: broken", upload.ErrUnavailable)
	for _, tc := range []struct {
		name    string
		cause   error // of the context's end, in the middle of a Put
		fault   error // of the Put
		written bool  // the fault is of the answer: the object is there
		want    upload.Outcome
	}{
		{name: "the client hangs up", cause: upload.ErrClientGone, want: upload.Cancelled},
		{name: "the server stops", cause: upload.ErrShutdown, want: upload.Interrupted},
		{name: "storage fails before it wrote", fault: broken, want: upload.Failed},
		{name: "storage fails after it wrote", fault: broken, written: true, want: upload.Failed},
	} {
		t.Run(tc.name, func(t *testing.T) {
			h := newHouse(t)
			ctx, cancel := context.WithCancelCause(t.Context())
			defer cancel(nil)
			h.storage.writeFirst = tc.written
			h.storage.fault = func(ctx context.Context, _ int) error {
				if tc.cause == nil {
					return tc.fault
				}
				cancel(tc.cause)
				<-ctx.Done()
				return fmt.Errorf("put: %w", context.Canceled)
			}
			files := map[string]string{"a/AA/a.sym": sym}
			r := h.post(ctx, regular, source{content: zipOf(t, files, zip.Deflate)})
			if why := firstOf(tc.cause, tc.fault); r.Upload.Outcome != tc.want || !errors.Is(r.Err, why) {
				t.Errorf("outcome %q, error %v, want %q because of %v", r.Upload.Outcome, r.Err, tc.want, why)
			}
			h.storage.fault = nil
			want := upload.FileUploaded
			if tc.written {
				want = upload.FileSkipped
			}
			if got := h.complete(regular, source{content: zipOf(t, files, zip.Deflate)}).Files[0].State; got != want {
				t.Errorf("the retry found the member %s, want %s", got, want)
			}
		})
	}
}

func firstOf(errs ...error) error {
	return errs[slices.IndexFunc(errs, func(err error) bool { return err != nil })]
}

func TestAPanicEndsOneUpload(t *testing.T) {
	h := newHouse(t)
	h.storage.fault = func(context.Context, int) error { panic("boom") }
	files := map[string]string{"a/AA/a.sym": sym}
	r := h.post(t.Context(), regular, source{content: zipOf(t, files, zip.Deflate)})
	if r.Upload.Outcome != upload.Failed || !strings.Contains(string(r.Stack), "service_test.go") || strings.Contains(r.Upload.Error, "boom") {
		t.Errorf("outcome %q, told %q, stack:\n%s", r.Upload.Outcome, r.Upload.Error, r.Stack)
	}
	h.storage.fault = nil
	h.complete(regular, source{content: zipOf(t, files, zip.Deflate)})
}

// A panic while a member is staged must not keep the next one from it: the upload ends, and its slots are free.
func TestAPanicInStagingEndsOneUpload(t *testing.T) {
	h := newHouse(t)
	slots := sched.New(sched.Options{Slots: 1})
	c := h.config
	c.VerifySlots = &panickingSlots{Slots: slots, at: 3} // two members are verified first
	h.service = upload.NewService(c)
	files := map[string]string{"a/AA/a.sym": sym, "b/BB/b.sym": sym}
	r := h.post(t.Context(), regular, source{content: zipOf(t, files, zip.Store)})
	if r.Upload.Outcome != upload.Failed || len(r.Stack) == 0 {
		t.Errorf("outcome %q: %v", r.Upload.Outcome, r.Err)
	}
	if s := slots.Stats(); s.Busy != 0 || s.Waiting != 0 {
		t.Errorf("slots: %+v", s)
	}
	h.complete(regular, source{content: zipOf(t, files, zip.Store)})
}

func TestWithoutRecordsNothingIsAccepted(t *testing.T) {
	h := newHouse(t)
	files := map[string]string{"a/AA/a.sym": sym}
	h.records.failing = true
	h.records.begin = func() error { return fmt.Errorf("%w: refused", upload.ErrUnavailable) }
	if r := h.post(t.Context(), regular, source{content: zipOf(t, files, zip.Deflate)}); r.Upload.ID != 0 || !errors.Is(r.Err, upload.ErrUnavailable) {
		t.Errorf("begun as %d: %v", r.Upload.ID, r.Err)
	}
	if _, ok := h.stored("a/AA/a.sym", false); ok {
		t.Error("published without a record")
	}
	h.records.begin = nil
	h.records.finish = func(*upload.Upload) error { return fmt.Errorf("%w: refused", upload.ErrUnavailable) }
	r := h.post(t.Context(), regular, source{content: zipOf(t, files, zip.Deflate)})
	if !errors.Is(r.Err, upload.ErrUnavailable) || r.Upload.Outcome != upload.Failed {
		t.Errorf("outcome %q though its end was not committed: %v", r.Upload.Outcome, r.Err)
	}

	// The database is back: the end is recorded after all, without help.
	h.records.mu.Lock()
	h.records.finish = nil
	h.records.settled = make(chan int64, 1)
	h.records.mu.Unlock()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- h.service.Settle(ctx) }()
	if id := <-h.records.settled; id != r.Upload.ID {
		t.Errorf("the end of %d was recorded, want %d", id, r.Upload.ID)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
