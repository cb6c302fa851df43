package upload_test

import (
	"archive/zip"
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"

	"tecken-upload/internal/sched"
	"tecken-upload/internal/upload"
)

// tailed is a body whose last bytes come when they are asked for.
type tailed struct {
	io.Reader
	until <-chan struct{} // for the last bytes
	tail  io.Reader
}

func (b *tailed) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	if !errors.Is(err, io.EOF) {
		return n, err
	}
	<-b.until
	m, err := b.tail.Read(p[n:])
	return n + m, err
}

// noise is a content that does not compress.
func noise(size int) string {
	p := make([]byte, size)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(p)
	return string(p)
}

// A stage is an upload whose last bytes wait.
type stage struct {
	*house
	files map[string]string
	last  chan struct{} // closed to let the last bytes come
	body  *tailed
}

// newStage makes an upload of a small member, a large one, and one that pushes them out of buffers. tail makes its last bytes of the right ones.
func newStage(t *testing.T, tail func(right []byte) io.Reader) *stage {
	t.Helper()
	h := newHouse(t)
	h.config.MaxSize, h.config.Limits.MaxMemberSize, h.config.Limits.MaxExtractedSize = 64<<20, 64<<20, 64<<20
	h.service = upload.NewService(h.config)
	h.storage.staged = make(chan string, 10)
	s := &stage{house: h, last: make(chan struct{}), files: map[string]string{"a/AA/a.sym": sym, "big/BB/big.pdb": noise(9 << 20), "z/CC/z.pdb": noise(1 << 20)}}
	content, err := io.ReadAll(zipOf(t, s.files, zip.Deflate))
	if err != nil {
		t.Fatal(err)
	}
	const end = 60 // bytes: inside the directory
	first, rest := content[:len(content)-end], content[len(content)-end:]
	s.body = &tailed{Reader: bytes.NewReader(first), until: s.last, tail: tail(rest)}
	return s
}

func right(p []byte) io.Reader { return bytes.NewReader(p) }

// run runs the upload. once is called when its large member was staged, or failed to be, and before its last bytes.
func (s *stage) run(once func(), try bool) *upload.Report {
	s.Helper()
	ended := s.start(s.Context(), source{content: s.body, try: try}, nil)
	if key := <-s.storage.staged; key != "big/BB/big.pdb" {
		s.Errorf("staged %s", key)
	}
	once()
	close(s.last)
	r := <-ended
	s.settle()
	if n := s.storage.invisible.Load(); n != 0 || len(s.records.staged) != 0 {
		s.Errorf("%d files are staged still, %d recorded", n, len(s.records.staged))
	}
	return r
}

// settle waits until what is staged was removed.
func (s *stage) settle() {
	s.Helper()
	if err := s.service.Wait(s.Context()); err != nil {
		s.Fatal(err)
	}
}

// visible returns which of the members a reader finds.
func (s *stage) visible(try bool) map[string]bool {
	s.Helper()
	found := make(map[string]bool)
	for name, content := range s.files {
		got, ok := s.stored(name, try)
		if ok && got != content {
			s.Errorf("%s has another content", name)
		}
		found[name] = ok
	}
	return found
}

// checkVisible makes sure that all members are visible, or none.
func (s *stage) checkVisible(want, try bool) {
	s.Helper()
	for name, ok := range s.visible(try) {
		if ok != want {
			s.Errorf("%s is visible: %t, try %t", name, ok, try)
		}
	}
}

// A large member is in storage before the last byte, and visible after it.
func TestALargeMemberIsSentAhead(t *testing.T) {
	s := newStage(t, right)
	r := s.run(func() {
		s.checkVisible(false, false)
		if s.storage.puts != 0 {
			t.Errorf("%d files were put before the commit", s.storage.puts)
		}
	}, false)
	if r.Err != nil {
		t.Fatal(r.Err)
	}
	s.checkVisible(true, false)
	if s.storage.puts != 2 || s.storage.commits.Load() != 1 {
		t.Errorf("%d files were put, %d committed", s.storage.puts, s.storage.commits.Load())
	}
	for _, f := range r.Upload.Files {
		if f.State != upload.FileUploaded || f.StoredSize == 0 || f.Replaced {
			t.Errorf("%+v", f)
		}
	}
}

// What storage has is neither sent nor, if the archive is whole, asked for again.
func TestStorageIsAskedAhead(t *testing.T) {
	s := newStage(t, right)
	s.run(func() {}, false)
	again := newStage(t, right)
	again.storage.Store = s.storage.Store
	again.storage.asked.Store(0)
	close(again.last)
	r := again.post(t.Context(), regular, source{content: again.body})
	want := map[string]upload.FileState{"a/AA/a.sym": upload.FileSkipped, "big/BB/big.pdb": upload.FileSkipped, "z/CC/z.pdb": upload.FileSkipped}
	if diff := cmp.Diff(want, states(r.Upload)); diff != "" {
		t.Errorf("states (-want +got):\n%s", diff)
	}
	if asked := again.storage.asked.Load(); asked != 3 || len(again.storage.staged) != 0 {
		t.Errorf("storage was asked %d times, and %d members sent", asked, len(again.storage.staged))
	}
}

// Whatever ends an upload, nothing of what was sent ahead is visible, or left.
func TestNothingOfARejectedUploadStays(t *testing.T) {
	for name, c := range map[string]struct {
		tail func([]byte) io.Reader
		want upload.Outcome
	}{
		"the directory is damaged": {func(p []byte) io.Reader { return strings.NewReader(strings.Repeat("x", len(p))) }, upload.Rejected},
		"it is cut short":          {func(p []byte) io.Reader { return bytes.NewReader(p[:10]) }, upload.Rejected},
		"the client hangs up":      {func([]byte) io.Reader { return iotest.ErrReader(upload.ErrClientGone) }, upload.Cancelled},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t, c.tail)
			r := s.run(func() {}, false)
			if r.Upload.Outcome != c.want {
				t.Errorf("ended as %s: %v", r.Upload.Outcome, r.Err)
			}
			s.checkVisible(false, false)
		})
	}
}

// What was sent ahead to another place does not count: a client may say at the end that this is a try upload.
func TestATryUploadThatSaysSoAtItsEnd(t *testing.T) {
	s := newStage(t, right)
	deliver := late{source{content: s.body, try: true}}
	ended := s.start(t.Context(), deliver, nil)
	<-s.storage.staged
	close(s.last)
	if r := <-ended; r.Err != nil || !r.Upload.Try {
		t.Fatalf("try %t: %v", r.Upload.Try, r.Err)
	}
	s.settle()
	s.checkVisible(true, true)
	s.checkVisible(false, false)
	if n := s.storage.invisible.Load(); n != 0 {
		t.Errorf("%d files are staged still", n)
	}
}

// late delivers a body of which it is not known before its end that it is a try upload's.
type late struct{ source }

func (l late) Deliver(ctx context.Context, in *upload.Arrival) (upload.Delivery, error) {
	f, err := in.Receive(ctx, l.content, false)
	return upload.Delivery{File: f, Filename: "late.zip", Try: l.try}, err
}

// A fault of what is done ahead does not matter: the member is brought to storage at the commit.
func TestAFaultAheadDoesNotMatter(t *testing.T) {
	for name, fault := range map[string]func(s *stage){
		"storage":  func(s *stage) { s.storage.staging = func(context.Context) error { return upload.ErrUnavailable } },
		"a panic":  func(s *stage) { s.storage.staging = func(context.Context) error { panic("staging") } },
		"database": func(s *stage) { s.records.failing = true },
	} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t, right)
			fault(s)
			if r := s.run(func() { s.checkVisible(false, false) }, false); r.Err != nil {
				t.Fatal(r.Err)
			}
			s.checkVisible(true, false)
			if s.storage.puts != 3 || s.storage.commits.Load() != 0 {
				t.Errorf("%d files were put, %d committed", s.storage.puts, s.storage.commits.Load())
			}
		})
	}
}

// A staging that hangs is not waited for: the member is brought to storage at the commit.
func TestAStagingThatHangsIsGivenUp(t *testing.T) {
	s := newStage(t, right)
	s.service.SetStagePatience(time.Millisecond)
	hangs := make(chan struct{})
	s.storage.staged = nil
	s.storage.staging = func(ctx context.Context) error {
		close(hangs)
		<-ctx.Done()
		return context.Cause(ctx)
	}
	ended := s.start(t.Context(), source{content: s.body}, nil)
	<-hangs
	close(s.last)
	if r := <-ended; r.Err != nil {
		t.Fatal(r.Err)
	}
	s.checkVisible(true, false)
}

// What is staged may be swept away while its upload is taken for lost: then the member is sent again.
func TestWhatIsStagedMayBeGone(t *testing.T) {
	s := newStage(t, right)
	s.storage.gone = true
	if r := s.run(func() {}, false); r.Err != nil {
		t.Fatal(r.Err)
	}
	s.checkVisible(true, false)
	if s.storage.puts != 3 || s.storage.commits.Load() != 1 {
		t.Errorf("%d files were put, %d commits tried", s.storage.puts, s.storage.commits.Load())
	}
}

// An answer of storage's that is old at the commit does not count: another upload may have put another content there.
func TestAnOldAnswerDoesNotCount(t *testing.T) {
	h := newStage(t, right)
	h.run(func() {}, false)
	s := newStage(t, right)
	s.storage.Store = h.storage.Store
	var later atomic.Int64
	s.config.Now = func() time.Time { return time.Now().Add(time.Duration(later.Load())) }
	s.service = upload.NewService(s.config)
	s.storage.staged, s.storage.answered = nil, make(chan string, 10)
	ended := s.start(t.Context(), source{content: s.body}, nil)
	for key := ""; key != "a/AA/a.sym"; {
		key = <-s.storage.answered
	}
	other := newStage(t, right)
	other.storage.Store = h.storage.Store
	other.complete(regular, source{content: zipOf(t, map[string]string{"a/AA/a.sym": sym + "FILE 0 x.c\n"}, zip.Deflate)})
	later.Store(int64(time.Minute))
	close(s.last)
	if r := <-ended; r.Err != nil {
		t.Fatal(r.Err)
	}
	s.checkVisible(true, false)
}

// A commit does not wait for a slot for what is only staged.
func TestACommitDoesNotWaitToBeStaged(t *testing.T) {
	s := newStage(t, right)
	held, err := s.config.StageSlots.Acquire(t.Context(), sched.Task{Tenant: 99})
	if err != nil {
		t.Fatal(err)
	}
	defer held.Release()
	close(s.last)
	if r := s.post(t.Context(), regular, source{content: s.body}); r.Err != nil {
		t.Fatal(r.Err)
	}
	s.checkVisible(true, false)
	if s.storage.puts != 3 || s.storage.commits.Load() != 0 {
		t.Errorf("%d files were put, %d committed", s.storage.puts, s.storage.commits.Load())
	}
}
