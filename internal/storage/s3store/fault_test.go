package s3store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tecken-upload/internal/storage/storagetest"
	"tecken-upload/internal/testenv"
	"tecken-upload/internal/upload"
)

const (
	small = 1000
	large = 20 << 20 // more than a loopback connection buffers
)

// quick are Options with short pauses between retries. Attempts keep their time, since tests count requests.
var quick = Options{Conns: 8, maxBackoff: 10 * time.Millisecond}

// impatient returns Options with short time-outs for stalls.
func impatient(t *testing.T) Options {
	t.Helper()
	limit := testenv.Slack(t, time.Second)
	return Options{Conns: 8, stall: limit, answer: limit, maxBackoff: 10 * time.Millisecond}
}

// hasty are Options for attempts that fail at any time-out.
var hasty = Options{stall: 100 * time.Millisecond, answer: 100 * time.Millisecond, maxBackoff: 10 * time.Millisecond}

// onRetry calls f when a body is read again from its start.
type onRetry struct {
	io.ReadSeeker
	f func()
}

// Seek implements io.Seeker.
func (r onRetry) Seek(offset int64, whence int) (int64, error) {
	r.f()
	return r.ReadSeeker.Seek(offset, whence)
}

// put stores c at loc and returns Put's error.
func put(ctx context.Context, t *testing.T, s *Store, loc upload.Location, c storagetest.Content, retry func()) error {
	t.Helper()
	body, done := c.Body(t)
	defer done()
	if retry != nil {
		body.Reader = onRetry{body.Reader, retry}
	}
	ctx, cancel := context.WithTimeoutCause(ctx, testenv.Patience, errors.New("put takes for ever"))
	defer cancel()
	return s.Put(ctx, loc, c.Object, body)
}

// A toxic and its stream, for tables.
type toxic struct {
	kind, stream string
	attributes   map[string]any
}

func (x toxic) add(p *testenv.Proxy) (remove func()) { return p.Add(x.kind, x.stream, x.attributes) }

var bodyToxics = map[string]toxic{
	"cut":   {"limit_data", "upstream", map[string]any{"bytes": 1 << 20}},
	"reset": {"reset_peer", "upstream", map[string]any{"timeout": 100}},
	"stall": {"bandwidth", "upstream", map[string]any{"rate": 0}},
	"lost":  {"timeout", "upstream", map[string]any{"timeout": 0}},
}

func TestBrokenOnceThenWhole(t *testing.T) {
	for name, fault := range bodyToxics {
		t.Run(name, func(t *testing.T) {
			server := testenv.S3(t)
			proxy := testenv.Toxiproxy(t, server.Addr)
			s := open(t, server, "http://"+proxy.Addr, impatient(t))
			loc := storagetest.Location(t, "a.pdb/1/a.pdb")
			storagetest.Random(1, small).Put(t, s, loc)

			heal := sync.OnceFunc(fault.add(proxy))
			c := storagetest.Random(2, large)
			if err := put(t.Context(), t, s, loc, c, heal); err != nil {
				t.Fatalf("put: %v", err)
			}
			c.Check(t, s, loc)
		})
	}
}

// A partial body never becomes an object, with any checksum.
func TestBrokenForGood(t *testing.T) {
	for name, fault := range bodyToxics {
		t.Run(name, func(t *testing.T) { testBrokenForGood(t, testenv.S3(t), "crc32", fault) })
	}
	for name, start := range servers {
		server := start(t)
		for _, checksum := range []string{"crc32", "md5", "none"} {
			t.Run(name+", "+checksum, func(t *testing.T) { testBrokenForGood(t, server.NewBucket(t), checksum, bodyToxics["cut"]) })
		}
	}
}

func testBrokenForGood(t *testing.T, server testenv.S3Server, checksum string, fault toxic) {
	direct := open(t, server, server.Endpoint, Options{})
	loc := storagetest.Location(t, "a.pdb/1/a.pdb")
	former := storagetest.Random(1, small)
	former.Put(t, direct, loc)

	proxy := testenv.Toxiproxy(t, server.Addr)
	fault.add(proxy)
	s := openAs(t, server, "http://"+proxy.Addr, "?checksum="+checksum, hasty)
	fresh := storagetest.Location(t, "a.pdb/2/a.pdb")
	for _, loc := range []upload.Location{loc, fresh} {
		if err := put(t.Context(), t, s, loc, storagetest.Random(2, large), nil); !errors.Is(err, upload.ErrUnavailable) || errors.Is(err, upload.ErrRefused) {
			t.Errorf("put: %v; want ErrUnavailable, and not ErrRefused", err)
		}
	}
	former.Check(t, direct, loc)
	if _, err := direct.Stat(t.Context(), fresh); !errors.Is(err, upload.ErrNotFound) {
		t.Errorf("stat: %v; want ErrNotFound", err)
	}
}

// The counterpart of "failed and not stored": the object is there, whole, though Put could not know.
func TestAnswerLost(t *testing.T) {
	server := testenv.S3(t)
	proxy := testenv.Toxiproxy(t, server.Addr)
	s := open(t, server, "http://"+proxy.Addr, quick)
	proxy.Add("limit_data", "downstream", map[string]any{"bytes": 30})
	loc, c := storagetest.Location(t, "a.pdb/1/a.pdb"), storagetest.Random(1, small)
	if err := put(t.Context(), t, s, loc, c, nil); !errors.Is(err, upload.ErrUnavailable) {
		t.Errorf("put: %v; want ErrUnavailable", err)
	}
	c.Check(t, open(t, server, server.Endpoint, Options{}), loc)
}

func TestStallIsNamed(t *testing.T) {
	server := testenv.S3(t)
	proxy := testenv.Toxiproxy(t, server.Addr)
	s := open(t, server, "http://"+proxy.Addr, hasty)
	bodyToxics["stall"].add(proxy)
	err := put(t.Context(), t, s, storagetest.Location(t, "a.pdb/1/a.pdb"), storagetest.Random(1, large), nil)
	if !errors.Is(err, errStalled) || !errors.Is(err, upload.ErrUnavailable) {
		t.Errorf("put: %v; want a stall, and ErrUnavailable", err)
	}
}

func TestReadStalls(t *testing.T) {
	server := testenv.S3(t)
	s := open(t, server, testenv.StallS3(t, server.Endpoint, 64<<10), impatient(t))
	loc := storagetest.Location(t, "a.pdb/1/a.pdb")
	storagetest.Random(1, large).Put(t, s, loc)
	r, err := s.Open(t.Context(), loc)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if n, err := io.Copy(io.Discard, r); n != 64<<10 || !errors.Is(err, errStalled) {
		t.Errorf("read %d bytes: %v; want a stall behind 64 KiB", n, err)
	}
}

// A lookup is repeated after a lost request long before other calls would be.
func TestALookupIsAskedAgain(t *testing.T) {
	server := testenv.S3(t)
	var asked atomic.Int64
	endpoint := testenv.HoldS3(t, server.Endpoint, func(*http.Request) bool { return asked.Add(1) == 4 })
	s := open(t, server, endpoint, Options{lookup: time.Second, answer: time.Hour, stall: time.Hour})
	loc := storagetest.Location(t, "a.pdb/1/a.pdb")
	storagetest.Random(1, small).Put(t, s, loc)
	for range 2 { // the second is the fourth request, on an existing connection: the first object's metadata were checked
		if _, err := s.Stat(t.Context(), loc); err != nil {
			t.Error(err)
		}
	}
	if n := asked.Load(); n != 5 {
		t.Errorf("%d requests; want 5", n)
	}
}

func TestContextEndsAStall(t *testing.T) {
	for name, fault := range bodyToxics {
		t.Run(name, func(t *testing.T) {
			server := testenv.S3(t)
			proxy := testenv.Toxiproxy(t, server.Addr)
			fault.add(proxy)
			s := open(t, server, "http://"+proxy.Addr, Options{}) // as patient as in production
			cause := errors.New("the deadline passed")
			ctx, cancel := context.WithTimeoutCause(t.Context(), time.Second, cause)
			defer cancel()
			err := put(ctx, t, s, storagetest.Location(t, "a.pdb/1/a.pdb"), storagetest.Random(1, large), nil)
			if !errors.Is(err, cause) || errors.Is(err, upload.ErrUnavailable) {
				t.Errorf("put: %v; want the context's cause", err)
			}
		})
	}
}

func TestRefusedThenStored(t *testing.T) {
	for _, c := range []struct {
		status int
		code   string
	}{
		{http.StatusServiceUnavailable, "SlowDown"},
		{http.StatusInternalServerError, "InternalError"},
		{http.StatusTooManyRequests, "TooManyRequests"},
		{http.StatusBadRequest, "RequestTimeout"},
		{http.StatusBadRequest, "BadDigest"},
	} {
		t.Run(fmt.Sprint(c.status, " ", c.code), func(t *testing.T) {
			server := testenv.S3(t)
			refuser := testenv.RefuseS3(t, server.Endpoint, 2, c.status, c.code)
			s := open(t, server, refuser.Endpoint, quick)
			loc, content := storagetest.Location(t, "a.pdb/1/a.pdb"), storagetest.Random(1, 3<<20)
			if err := put(t.Context(), t, s, loc, content, nil); err != nil {
				t.Fatalf("put: %v", err)
			}
			if got := refuser.Requests(); got != 4 {
				t.Errorf("%d requests; want two that are refused, one that is not, and a look at the metadata", got)
			}
			content.Check(t, s, loc)
		})
	}
}

func TestUnreachable(t *testing.T) {
	server := testenv.S3(t)
	proxy := testenv.Toxiproxy(t, server.Addr)
	s := open(t, server, "http://"+proxy.Addr, quick)
	proxy.Cut()
	loc := storagetest.Location(t, "a.pdb/1/a.pdb")
	_, statErr := s.Stat(t.Context(), loc)
	_, openErr := s.Open(t.Context(), loc)
	for doing, err := range map[string]error{
		"put":     put(t.Context(), t, s, loc, storagetest.Random(1, small), nil),
		"refresh": s.Refresh(t.Context(), loc, upload.Object{}),
		"check":   s.Check(t.Context()),
		"stat":    statErr,
		"open":    openErr,
	} {
		if !errors.Is(err, upload.ErrUnavailable) || errors.Is(err, upload.ErrRefused) {
			t.Errorf("%s: %v; want ErrUnavailable, and not ErrRefused", doing, err)
		}
	}
}

func TestCheckOfASilentServer(t *testing.T) {
	server := testenv.S3(t)
	proxy := testenv.Toxiproxy(t, server.Addr)
	bodyToxics["lost"].add(proxy)
	s := open(t, server, "http://"+proxy.Addr, Options{})
	cause := errors.New("a check takes at most this")
	ctx, cancel := context.WithTimeoutCause(t.Context(), 100*time.Millisecond, cause)
	defer cancel()
	if err := s.Check(ctx); !errors.Is(err, upload.ErrUnavailable) || !errors.Is(err, cause) {
		t.Errorf("check: %v; want ErrUnavailable and the context's cause", err)
	}
}

func TestConnectionsAreBounded(t *testing.T) {
	server := testenv.S3(t)
	counter := testenv.RefuseS3(t, server.Endpoint, 0, 0, "")
	s := open(t, server, counter.Endpoint, Options{Conns: 8})
	var puts sync.WaitGroup
	for i := range 200 {
		loc := storagetest.Location(t, fmt.Sprintf("a.pdb/%X/a.pdb", i))
		puts.Go(func() {
			if err := put(t.Context(), t, s, loc, storagetest.Random(uint64(i), 100<<10), nil); err != nil {
				t.Errorf("put: %v", err)
			}
		})
	}
	puts.Wait()
	if got := counter.Connections(); got > 8 {
		t.Errorf("%d connections were made; want 8 at most", got)
	}
	if got := counter.Requests(); got != 201 {
		t.Errorf("%d requests; want 200, and a look at one object's metadata", got)
	}
}

// Callers that wait for a connection do not count as stalled.
func TestWaitingInLineIsNoStall(t *testing.T) {
	server := testenv.S3(t)
	proxy := testenv.Toxiproxy(t, server.Addr)
	stall := testenv.Slack(t, 1500*time.Millisecond)
	proxy.Add("latency", "downstream", map[string]any{"latency": (stall / 8).Milliseconds()}) // the tenth waits for nine
	s := open(t, server, "http://"+proxy.Addr, Options{Conns: 1, stall: stall})
	var puts sync.WaitGroup
	for i := range 10 {
		loc := storagetest.Location(t, fmt.Sprintf("a.pdb/%X/a.pdb", i))
		puts.Go(func() {
			retried := func() { t.Error("a body was sent again") }
			if err := put(t.Context(), t, s, loc, storagetest.Random(uint64(i), small), retried); err != nil {
				t.Errorf("put: %v", err)
			}
		})
	}
	puts.Wait()
}

func TestNothingLeaks(t *testing.T) {
	server := testenv.S3(t)
	goroutines, files := runtime.NumGoroutine(), openFiles(t)

	s := open(t, server, server.Endpoint, Options{Conns: 8})
	var puts sync.WaitGroup
	for i := range 60 {
		loc := storagetest.Location(t, fmt.Sprintf("a.pdb/%X/a.pdb", i))
		puts.Go(func() {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			if i%3 == 0 {
				defer time.AfterFunc(time.Duration(i)*time.Millisecond, cancel).Stop()
			}
			err := put(ctx, t, s, loc, storagetest.Random(uint64(i), 1<<20), nil)
			if err != nil && i%3 != 0 {
				t.Errorf("put: %v", err)
			}
			if r, err := s.Open(ctx, loc); err == nil {
				r.Close() // unread
			}
		})
	}
	puts.Wait()
	s.Close()

	ctx, cancel := context.WithTimeout(t.Context(), testenv.Patience)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for runtime.NumGoroutine() > goroutines || openFiles(t) > files {
		select {
		case <-tick.C:
		case <-ctx.Done():
			stacks := make([]byte, 1<<20)
			t.Fatalf("%d goroutines and %d files before, %d and %d after:\n%s",
				goroutines, files, runtime.NumGoroutine(), openFiles(t), stacks[:runtime.Stack(stacks, true)])
		}
	}
}

func openFiles(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}
