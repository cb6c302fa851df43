package headers

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"reflect"
	"strings"
	"testing"
)

// link makes a connection that b counts, and its client's side.
func link(t testing.TB, b *Budget) (client *net.TCPConn, c *conn) {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	dialled, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	accepted, err := b.Guard(new(http.Server), l).Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = accepted.Close() })
	client = dialled.(*net.TCPConn)
	t.Cleanup(func() { _ = errors.Join(client.SetLinger(0), client.Close()) }) // reset, or thousands would linger
	return client, accepted.(*conn)
}

func send(t testing.TB, client net.Conn, text string) {
	t.Helper()
	if _, err := io.WriteString(client, text); err != nil {
		t.Fatal(err)
	}
}

// read reads once, up to 4 KiB.
func read(t testing.TB, c *conn) string {
	t.Helper()
	p := make([]byte, 4<<10)
	n, err := c.Read(p)
	if err != nil {
		t.Fatalf("read: %v", err)
	}
	return string(p[:n])
}

func wantStats(t testing.TB, b *Budget, unfinished int, held, cut int64) {
	t.Helper()
	if got, want := b.Stats(), (Stats{unfinished, held, cut}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
}

func TestLines(t *testing.T) {
	for _, tc := range []struct {
		text string
		size int // of the header; 0: no end
		n    int // lines
	}{
		{"GET / HTTP/1.1\r\nHost: x\r\n\r\nbody\r\n\r\n", 27, 3},
		{"GET / HTTP/1.1\nHost: x\n\n", 24, 3},
		{"GET / HTTP/1.1\r\n\n", 17, 2},
		{"\r\n\r\nGET / HTTP/1.1\r\n\r\n", 22, 4},
		{"GET / HTTP/1.1\r\nHost: x\r\n", 0, 2},
		{"GET / HTTP/1.1\r\n \r\n", 0, 2},
		{"GET / HTTP/1.1\r\n\r", 0, 1},
		{"\n\n\n", 0, 3},
		{"", 0, 0},
	} {
		for cut := range len(tc.text) + 1 {
			var l lines
			size := l.end([]byte(tc.text[:cut]))
			if size == 0 {
				if size = l.end([]byte(tc.text[cut:])); size > 0 {
					size += cut
				}
			}
			if size != tc.size || l.n != tc.n {
				t.Errorf("%q in two, at %d: %d bytes, %d lines, want %d, %d", tc.text, cut, size, l.n, tc.size, tc.n)
			}
		}
	}
}

// Nearly every header comes in one piece, with what follows.
func TestAHeaderInOnePieceIsPassedOn(t *testing.T) {
	b := &Budget{Limit: 1}
	client, c := link(t, b)
	text := "POST / HTTP/1.1\r\nHost: x\r\n\r\nbody"
	send(t, client, text)
	if got := read(t, c); got != text {
		t.Errorf("read %q", got)
	}
	wantStats(t, b, 0, 0, 0)
}

// The first line is passed on at once: it may be malformed, or all that net/http waits for.
func TestTheRestOfAHeaderIsHeldBack(t *testing.T) {
	var b Budget
	client, c := link(t, &b)
	send(t, client, "GET / HTTP/1.1\r\nHost: x\r\n")
	if got := read(t, c); got != "GET / HTTP/1.1\r\n" {
		t.Errorf("the first line is %q", got)
	}
	wantStats(t, &b, 1, connCost+pieceCost+9, 0)
	send(t, client, "A: b\r\n\r\nbody")
	if got := read(t, c); got != "Host: x\r\nA: b\r\n\r\nbody" {
		t.Errorf("the rest is %q", got)
	}
	wantStats(t, &b, 0, 0, 0)

	watch(c, http.StateActive)
	watch(c, http.StateIdle)
	for i, first := range []string{"\r", "\n", "G", "ET"} {
		send(t, client, first)
		if got := read(t, c); got != first {
			t.Errorf("piece %d is %q", i, got)
		}
	}
	send(t, client, " / HTTP/1.1\r\n\r\n")
	if got := read(t, c); got != " / HTTP/1.1\r\n\r\n" {
		t.Errorf("the rest is %q", got)
	}
}

// The end of a stream within a header is reported at once.
func TestATruncatedHeader(t *testing.T) {
	var b Budget
	client, c := link(t, &b)
	send(t, client, "GET / HTTP/1.1\r\nHost: x\r\n")
	if err := client.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	read(t, c)
	if n, err := c.Read(make([]byte, 100)); n != 0 || !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("%d, %v", n, err)
	}
	watch(c, http.StateClosed)
	wantStats(t, &b, 0, 0, 0)
}

func TestTheSlowestIsClosedFirst(t *testing.T) {
	const text, kept = "GET / HTTP/1.1\r\nHost: x\r\n", pieceCost + 9
	b := &Budget{Limit: 3 * (connCost + kept)}
	clients, conns := make([]net.Conn, 5), make([]*conn, 5)
	for i := range conns {
		clients[i], conns[i] = link(t, b)
	}
	// The age of a connection does not matter: the last one that connected begins first.
	for _, i := range []int{4, 0, 1, 2} {
		send(t, clients[i], text)
		read(t, conns[i])
	}
	wantStats(t, b, 3, 3*(connCost+kept), 1)
	if _, err := clients[4].Read(make([]byte, 1)); err == nil {
		t.Error("the first to begin is not closed")
	}
	if _, err := conns[4].Read(make([]byte, 1)); err == nil {
		t.Error("more is read of a header that is not kept")
	}

	// A large one takes the room of two, also of those that make progress; it is the last to go.
	send(t, clients[0], "A: b\r\n\r\n")
	if got := read(t, conns[0]); got != "Host: x\r\nA: b\r\n\r\n" {
		t.Errorf("the rest of the first is %q", got)
	}
	send(t, clients[3], "GET / HTTP/1.1\r\nA: "+strings.Repeat("a", 4<<10-30))
	read(t, conns[3])
	send(t, clients[3], strings.Repeat("a", 4*connCost)+"\r\n\r\n")
	if _, err := conns[3].Read(make([]byte, 4<<10)); !errors.Is(err, net.ErrClosed) {
		t.Errorf("a header that is larger than all room: %v", err)
	}
	wantStats(t, b, 0, 0, 4)
	for i := range conns {
		watch(conns[i], http.StateClosed)
	}
	wantStats(t, b, 0, 0, 4)
}

// Closing a connection ends a Read that waits for a header.
func TestAClosedConnectionIsWokenUp(t *testing.T) {
	b := &Budget{Limit: connCost + 100}
	client, c := link(t, b)
	send(t, client, "GET / HTTP/1.1\r\n")
	read(t, c)
	ended := make(chan error)
	go func() {
		_, err := c.Read(make([]byte, 100))
		ended <- err
	}()
	client, second := link(t, b)
	send(t, client, "GET / HTTP/1.1\r\n")
	read(t, second)
	if err := <-ended; err == nil {
		t.Error("it was read from")
	}
	wantStats(t, b, 1, connCost, 1)
}

// requests reads r like net/http, with a buffer of size bytes, and returns what came.
func requests(r io.Reader, size int, state func(http.ConnState)) (list []string) {
	buffer := bufio.NewReaderSize(r, size)
	for {
		req, err := http.ReadRequest(buffer)
		state(http.StateActive)
		if err != nil {
			return append(list, "an error")
		}
		body, err := io.ReadAll(req.Body)
		list = append(list, fmt.Sprintf("%s %s %s %q %q %v %v", req.Method, req.RequestURI, req.Proto, req.Header, body, req.Trailer, err != nil))
		if err != nil {
			return list
		}
		state(http.StateIdle)
		if _, err := buffer.Peek(firstBytes); err != nil {
			return list
		}
	}
}

// checkStream compares the reading of a stream with and without a Budget.
func checkStream(t *testing.T, stream []byte, size int) {
	t.Helper()
	var b Budget
	client, c := link(t, &b)
	go func() {
		_, _ = client.Write(stream)
		_ = client.CloseWrite()
	}()
	got := requests(c, size, func(s http.ConnState) { watch(c, s) })
	if want := requests(bytes.NewReader(stream), size, func(http.ConnState) {}); !reflect.DeepEqual(got, want) {
		t.Errorf("%q by %d bytes:\n%q\nwant\n%q", stream, size, got, want)
	}
	watch(c, http.StateClosed)
	wantStats(t, &b, 0, 0, 0)
}

var streamParts = []string{
	"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "GET /a HTTP/1.0\nConnection: keep-alive\nX: y\n\n", "\r\n", "\n", "\r", "GET", " ", "A: b\r\n", "a:\n", " folded\r\n",
	"POST /p HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello", "POST /p HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\n\r\n\r\n",
	"PUT /c HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nTrailer: T\r\n\r\n3\r\nabc\r\n0\r\nT: v\r\n\r\n",
	"GET /" + strings.Repeat("long/", 2000) + " HTTP/1.1\r\nHost: x\r\n\r\n", "GET /h HTTP/1.1\r\nHost: x\r\n" + strings.Repeat("A: "+strings.Repeat("b", 90)+"\r\n", 100) + "\r\n",
}

// A header may be followed by the body, the next request, or its beginning.
func TestStreamsAreReadAsWithoutABudget(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		var stream []byte
		for range 1 + random.IntN(6) {
			stream = append(stream, streamParts[random.IntN(len(streamParts))]...)
		}
		t.Run("", func(t *testing.T) { checkStream(t, stream, 16+random.IntN(1+random.IntN(4081))) })
	}
}

func FuzzStream(f *testing.F) {
	for i, part := range streamParts {
		f.Add([]byte(part+streamParts[(i+1)%len(streamParts)]), uint16(i*100))
	}
	f.Fuzz(func(t *testing.T, stream []byte, size uint16) {
		if bytes.Count(stream, []byte("\n")) > MaxLines || len(stream) > MaxBytes {
			return // refused only with a Budget
		}
		checkStream(t, stream, 16+int(size%4081))
	})
}
