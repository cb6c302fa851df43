package symbols

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"

	"tecken-upload/internal/symbol"
	"tecken-upload/internal/upload"
)

// A download may take as long as it does, as long as it moves: each write has time of its own.
func TestEachWriteHasItsOwnTime(t *testing.T) {
	extended := 0
	stopping, stop := context.WithCancelCause(t.Context())
	w := &downloadWriter{ResponseWriter: httptest.NewRecorder(), payload: &payload{}, stopping: stopping, extend: func(int) { extended++ }}
	w.WriteHeader(http.StatusOK)
	for range 3 {
		if _, err := w.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	if extended != 4 {
		t.Errorf("the deadline was set %d times, want 4", extended)
	}
	stop(upload.ErrShutdown)
	if _, err := w.Write([]byte("x")); !errors.Is(err, upload.ErrShutdown) {
		t.Errorf("write while the server stops: %v", err)
	}
}

func TestARedirectKeepsTheQuery(t *testing.T) {
	for sent, want := range map[string]string{
		"":                    "",
		"?":                   "",
		"?try&_refresh":       "?try&_refresh",
		"?b=1&a=+%0d;c=%zz":   "?b=1&a=+%0d;c=%zz",
		"?a#b":                "?a%23b",
		"?a=\"<\xc3\xbc\x80>": "?a=%22%3C%C3%BC%80%3E",
	} {
		r, err := http.ReadRequest(bufio.NewReader(strings.NewReader("GET /x/y/z" + sent + " HTTP/1.1\r\nHost: x\r\n\r\n")))
		if err != nil {
			t.Fatal(err)
		}
		key, err := symbol.NewKey("a", "B", "c")
		if err != nil {
			t.Fatal(err)
		}
		if got := ownAddress(r, key); got != "../../a/B/c"+want {
			t.Errorf("%q: %q", sent, got)
		}
	}
	for _, query := range []string{"a\rb", "a\nb", "a\r\nSet-Cookie: x", "a\x00b", "a\x7fb"} {
		if got := escapeQuery(query); strings.ContainsAny(got, "\r\n\x00\x7f ") {
			t.Errorf("%q: %q", query, got)
		}
	}
}

// gzipped returns a text as gzip.
func gzipped(t *testing.T, text string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, err := io.WriteString(w, text)
	if err := errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// What is inflated is what was compressed, to the last byte: or else the answer is cut short, and the fault reported.
func TestWhatIsInflatedIsChecked(t *testing.T) {
	for _, size := range []int{2, 32<<10 - 1, 32 << 10, 64 << 10, 64<<10 + 1} {
		text := strings.Repeat("x", size)
		for _, c := range []struct {
			name  string
			at    int // the byte that is broken, from the end; 0: none
			known int // the size that is known; -1: none
			ok    bool
		}{
			{"whole", 0, size, true},
			{"whole, of unknown size", 0, -1, true},
			{"a wrong checksum", 8, size, false},
			{"a wrong checksum, of unknown size", 8, -1, false},
			{"a wrong size in the trailer", 1, size, false},
			{"longer than known", 0, size - 1, false},
			{"shorter than known", 0, size + 1, false},
		} {
			stored := gzipped(t, text)
			if c.at > 0 {
				stored[len(stored)-c.at] ^= 1
			}
			f := &inflating{stored: bytes.NewReader(stored), size: int64(c.known), slots: make(inflateSlots, 1)}
			length, err := f.Seek(0, io.SeekEnd)
			if err != nil {
				t.Fatal(err)
			}
			var sent strings.Builder
			_, err = io.CopyN(&sent, f, length) // as http.ServeContent does
			whole := sent.String() == text && (c.known >= 0 || errors.Is(err, io.EOF))
			if failed := f.failed() != nil; failed == c.ok || whole != c.ok && c.known == size {
				t.Errorf("%d bytes, %s: %d are sent, %v", size, c.name, sent.Len(), f.failed())
			}
		}
	}
}

// stalling is content that does not come until it is let.
type stalling struct {
	io.ReadSeeker
	asked chan<- struct{}
	let   <-chan struct{}
}

func (s *stalling) Read(p []byte) (int, error) {
	s.asked <- struct{}{}
	<-s.let
	return s.ReadSeeker.Read(p)
}

// A download that inflates holds a slot, except while it waits for storage.
func TestSlotsToInflate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slots := make(inflateSlots, 1)
		text := strings.Repeat("x", 100<<10)
		inflate := func(stored io.ReadSeeker) <-chan error {
			over := make(chan error, 1)
			go func() {
				_, err := io.Copy(io.Discard, &inflating{stored: stored, size: int64(len(text)), slots: slots})
				over <- err
			}()
			synctest.Wait()
			return over
		}
		asked, let := make(chan struct{}, 100), make(chan struct{})
		slow := inflate(&stalling{bytes.NewReader(gzipped(t, text)), asked, let})
		if len(asked) != 1 {
			t.Fatal("storage is not asked")
		}
		if err := <-inflate(bytes.NewReader(gzipped(t, text))); err != nil {
			t.Errorf("beside one that waits for storage: %v", err)
		}
		slots.take()
		close(let)
		waiting := inflate(bytes.NewReader(gzipped(t, text)))
		if len(slow) != 0 || len(waiting) != 0 {
			t.Error("done without a slot")
		}
		slots.release()
		if err := errors.Join(<-slow, <-waiting); err != nil {
			t.Error(err)
		}
	})
}
