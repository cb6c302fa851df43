package fetch_test

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"tecken-upload/internal/fetch"
	"tecken-upload/internal/fetch/fetchtest"
)

const tag = `"v1"`

// breaking serves content and breaks off each answer after piece bytes.
type breaking struct {
	content []byte
	piece   int
	asked   atomic.Int32
	// first and rest may change an answer before it is sent; rest returns false if it has sent its own.
	first func(w http.ResponseWriter)
	rest  func(w http.ResponseWriter, r *http.Request) bool
}

func (b *breaking) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("ETag", tag)
	if b.asked.Add(1) == 1 && b.first != nil {
		b.first(w)
	} else if b.asked.Load() > 1 && b.rest != nil && !b.rest(w, r) {
		return
	}
	http.ServeContent(&cut{ResponseWriter: w, left: b.piece}, r, "", time.Time{}, bytes.NewReader(b.content))
}

// cut ends the connection after so many bytes.
type cut struct {
	http.ResponseWriter
	left int
}

func (c *cut) Write(p []byte) (int, error) {
	n, err := c.ResponseWriter.Write(p[:min(c.left, len(p))])
	if c.left -= n; c.left == 0 || err != nil {
		_ = http.NewResponseController(c.ResponseWriter).Flush()
		panic(http.ErrAbortHandler)
	}
	return n, err
}

func TestABrokenTransferIsTakenUp(t *testing.T) {
	quiet(t)
	content := random(limit)
	for pieces, ok := range map[int]bool{2: true, 6: true, 7: false} {
		b := &breaking{content: content, piece: limit/pieces + 1}
		s := fetchtest.NewServer(t, b)
		g := download(t.Context(), s.Client(), s.At("/x?sig=hunter2"))
		if ok && (g.err != nil || !bytes.Equal(g.content, content)) {
			t.Errorf("in %d pieces: %d bytes, %v", pieces, len(g.content), g.err)
		}
		if !ok {
			wantFailure(t, g.err, fetch.ErrUnreachable, "broke off the transfer")
		}
		if !bytes.HasPrefix(content, g.content) {
			t.Errorf("in %d pieces: spliced", pieces)
		}
		if n := int(b.asked.Load()); n != min(pieces, 6) {
			t.Errorf("in %d pieces: asked %d times", pieces, n)
		}
	}
}

// One failure in between does not fail the fetch.
func TestAServerThatFailsInBetween(t *testing.T) {
	quiet(t)
	content := random(limit)
	b := &breaking{content: content, piece: limit/2 + 1}
	b.rest = func(w http.ResponseWriter, _ *http.Request) bool {
		switch b.asked.Load() {
		case 2:
			w.WriteHeader(http.StatusBadGateway)
			return false
		case 3:
			panic(http.ErrAbortHandler)
		}
		return true
	}
	s := fetchtest.NewServer(t, b)
	if g := download(t.Context(), s.Client(), s.At("/x")); g.err != nil || !bytes.Equal(g.content, content) {
		t.Errorf("%d bytes, %v", len(g.content), g.err)
	}
}

// Bytes are appended only if they are proven to be the rest of the same archive.
func TestWhatIsNoRest(t *testing.T) {
	quiet(t)
	const size = limit - 1000
	content := random(size)
	const piece = size/2 + 1
	part := func(start, end, total int, etag string, body []byte) func(http.ResponseWriter, *http.Request) bool {
		return func(w http.ResponseWriter, _ *http.Request) bool {
			w.Header().Set("ETag", etag)
			w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", start, end, total))
			w.WriteHeader(http.StatusPartialContent)
			_, _ = w.Write(body)
			return false
		}
	}
	status := func(code int) func(http.ResponseWriter, *http.Request) bool {
		return func(w http.ResponseWriter, _ *http.Request) bool { w.WriteHeader(code); return false }
	}
	rest := content[piece:]
	for name, tc := range map[string]struct {
		first func(w http.ResponseWriter)
		rest  func(w http.ResponseWriter, r *http.Request) bool
		kind  error
		asked int32
	}{
		"no ETag":        {func(w http.ResponseWriter) { w.Header().Del("ETag") }, nil, fetch.ErrUnreachable, 1},
		"a weak ETag":    {func(w http.ResponseWriter) { w.Header().Set("ETag", `W/"v1"`) }, nil, fetch.ErrUnreachable, 1},
		"no quoted ETag": {func(w http.ResponseWriter) { w.Header().Set("ETag", `v1`) }, nil, fetch.ErrUnreachable, 1},
		"two ETags":      {func(w http.ResponseWriter) { w.Header()["Etag"] = []string{tag, `"v2"`} }, nil, fetch.ErrUnreachable, 1},
		"another version now": {nil, func(w http.ResponseWriter, _ *http.Request) bool {
			w.Header().Set("ETag", `"v2"`)
			return true
		}, fetch.ErrUnreachable, 2},
		"ranges ignored": {nil, func(w http.ResponseWriter, r *http.Request) bool {
			r.Header.Del("Range")
			return true
		}, fetch.ErrUnreachable, 2},
		"a part of another version": {nil, part(piece, size-1, size, `"v2"`, rest), fetch.ErrUnreachable, 2},
		"a part without a version":  {nil, part(piece, size-1, size, "", rest), fetch.ErrUnreachable, 2},
		"a wrong start":             {nil, part(piece-1, size-1, size, tag, content[piece-1:]), fetch.ErrUnreachable, 2},
		"the start of it all":       {nil, part(0, size-1, size, tag, content), fetch.ErrUnreachable, 2},
		"a wrong end":               {nil, part(piece, size-2, size, tag, rest[:len(rest)-1]), fetch.ErrUnreachable, 2},
		"another total":             {nil, part(piece, size-2, size-1, tag, rest[:len(rest)-1]), fetch.ErrUnreachable, 2},
		"a total over the limit":    {nil, part(piece, limit, limit+1, tag, append(rest[:len(rest):len(rest)], 0)), fetch.ErrTooLarge, 2},
		"more than it says":         {nil, part(piece, size-1, size, tag, append(rest[:len(rest):len(rest)], 0)), fetch.ErrUnreachable, 2},
		"less than it says":         {nil, part(piece, size-1, size, tag, rest[:len(rest)-1]), fetch.ErrUnreachable, 3},
		"negative":                  {nil, part(piece, -1, size, tag, rest), fetch.ErrUnreachable, 2},
		"no range": {nil, func(w http.ResponseWriter, _ *http.Request) bool {
			w.WriteHeader(http.StatusPartialContent)
			_, _ = w.Write(rest)
			return false
		}, fetch.ErrUnreachable, 2},
		"a redirect": {nil, func(w http.ResponseWriter, _ *http.Request) bool {
			w.Header().Set("Location", "/elsewhere")
			w.WriteHeader(http.StatusFound)
			return false
		}, fetch.ErrUnreachable, 2},
		"unsatisfiable":  {nil, status(416), fetch.ErrUnreachable, 2},
		"gone":           {nil, status(404), fetch.ErrUnreachable, 2},
		"expired":        {nil, status(403), fetch.ErrUnreachable, 2},
		"too often":      {nil, status(429), fetch.ErrUnreachable, 6},
		"always failing": {nil, status(500), fetch.ErrUnreachable, 6},
	} {
		t.Run(name, func(t *testing.T) {
			b := &breaking{content: content, piece: piece, first: tc.first, rest: tc.rest}
			s := fetchtest.NewServer(t, b)
			g := download(t.Context(), s.Client(), s.At("/x?sig=hunter2"))
			sentence := map[error]string{fetch.ErrUnreachable: "broke off the transfer", fetch.ErrTooLarge: "larger"}[tc.kind]
			wantFailure(t, g.err, tc.kind, sentence)
			if !bytes.HasPrefix(content, g.content[:min(len(g.content), size)]) {
				t.Error("spliced")
			}
			if n := b.asked.Load(); n != tc.asked {
				t.Errorf("asked %d times, want %d", n, tc.asked)
			}
		})
	}
}

// The length of a chunked answer is unknown until its rest declares it.
func TestABrokenTransferOfUnknownLength(t *testing.T) {
	quiet(t)
	content := random(limit)
	var asked atomic.Int32
	s := fetchtest.NewServer(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("ETag", tag)
		if asked.Add(1) == 1 {
			_, _ = w.Write(content[:limit/2])
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		}
		if r.Header.Get("If-Range") != tag {
			t.Errorf("asked for the rest if it is %q", r.Header.Get("If-Range"))
		}
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(content))
	}))
	if g := download(t.Context(), s.Client(), s.At("/x")); g.err != nil || !bytes.Equal(g.content, content) {
		t.Errorf("%d bytes, %v", len(g.content), g.err)
	}
}

// raw answers with the texts given, one for each request, and cuts the connection after each.
func raw(t *testing.T, answers ...string) (s *fetchtest.Server, asked *atomic.Int32) {
	asked = new(atomic.Int32)
	return fetchtest.NewServer(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		if n := int(asked.Add(1)); n <= len(answers) {
			_, _ = io.WriteString(conn, answers[n-1])
		}
		_ = conn.(*tls.Conn).NetConn().Close()
	})), asked
}

// The end of an archive is declared, or confirmed: a broken connection is not the end.
func TestEnds(t *testing.T) {
	quiet(t)
	const (
		ok     = "HTTP/1.1 200 OK\r\nETag: \"v1\"\r\n"
		rest   = "HTTP/1.1 206 Partial Content\r\nETag: \"v1\"\r\nContent-Range: bytes 4-7/8\r\n"
		noRest = "HTTP/1.1 416 Range Not Satisfiable\r\nContent-Length: 0\r\n"
	)
	for name, tc := range map[string]struct {
		answers []string
		content string // empty: it breaks off
	}{
		"cut, no length":              {[]string{ok + "\r\nhalf", rest + "Content-Length: 4\r\n\r\nhalf"}, "halfhalf"},
		"all, no length":              {[]string{ok + "\r\nhalf", noRest + "ETag: \"v1\"\r\nContent-Range: bytes */4\r\n\r\n"}, "half"},
		"all, chunks without an end":  {[]string{ok + "Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n", noRest + "ETag: \"v1\"\r\nContent-Range: bytes */4\r\n\r\n"}, "half"},
		"all, a rest without an end":  {[]string{ok + "Content-Length: 8\r\n\r\nhalf", rest + "Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n"}, "halfhalf"},
		"no rest, but there is one":   {[]string{ok + "\r\nhalf", noRest + "ETag: \"v1\"\r\nContent-Range: bytes */5\r\n\r\n"}, ""},
		"no rest, of another version": {[]string{ok + "\r\nhalf", noRest + "ETag: \"v2\"\r\nContent-Range: bytes */4\r\n\r\n"}, ""},
		"no rest, of no version":      {[]string{ok + "\r\nhalf", noRest + "Content-Range: bytes */4\r\n\r\n"}, ""},
		"no rest, of nothing":         {[]string{ok + "\r\nhalf", noRest + "ETag: \"v1\"\r\n\r\n"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			s, asked := raw(t, tc.answers...)
			g := download(t.Context(), s.Client(), s.At("/x?sig=hunter2"))
			if tc.content == "" {
				wantFailure(t, g.err, fetch.ErrUnreachable, "broke off the transfer")
			} else if g.err != nil || string(g.content) != tc.content {
				t.Errorf("got %q, %v", g.content, g.err)
			}
			if n := int(asked.Load()); n != len(tc.answers) {
				t.Errorf("asked %d times", n)
			}
		})
	}
	for _, version := range []string{"1.0", "1.1"} {
		s, _ := raw(t, "HTTP/"+version+" 200 OK\r\nConnection: close\r\n\r\nhalf")
		wantFailure(t, download(t.Context(), s.Client(), s.At("/x?sig=hunter2")).err, fetch.ErrUnreachable, "does not say where the archive ends.")
	}
}

// A download that is closed while it waits to resume, or midway, leaves nothing.
func TestClose(t *testing.T) {
	quiet(t)
	s := fetchtest.NewServer(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "PK")
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	}))
	for range 5 {
		d, err := s.Client().Download(s.At("/"))
		if err != nil {
			t.Fatal(err)
		}
		if err := d.Open(t.Context(), limit); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(d, make([]byte, 2)); err != nil {
			t.Fatal(err)
		}
		if err := d.Close(); err != nil {
			t.Error(err)
		}
		if _, err := d.Read(make([]byte, 1)); err == nil || errors.Is(err, io.EOF) {
			t.Errorf("read after the end: %v", err)
		}
	}
}
