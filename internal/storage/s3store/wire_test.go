package s3store

import (
	"context"
	"encoding/pem"
	"errors"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
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

// parts are Options that send bodies above S3's least part size in parts.
var parts = Options{maxWhole: 6 << 20, partSize: 5 << 20, slice: 5 << 20, maxBackoff: 10 * time.Millisecond}

func TestParts(t *testing.T) {
	for name, d := range map[string]struct {
		server, url string
		front       func(testing.TB, testenv.S3Server) string
	}{
		"versitygw":    {server: "versitygw"},
		"MinIO":        {server: "minio"},
		"Backblaze B2": {"minio", "?checksum=md5", testenv.Backblaze},
		"Ceph":         {"minio", "?checksum=none", testenv.OldCeph},
	} {
		t.Run(name, func(t *testing.T) {
			server := servers[d.server](t)
			endpoint := server.Endpoint
			if d.front != nil {
				endpoint = d.front(t, server)
			}
			testParts(t, server, openAs(t, server, endpoint, d.url, parts))
		})
	}
}

func testParts(t *testing.T, server testenv.S3Server, s *Store) {
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
		if err := age(t.Context(), open(t, server, server.Endpoint, Options{}).client, server, *s.key(loc), old); err != nil {
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

	// A decompressor's error for a short input is not the end of the body.
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
	if names, err := leftovers(server); err != nil || len(names) > 0 {
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

// accepting starts a server that accepts everything unchecked.
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
	const unsigned = "UNSIGNED-PAYLOAD"
	for checksum, want := range map[string]map[string]string{
		"crc32": {"X-Amz-Content-Sha256": unsigned, "X-Amz-Checksum-Crc32": "y/Q5Jg=="}, // cbf43926, the check value of CRC-32
		"md5":   {"X-Amz-Content-Sha256": unsigned, "Content-Md5": "JfnnlDI7RTiF9RgfG2JNCw=="},
		"none":  {"X-Amz-Content-Sha256": "15e2b0d3c33891ebb0f1ef609ec419420c20e320ce94c65fbc8c3312448eb225"},
	} {
		t.Run(checksum, func(t *testing.T) {
			var got http.Header
			var path string
			server := accepting(t, func(r *http.Request, n int64) {
				if r.Method == http.MethodPut {
					got, path = r.Header.Clone(), r.URL.Path
				}
			})
			s := openAs(t, server, server.Endpoint, "?checksum="+checksum, Options{})
			loc := storagetest.Location(t, "firefox.pdb/44e4ec8c2f41492b9369d6b9a059577c2/firefox.sym")
			c := storagetest.Content{Data: []byte("123456789"), Object: upload.Object{Size: 12, MD5: upload.MD5{0xab}, Gzip: true}}
			c.Put(t, s, loc)
			maps.Copy(want, map[string]string{
				"Content-Length": "9", "Content-Type": "text/plain", "Content-Encoding": "gzip", "Accept-Encoding": "identity",
				"X-Amz-Meta-Original_size": "12", "X-Amz-Meta-Original_md5_hash": "ab000000000000000000000000000000",
			})
			if signed := got.Get("Authorization"); !strings.Contains(signed, "x-amz-meta-original_size") || strings.Contains(signed, "accept-encoding") {
				t.Errorf("signed are %s", signed)
			}
			for _, name := range []string{"Authorization", "User-Agent", "Amz-Sdk-Invocation-Id", "Amz-Sdk-Request", "X-Amz-Date"} {
				got.Del(name)
			}
			flat := map[string]string{}
			for name := range got {
				flat[name] = got.Get(name)
			}
			if diff := cmp.Diff(want, flat); diff != "" {
				t.Errorf("header differs (-want +got):\n%s", diff)
			}
			if want := "/symbols/v1/firefox.pdb/44E4EC8C2F41492B9369D6B9A059577C2/firefox.sym"; path != want {
				t.Errorf("path %s; want %s", path, want)
			}
		})
	}
}

// Without a checksum in the URL, the SDK's own setting counts.
func TestChecksumSetting(t *testing.T) {
	for _, c := range []struct {
		url, env string
		want     storage.Checksum
	}{
		{"", "", storage.CRC32}, {"", "when_supported", storage.CRC32}, {"", "when_required", storage.MD5},
		{"?checksum=crc32", "when_required", storage.CRC32}, {"?checksum=none", "when_required", storage.NoChecksum}, {"?checksum=md5", "", storage.MD5},
	} {
		t.Setenv("AWS_REQUEST_CHECKSUM_CALCULATION", c.env)
		s := openAs(t, testenv.S3Server{Bucket: "symbols", Region: "us-east-1"}, "http://127.0.0.1:1", c.url, Options{})
		if s.checksum != c.want {
			t.Errorf("%q with %q: %s; want %s", c.url, c.env, s.checksum, c.want)
		}
	}
}

// A server that ignores checksums must not take a wrong body for a whole one.
func TestWrongBodyIsNeverSentWhole(t *testing.T) {
	for i, size := range []int{0, 1, 2, small, large, 0, 1, 2, small, large, 0, 1, 2, small, large} {
		var requests, most atomic.Int64
		server := accepting(t, func(_ *http.Request, n int64) {
			requests.Add(1)
			most.Store(max(most.Load(), n))
		})
		s := openAs(t, server, server.Endpoint, "?checksum="+[]string{"crc32", "md5", "none"}[i/5], quick)
		c := storagetest.Random(1, size)
		c.Object.Gzip = true
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
