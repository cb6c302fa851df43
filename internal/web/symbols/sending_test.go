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
	"strconv"
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

// oneSymbol has one file under every name, but "missing" and "moved".
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
	return lookup.Found{Moved: q.File == "moved"}, nil
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
func newDownloads(t *testing.T, size, slots int) (site, *oneSymbol) {
	symbol := &oneSymbol{file: lookup.File{Stored: int64(size), Inflated: int64(size)}, text: strings.Repeat("x", size)}
	r := exchange.New(t.Context(), exchange.Config{Logger: slog.New(slog.DiscardHandler), Now: time.Now})
	s, e := New(r, Config{Finder: symbol, MaxDownloads: slots}), echo.New()
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

// Readers that hold every slot for as long as they like keep no other from its answer: what needs no body needs no slot, and they are cut off
// once another download waits for theirs.
func TestSlowReadersKeepNoOtherOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, symbol := newDownloads(t, 4<<20, 0)
		var wg sync.WaitGroup
		var cut atomic.Int64
		for i := range MaxDownloads {
			wg.Go(func() {
				if newReader(1<<10).ask(t, s, "GET", []string{somePath, someBinary}[i%2]) {
					cut.Add(1)
				}
			})
		}
		<-time.After(2 * time.Minute)
		if n := symbol.open.Load(); n != MaxDownloads || cut.Load() != 0 {
			t.Fatalf("%d are read, %d were cut off while none waited", n, cut.Load())
		}
		start := time.Now()
		for _, x := range []struct {
			status       int
			method, path string
			fields       []string
		}{
			{200, "HEAD", somePath, nil},
			{200, "HEAD", someBinary, nil},
			{302, "GET", "/moved/AB/app.pdb", nil},
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
		for r.ask(t, s, "GET", somePath, "If-None-Match", `"another"`); r.Code == 503 && time.Since(start) < sendStall+sendPieceTime; r.ask(t, s, "GET", somePath) {
			wait, err := strconv.Atoi(r.Header().Get("Retry-After"))
			if err != nil {
				t.Fatal(err)
			}
			<-time.After(time.Duration(wait) * time.Second)
			r = newReader(10 << 20)
		}
		if r.Code != 200 || r.Body.Len() != 4<<20 {
			t.Errorf("status %d, %d bytes", r.Code, r.Body.Len())
		}
		wg.Wait()
		if cut.Load() != MaxDownloads || symbol.most.Load() != MaxDownloads || symbol.open.Load() != 0 {
			t.Errorf("%d were cut off, %d were read at once, %d are left", cut.Load(), symbol.most.Load(), symbol.open.Load())
		}
	})
}

// While others wait, a piece has its time, and not each write of it.
func TestPiecesWhileOthersWait(t *testing.T) {
	crowded, set := false, make(map[time.Duration]int)
	d := &sendDeadline{crowded: func() bool { return crowded }, set: func(wait time.Duration) { set[wait]++ }}
	for _, crowded = range []bool{false, true, false} {
		for range 2 * sendPiece / (32 << 10) {
			d.extend(32 << 10)
		}
	}
	if set[sendStall] != 4*sendPiece/(32<<10) || set[sendPieceTime] != 2 || len(set) != 2 {
		t.Errorf("%v", set)
	}
}

// A reader that is fast enough is not cut off; a download that finds no slot is told to come again, and not that it is its own fault.
func TestDownloadsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, symbol := newDownloads(t, 4<<20, 3)
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() {
				if r := newReader(sendPiece / 10 * 5 / 4); r.ask(t, s, "GET", somePath) || r.Body.Len() != 4<<20 {
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

// Slots are crowded for as long as a download waits, and for a window after.
func TestAWaitIsRemembered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := newDownloads(t, 1, 1)
		sending := &s.sending
		leave, err := sending.enter(t.Context())
		if err != nil || sending.crowded() {
			t.Fatalf("%v; crowded: %t", err, sending.crowded())
		}
		defer leave()
		if _, err := sending.enter(t.Context()); !errors.Is(err, upload.ErrBusy) {
			t.Fatal(err)
		}
		<-time.After(crowdedWindow - time.Second)
		if !sending.crowded() {
			t.Error("forgotten too early")
		}
		<-time.After(time.Second)
		if sending.crowded() {
			t.Error("remembered for too long")
		}
	})
}

// Clients that found no slot together do not come back together.
func TestClientsWithoutASlotComeBackApart(t *testing.T) {
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

func TestDownloadsLeaveFilesToOthers(t *testing.T) {
	for files, want := range map[uint64]int{0: 1, 3: 1, 256: 64, 1024: 256, 1 << 20: 256, 1<<64 - 1: 256} {
		if got := downloadsWithin(files); got != want {
			t.Errorf("%d files: %d downloads, want %d", files, got, want)
		}
	}
}
