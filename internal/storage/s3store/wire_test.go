package s3store

import (
	"context"
	"encoding/pem"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"

	"tecken-upload/internal/storage"
	"tecken-upload/internal/storage/storagetest"
	"tecken-upload/internal/testenv"
	"tecken-upload/internal/upload"
)

// parts are Options that send in parts what is above S3's least part size.
var parts = Options{maxWhole: 6 << 20, partSize: 5 << 20, slice: 5 << 20, maxBackoff: 10 * time.Millisecond}

func TestParts(t *testing.T) {
	server := testenv.S3(t)
	s := open(t, server, server.Endpoint, parts)
	for key, size := range map[string]int{
		"at/1/limit.sym":      6 << 20,
		"above/1/limit.sym":   6<<20 + 1,
		"whole/1/parts.sym":   10 << 20,
		"partial/1/last.sym":  12 << 20,
		"plain/1/content.pdb": 12 << 20,
	} {
		loc, c := storagetest.Location(t, key), storagetest.Random(uint64(size), size)
		c.Object.Gzip = loc.Key.IsSym()
		c.Put(t, s, loc)
		c.Check(t, s, loc)

		old := time.Now().Add(-time.Hour)
		if err := os.Chtimes(filepath.Join(server.Dir, storage.ObjectKey(loc)), old, old); err != nil {
			t.Fatal(err)
		}
		if err := s.Refresh(t.Context(), loc, c.Object); err != nil {
			t.Fatalf("refresh: %v", err)
		}
		c.Check(t, s, loc)
	}
	checkNoParts(t, server)
}

func TestPartsAreAborted(t *testing.T) {
	server := testenv.S3(t)
	s := open(t, server, server.Endpoint, parts)
	loc, c := storagetest.Location(t, "a.pdb/1/a.pdb"), storagetest.Random(1, 12<<20)

	body, done := c.Body(t)
	body.CRC32++
	if err := s.Put(t.Context(), loc, c.Object, body); !errors.Is(err, storage.ErrBody) {
		t.Errorf("put: %v; want ErrBody", err)
	}
	done()
	checkNoParts(t, server)

	// What a decompressor says of an input that ends early is not the end of the body.
	body, done = c.Body(t)
	body.Reader = struct {
		io.Reader
		io.Seeker
	}{io.MultiReader(io.LimitReader(body.Reader, 7<<20), iotest.ErrReader(io.ErrUnexpectedEOF)), body.Reader}
	if err := s.Put(t.Context(), loc, c.Object, body); !errors.Is(err, storage.ErrBody) {
		t.Errorf("put: %v; want ErrBody", err)
	}
	done()
	checkNoParts(t, server)

	cause := errors.New("the reason")
	ctx, cancel := context.WithCancelCause(t.Context())
	body, done = c.Body(t)
	body.Reader = &cancelAt{ReadSeeker: body.Reader, left: 8 << 20, cancel: func() { cancel(cause) }}
	if err := s.Put(ctx, loc, c.Object, body); !errors.Is(err, cause) {
		t.Errorf("put: %v; want the context's cause", err)
	}
	done()
	checkNoParts(t, server)

	if _, err := s.Stat(t.Context(), loc); !errors.Is(err, upload.ErrNotFound) {
		t.Errorf("stat: %v; want ErrNotFound", err)
	}
}

func checkNoParts(t *testing.T, server testenv.S3Server) {
	t.Helper()
	if names, err := leftovers(server.Dir); err != nil || len(names) > 0 {
		t.Errorf("left behind: %q, %v", names, err)
	}
}

// cancelAt calls cancel once some bytes are read.
type cancelAt struct {
	io.ReadSeeker
	left   int
	cancel func()
}

// Read implements io.Reader.
func (r *cancelAt) Read(p []byte) (int, error) {
	n, err := r.ReadSeeker.Read(p)
	if r.left -= n; r.left <= 0 {
		r.cancel()
	}
	return n, err
}

// accepting starts a server that takes whatever it is sent, and looks at nothing.
func accepting(t *testing.T, seen func(*http.Request, int64)) testenv.S3Server {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n, _ := io.Copy(io.Discard, r.Body)
		seen(r, n)
	}))
	t.Cleanup(server.Close)
	return testenv.S3Server{Endpoint: server.URL, Bucket: "symbols", Region: "us-east-1", Access: "a", Secret: "s"}
}

func TestWhatIsSent(t *testing.T) {
	var got map[string]string
	server := accepting(t, func(r *http.Request, n int64) {
		got = map[string]string{"method": r.Method, "path": r.URL.Path}
		for _, name := range []string{
			"Content-Length", "Content-Type", "Content-Encoding", "X-Amz-Content-Sha256", "X-Amz-Checksum-Crc32",
			"X-Amz-Trailer", "X-Amz-Meta-Original_size", "X-Amz-Meta-Original_md5_hash",
		} {
			got[name] = r.Header.Get(name)
		}
	})
	s := open(t, server, server.Endpoint, Options{})
	loc := storagetest.Location(t, "firefox.pdb/44e4ec8c2f41492b9369d6b9a059577c2/firefox.sym")
	c := storagetest.Content{Data: []byte("123456789"), Object: upload.Object{Size: 12, MD5: upload.MD5{0xab}, Gzip: true}}
	c.Put(t, s, loc)
	want := map[string]string{
		"method": "PUT", "path": "/symbols/v1/firefox.pdb/44E4EC8C2F41492B9369D6B9A059577C2/firefox.sym",
		"Content-Length": "9", "Content-Type": "text/plain", "Content-Encoding": "gzip",
		"X-Amz-Content-Sha256": "UNSIGNED-PAYLOAD",
		"X-Amz-Checksum-Crc32": "y/Q5Jg==", // cbf43926, the check value of CRC-32
		"X-Amz-Trailer":        "", "X-Amz-Meta-Original_size": "12",
		"X-Amz-Meta-Original_md5_hash": "ab000000000000000000000000000000",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("request differs (-want +got):\n%s", diff)
	}
}

// A server that ignores checksums must not take a wrong body for a whole one.
func TestWrongBodyIsNeverSentWhole(t *testing.T) {
	for _, size := range []int{0, 1, 2, small, large} {
		var requests, most atomic.Int64
		server := accepting(t, func(_ *http.Request, n int64) {
			requests.Add(1)
			most.Store(max(most.Load(), n))
		})
		s := open(t, server, server.Endpoint, quick)
		c := storagetest.Random(1, size)
		body, done := c.Body(t)
		body.CRC32++
		if err := s.Put(t.Context(), storagetest.Location(t, "a.pdb/1/a.pdb"), c.Object, body); !errors.Is(err, storage.ErrBody) {
			t.Errorf("%d bytes: put: %v; want ErrBody", size, err)
		}
		done()
		if n := requests.Load(); size == 0 && n > 0 || n > 1 {
			t.Errorf("%d bytes: %d requests", size, n)
		}
		if got := most.Load(); got > 0 && got >= int64(size) {
			t.Errorf("%d bytes: all were sent", size)
		}
	}
}

func TestCABundle(t *testing.T) {
	server := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	t.Cleanup(server.Close)
	env := testenv.S3Server{Bucket: "symbols", Region: "us-east-1", Access: "a", Secret: "s"}
	if err := open(t, env, server.URL, quick).Check(t.Context()); !errors.Is(err, upload.ErrUnavailable) {
		t.Errorf("check with an unknown certificate: %v; want ErrUnavailable", err)
	}
	bundle := filepath.Join(t.TempDir(), "ca.pem")
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	if err := os.WriteFile(bundle, text, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("AWS_CA_BUNDLE", bundle)
	s := open(t, env, server.URL, Options{Conns: 3})
	if err := s.Check(t.Context()); err != nil {
		t.Errorf("check: %v", err)
	}
	if got := s.transport.MaxConnsPerHost; got != 3 {
		t.Errorf("the pool has %d connections; want 3", got)
	}
}

func TestNoCredentials(t *testing.T) {
	server := testenv.S3Server{Bucket: "symbols", Region: "us-east-1"}
	s := open(t, server, "http://127.0.0.1:1", quick)
	if _, err := s.Stat(t.Context(), storagetest.Location(t, "a.pdb/1/a.pdb")); !errors.Is(err, upload.ErrUnavailable) {
		t.Errorf("stat: %v; want ErrUnavailable", err)
	}
}

func TestRegion(t *testing.T) {
	testenv.S3Server{}.Setenv(t)
	t.Setenv("AWS_REGION", "")
	t.Setenv("AWS_DEFAULT_REGION", "")
	if _, err := Open(t.Context(), storage.Config{Bucket: "symbols"}, Options{}); err == nil {
		t.Error("opened a bucket of no region")
	}
	if _, err := Open(t.Context(), storage.Config{Bucket: "symbols", Endpoint: "http://127.0.0.1:1"}, Options{}); err != nil {
		t.Errorf("open with an endpoint and no region: %v", err)
	}
	t.Setenv("AWS_REGION", "eu-central-1")
	if _, err := Open(t.Context(), storage.Config{Bucket: "symbols"}, Options{}); err != nil {
		t.Errorf("open with the environment's region: %v", err)
	}
}
