package s3store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/google/go-cmp/cmp"

	"tecken-upload/internal/storage"
	"tecken-upload/internal/storage/storagetest"
	"tecken-upload/internal/testenv"
	"tecken-upload/internal/upload"
)

// An object is moved with its metadata, in parts if it is large.
func TestSetAsideWithMetadata(t *testing.T) {
	server := testenv.S3(t)
	s := open(t, server, server.Endpoint, parts)
	for key, size := range map[string]int{"small/1/small.sym": small, "large/1/large.sym": 12 << 20, "empty/1/empty.sym": 0} {
		loc, c := storagetest.Location(t, key), storagetest.Random(uint64(size), size)
		c.Object.Gzip = true
		c.Put(t, s, loc)
		if err := s.SetAside(t.Context(), loc, storagetest.Version(t, s, loc)); err != nil {
			t.Fatalf("%s: %v", key, err)
		}
		head, err := s.client.HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: &s.bucket, Key: aws.String("broken/v1/" + key)})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(storage.Metadata(c.Object), head.Metadata); diff != "" {
			t.Errorf("%s: metadata differ (-want +got):\n%s", key, diff)
		}
		if got := aws.ToString(head.ContentEncoding) + " " + aws.ToString(head.ContentType); got != "gzip text/plain" || aws.ToInt64(head.ContentLength) != int64(size) {
			t.Errorf("%s: %d bytes, %s", key, aws.ToInt64(head.ContentLength), got)
		}
	}
	checkNoParts(t, server)
}

// between opens the server's bucket, and calls a function before the n-th request of a method.
func between(t *testing.T, server testenv.S3Server, method string, n int, do func()) *Store {
	t.Helper()
	return open(t, server, testenv.HoldS3(t, server.Endpoint, func(r *http.Request) bool {
		if r.Method == method {
			if n--; n == 0 {
				do()
			}
		}
		return false
	}), quick)
}

// An object stored while the former one is being moved stays, at any moment of the move.
func TestSetAsideReplaced(t *testing.T) {
	server := testenv.S3(t)
	direct := open(t, server, server.Endpoint, Options{})
	loc, fresh := storagetest.Location(t, "a.pdb/1/a.sym"), storagetest.Random(2, small)
	for name, c := range map[string]struct {
		method string
		n      int
	}{
		"before the look": {http.MethodHead, 1}, "before the copy": {http.MethodPut, 1},
		"before the second look": {http.MethodHead, 2}, "before the end": {http.MethodDelete, 1},
	} {
		t.Run(name, func(t *testing.T) {
			storagetest.Random(1, small).Put(t, direct, loc)
			s := between(t, server, c.method, c.n, func() { fresh.Put(t, direct, loc) })
			if err := s.SetAside(t.Context(), loc, storagetest.Version(t, direct, loc)); !errors.Is(err, storage.ErrChanged) || errors.Is(err, upload.ErrUnavailable) {
				t.Errorf("set aside: %v; want ErrChanged", err)
			}
			fresh.Check(t, direct, loc)
		})
	}
}

// A process that dies between the copy and the end leaves both; the next one does the rest.
func TestKilledSettingAside(t *testing.T) {
	server := testenv.S3(t)
	direct := open(t, server, server.Endpoint, Options{})
	loc, c := storagetest.Location(t, "a.pdb/1/a.sym"), storagetest.Random(1, small)
	c.Put(t, direct, loc)
	killed := errors.New("killed")
	ctx, cancel := context.WithCancelCause(t.Context())
	s := open(t, server, testenv.HoldS3(t, server.Endpoint, func(r *http.Request) bool {
		if r.Method == http.MethodDelete {
			cancel(killed)
			return true
		}
		return false
	}), quick)
	if err := s.SetAside(ctx, loc, storagetest.Version(t, direct, loc)); !errors.Is(err, killed) {
		t.Fatalf("set aside: %v; want the context's cause", err)
	}
	c.Check(t, direct, loc)
	copied := filepath.Join(server.Dir, storage.BrokenKey(loc))
	if data, err := os.ReadFile(copied); err != nil || !bytes.Equal(data, c.Data) {
		t.Errorf("the copy has %d bytes, %v", len(data), err)
	}
	if err := direct.SetAside(t.Context(), loc, storagetest.Version(t, direct, loc)); err != nil {
		t.Errorf("again: %v", err)
	}
	if _, err := direct.Stat(t.Context(), loc); !errors.Is(err, upload.ErrNotFound) {
		t.Errorf("stat: %v; want ErrNotFound", err)
	}
}

// Bytes that do not match storage's checksum are read: they are what is compared.
func TestOpenOfChangedBytes(t *testing.T) {
	server := testenv.S3(t)
	s := open(t, server, server.Endpoint, Options{})
	loc, c := storagetest.Location(t, "a.pdb/1/a.sym"), storagetest.Random(1, small)
	c.Put(t, s, loc)
	c.Data[10]++
	if err := os.WriteFile(filepath.Join(server.Dir, storage.ObjectKey(loc)), c.Data, 0o600); err != nil {
		t.Fatal(err)
	}
	r, err := s.Open(t.Context(), loc)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if data, err := io.ReadAll(r); err != nil || !bytes.Equal(data, c.Data) {
		t.Errorf("read %d bytes, %v", len(data), err)
	}
}

// Only symbol files are listed, whatever else is in the bucket.
func TestListWhatIsNotOurs(t *testing.T) {
	server := testenv.S3(t)
	s := open(t, server, server.Endpoint, Options{page: 2})
	storagetest.Random(1, small).Put(t, s, storagetest.Location(t, "b/1/b"))
	for _, key := range []string{"a", "v1/a", "v1/b/1/not#ours", "v1/b/1/c/d", "v1/b/x/b", "v1/b/1/.b.meta", "broken/v1/b/1/b", "try/b/1/b"} {
		if _, err := s.client.PutObject(t.Context(), &s3.PutObjectInput{Bucket: &s.bucket, Key: &key, Body: bytes.NewReader(nil)}); err != nil {
			t.Fatal(err)
		}
	}
	if keys, err := list(t, s); err != nil || !slices.Equal(keys, []string{"v1/b/1/b"}) {
		t.Errorf("listed %q, %v", keys, err)
	}
}

// list returns all listed object keys and the final error.
func list(t *testing.T, s *Store) (keys []string, last error) {
	t.Helper()
	for entry, err := range s.List(t.Context(), "", "") {
		if last = err; err == nil {
			keys = append(keys, storage.ObjectKey(entry.Location))
		}
	}
	return keys, last
}

// Amazon's S3 escapes the keys in its listings, since XML can't hold every key.
func TestListOfEscapedKeys(t *testing.T) {
	var query string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		query = r.URL.Query().Get("encoding-type")
		fmt.Fprint(w, `<?xml version="1.0" encoding="UTF-8"?><ListBucketResult><EncodingType>url</EncodingType><IsTruncated>false</IsTruncated>
			<Contents><Key>v1/a+b/0F/a%2Bb%26c.sym</Key><Size>7</Size></Contents>
			<Contents><Key>v1/T%C3%A9st/0F/T%C3%A9st.sym</Key><Size>7</Size></Contents>
			<Contents><Key>v1/b%01/0F/b.sym</Key><Size>7</Size></Contents>
			<Contents><Key>v1/c%zz/0F/c.sym</Key><Size>7</Size></Contents></ListBucketResult>`)
	}))
	t.Cleanup(server.Close)
	s := open(t, testenv.S3Server{Bucket: "symbols", Region: "us-east-1", Access: "a", Secret: "s"}, server.URL, quick)
	if keys, err := list(t, s); err != nil || !slices.Equal(keys, []string{"v1/a b/0F/a+b&c.sym", "v1/Tést/0F/Tést.sym"}) || query != "url" {
		t.Errorf("listed %q, %v, with the encoding %q", keys, err, query)
	}
}

func TestListUnreachable(t *testing.T) {
	server := testenv.S3(t)
	refuser := testenv.RefuseS3(t, server.Endpoint, 1000, http.StatusForbidden, "AccessDenied")
	if keys, err := list(t, open(t, server, refuser.Endpoint, quick)); len(keys) > 0 || !errors.Is(err, upload.ErrUnavailable) {
		t.Errorf("listed %q, %v; want ErrUnavailable", keys, err)
	}
}
