package symbols

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/labstack/echo/v4"

	"tecken-upload/internal/lookup"
	"tecken-upload/internal/testenv"
	"tecken-upload/internal/upload"
	"tecken-upload/internal/web/exchange"
)

// oneSymbol has one file under every name, and none where that is "missing".
type oneSymbol struct {
	Finder
	file lookup.File
	text string // of the file

	open, most, looked, read atomic.Int64
}

func (o *oneSymbol) Find(_ context.Context, q lookup.Query) (lookup.Found, error) {
	if q.File == "missing" {
		return lookup.Found{}, upload.ErrNotFound
	}
	return lookup.Found{}, nil
}

func (o *oneSymbol) FindBinary(ctx context.Context, _ lookup.BinaryQuery) (lookup.Found, error) {
	return o.Find(ctx, lookup.Query{})
}

func (o *oneSymbol) Look(context.Context, lookup.Found) (lookup.File, error) {
	o.looked.Add(1)
	return o.file, nil
}

func (o *oneSymbol) Open(context.Context, lookup.Found) (lookup.File, error) {
	open := o.open.Add(1)
	for most := o.most.Load(); open > most && !o.most.CompareAndSwap(most, open); most = o.most.Load() {
	}
	file := o.file
	file.ReadSeekCloser = &oneContent{strings.NewReader(o.text), o}
	return file, nil
}

func (o *oneSymbol) Measure(context.Context, lookup.Found, lookup.File, func(io.ReadSeeker) (int64, error)) int64 {
	return -1
}

type oneContent struct {
	io.ReadSeeker
	symbol *oneSymbol
}

func (c *oneContent) Read(p []byte) (int, error) {
	n, err := c.ReadSeeker.Read(p)
	c.symbol.read.Add(int64(n))
	return n, err
}

func (c *oneContent) Close() error {
	c.symbol.open.Add(-1)
	return nil
}

// site is a server of one symbol, with its routes.
type site struct {
	*Server
	http.Handler
}

// newDownloads makes a site of one symbol of so many bytes.
func newDownloads(t *testing.T, size, places int) (site, *oneSymbol) {
	symbol := &oneSymbol{file: lookup.File{Stored: int64(size), Inflated: int64(size)}, text: strings.Repeat("x", size)}
	r := exchange.New(t.Context(), exchange.Config{Logger: slog.New(slog.DiscardHandler), Now: time.Now})
	s, e := New(r, Config{Finder: symbol, MaxDownloads: places}), echo.New()
	e.HTTPErrorHandler = r.HandleError
	for _, method := range []string{http.MethodGet, http.MethodHead} {
		e.Add(method, "/:debug_file/:debug_id/:file", s.Symbol)
		e.Add(method, "/buildid/:id/debuginfo", s.DebugInfo)
	}
	return site{s, e}, symbol
}

// A reader takes an answer at its own rate, as the other end of a connection does.
type reader struct {
	*httptest.ResponseRecorder
	rate int // bytes a second

	mu       sync.Mutex
	deadline time.Time
	moved    chan struct{} // holds a token when the deadline has been moved
}

func newReader(rate int) *reader {
	return &reader{ResponseRecorder: httptest.NewRecorder(), rate: rate, moved: make(chan struct{}, 1)}
}

func (r *reader) SetWriteDeadline(at time.Time) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.deadline = at
	select {
	case r.moved <- struct{}{}:
	default:
	}
	return nil
}

func (r *reader) Write(p []byte) (int, error) {
	taken := time.After(time.Duration(len(p)) * time.Second / time.Duration(r.rate))
	for {
		r.mu.Lock()
		left := time.Until(r.deadline)
		r.mu.Unlock()
		select {
		case <-taken:
			return r.ResponseRecorder.Write(p)
		case <-r.moved:
		case <-time.After(left):
			return 0, os.ErrDeadlineExceeded
		}
	}
}

// ask asks a server, and returns whether the answer was broken off.
func (r *reader) ask(t *testing.T, s site, method, path string, fields ...string) (broken bool) {
	req := httptest.NewRequestWithContext(t.Context(), method, path, nil)
	for i := 0; i < len(fields); i += 2 {
		req.Header.Set(fields[i], fields[i+1])
	}
	return r.serve(s, req)
}

func (r *reader) serve(s site, req *http.Request) (broken bool) {
	defer func() {
		if v := recover(); v != nil {
			if err, ok := v.(error); !ok || !errors.Is(err, http.ErrAbortHandler) {
				panic(v)
			}
			broken = true
		}
	}()
	s.ServeHTTP(r, req)
	return false
}

const somePath, someBinary = "/app/AB/app.pdb", "/buildid/0123456789abcdef0123/debuginfo"

// Readers that hold every place for as long as they like keep nobody from an answer: what needs no body needs no place,
// and they are cut off once somebody waits for theirs.
func TestSlowReadersKeepNobodyOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const places = 5
		s, symbol := newDownloads(t, 4<<20, places)
		var wg sync.WaitGroup
		var cut atomic.Int64
		for i := range places {
			wg.Go(func() {
				if newReader(1<<10).ask(t, s, "GET", []string{somePath, someBinary}[i%2]) {
					cut.Add(1)
				}
			})
		}
		<-time.After(5 * time.Minute)
		if n := symbol.open.Load(); n != places || cut.Load() != 0 {
			t.Fatalf("%d are read, %d were cut off with nobody waiting", n, cut.Load())
		}
		start := time.Now()
		for _, x := range []struct {
			status       int
			method, path string
			fields       []string
		}{
			{200, "HEAD", somePath, nil},
			{200, "HEAD", someBinary, nil},
			{304, "GET", somePath, []string{"If-None-Match", "*"}},
			{304, "GET", someBinary, []string{"If-None-Match", "*"}},
			{412, "GET", someBinary, []string{"If-Match", `"another"`}},
			{404, "GET", "/missing/AB/app.pdb", nil},
		} {
			r := newReader(1 << 20)
			if r.ask(t, s, x.method, x.path, x.fields...); r.Code != x.status {
				t.Errorf("%s %s %v: status %d, want %d", x.method, x.path, x.fields, r.Code, x.status)
			}
		}
		if waited := time.Since(start); waited > time.Second || cut.Load() != 0 {
			t.Errorf("it took %v, and %d were cut off", waited, cut.Load())
		}
		r := newReader(10 << 20)
		if r.ask(t, s, "GET", somePath, "If-None-Match", `"another"`); r.Code != 200 || r.Body.Len() != 4<<20 {
			t.Errorf("status %d, %d bytes", r.Code, r.Body.Len())
		}
		wg.Wait()
		if cut.Load() != places || symbol.most.Load() != places || symbol.open.Load() != 0 {
			t.Errorf("%d were cut off, %d were read at once, %d are left", cut.Load(), symbol.most.Load(), symbol.open.Load())
		}
	})
}

// Who reads as fast as can be asked is not cut off; who finds no place is told to come again, and not that it is its own fault.
func TestDownloadsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, symbol := newDownloads(t, 4<<20, 3)
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() {
				if r := newReader(sendRate * 5 / 4); r.ask(t, s, "GET", somePath) || r.Body.Len() != 4<<20 {
					t.Errorf("%d bytes", r.Body.Len())
				}
			})
		}
		<-time.After(25 * time.Second)
		for range 3 {
			start := time.Now()
			r := newReader(1 << 20)
			r.ask(t, s, "GET", somePath)
			if r.Code != 503 || r.Header().Get("Retry-After") == "" || time.Since(start) > 10*time.Second {
				t.Errorf("status %d after %v, Retry-After %q", r.Code, time.Since(start), r.Header().Get("Retry-After"))
			}
		}
		wg.Wait()
		if symbol.most.Load() != 3 {
			t.Errorf("%d at once", symbol.most.Load())
		}
	})
}

// Slow readers are in the way for as long as somebody waits, and for a window after.
func TestAWaitIsRemembered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := newDownloads(t, 1, 1)
		sending := &s.sending
		leave, err := sending.enter(t.Context())
		if err != nil || sending.contended() {
			t.Fatalf("%v; in the way of nobody: %t", err, sending.contended())
		}
		defer leave()
		if _, err := sending.enter(t.Context()); !errors.Is(err, upload.ErrBusy) {
			t.Fatal(err)
		}
		<-time.After(sendWindow - time.Second)
		if !sending.contended() {
			t.Error("forgotten too early")
		}
		<-time.After(time.Second)
		if sending.contended() {
			t.Error("remembered for too long")
		}
	})
}

// Those who found no place together do not come back together.
func TestThoseWithoutAPlaceComeBackApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := newDownloads(t, 4<<20, 1)
		leave, err := s.sending.enter(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer leave()
		var told sync.Map
		var wg sync.WaitGroup
		for range 30 {
			wg.Go(func() {
				r := newReader(1 << 20)
				r.ask(t, s, "GET", somePath)
				told.Store(r.Header().Get("Retry-After"), r.Code)
			})
		}
		wg.Wait()
		n := 0
		told.Range(func(any, any) bool { n++; return true })
		if n < 2 {
			t.Error("all are told the same")
		}
	})
}

// What is cut short never ends as if it were whole, though its length be unknown and its client look gone: one that has
// only said that it sends no more looks like that, and reads on.
func TestWhatIsCutShortHasNoEnd(t *testing.T) {
	s, symbol := newDownloads(t, 0, 1)
	whole := string(gzipped(t, strings.Repeat("x", 100<<10)))
	symbol.file = lookup.File{Object: upload.Object{Size: -1}, Gzip: true, Stored: int64(len(whole)), Inflated: -1}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for text, broken := range map[string]bool{whole: false, whole[:len(whole)/2]: true} {
		symbol.text = text
		r := newReader(1 << 20)
		got := r.serve(s, httptest.NewRequestWithContext(ctx, "GET", someBinary, nil))
		if r.Code != 200 || r.Header().Get("Content-Length") != "" || got != broken {
			t.Errorf("%d bytes of %d: status %d, broken off %t", len(text), len(whole), r.Code, got)
		}
	}
}

// A slow reader is seen to read: what it takes makes room for more at once, however much the kernel would take ahead.
func TestWritesMoveAsTheirReaderDoes(t *testing.T) {
	s, symbol := newDownloads(t, 16<<20, 1)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	web := &http.Server{Handler: s, ConnContext: exchange.WithConn}
	go func() { _ = web.Serve(listener) }()
	defer web.Close()
	conn, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.(*net.TCPConn).SetReadBuffer(64 << 10); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, "GET "+somePath+" HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	ahead := int64(0)
	for last := int64(-1); ahead == 0 || ahead != last; <-time.After(200 * time.Millisecond) {
		last, ahead = ahead, symbol.read.Load()
	}
	if _, err := io.CopyN(io.Discard, conn, 256<<10); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(testenv.Patience); symbol.read.Load() == ahead; <-time.After(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("256 KiB were read; nothing follows the %d KiB that were sent ahead", ahead>>10)
		}
	}
}
