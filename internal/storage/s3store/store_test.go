package s3store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"tecken-upload/internal/storage"
	"tecken-upload/internal/storage/storagetest"
	"tecken-upload/internal/testenv"
	"tecken-upload/internal/upload"
)

// servers are the real ones.
var servers = map[string]func(testing.TB) testenv.S3Server{"versitygw": testenv.S3, "minio": testenv.MinIO}

// The suite runs against real servers, with every kind of URL, and against the restrictions of others.
func TestSuite(t *testing.T) {
	for name, d := range map[string]struct {
		server string
		url    string // changes to the server's own URL
		front  func(testing.TB, testenv.S3Server) string
	}{
		"versitygw":                              {server: "versitygw"},
		"versitygw, prefix, in the host name":    {server: "versitygw", url: "/a b/größe?path_style=false&checksum=md5"},
		"MinIO":                                  {server: "minio"},
		"MinIO, prefix, in the host name":        {server: "minio", url: "/a b/größe?path_style=false&checksum=md5"},
		"MinIO behind nginx":                     {server: "minio", url: "?checksum=none", front: nginx("underscores_in_headers on;")},
		"Backblaze B2":                           {server: "versitygw", url: "?checksum=md5", front: testenv.Backblaze},
		"Ceph":                                   {server: "versitygw", url: "?checksum=none", front: testenv.OldCeph},
		"Google":                                 {server: "versitygw", url: "?checksum=md5", front: testenv.Google},
		"a clock that is 20 minutes behind S3's": {server: "versitygw", front: testenv.Ahead(20 * time.Minute)},
	} {
		t.Run(name, func(t *testing.T) {
			server := servers[d.server](t)
			endpoint := server.Endpoint
			if d.front != nil {
				endpoint = d.front(t, server)
			}
			storagetest.Run(t, func(t *testing.T) storagetest.Backend {
				b := backend(t, server.NewBucket(t), endpoint, d.url)
				b.Unlisted = d.server == "minio"
				return b
			})
		})
	}
}

// backend opens a server's bucket through an endpoint, with a changed URL.
func backend(t *testing.T, server testenv.S3Server, endpoint, change string) storagetest.Backend {
	t.Helper()
	s := openAs(t, server, endpoint, change, Options{page: 3, maxBackoff: 10 * time.Millisecond})
	raw := open(t, server, server.Endpoint, Options{}).client
	if s.prefix != "" {
		// Another program's object, above the prefix.
		storagetest.Random(1, small).Put(t, open(t, server, server.Endpoint, Options{}), storagetest.Location(t, "other/1/other"))
	}
	whole := func(objectKey string) *string { objectKey = s.prefix + objectKey; return &objectKey }
	return storagetest.Backend{
		Store: s,
		Name:  server.Bucket,
		Read: func(objectKey string) ([]byte, error) {
			got, err := raw.GetObject(t.Context(), &s3.GetObjectInput{Bucket: &server.Bucket, Key: whole(objectKey)})
			if err != nil && errors.Is(missing(err), upload.ErrNotFound) {
				return nil, fs.ErrNotExist
			}
			if err != nil {
				return nil, err
			}
			defer got.Body.Close()
			return io.ReadAll(got.Body)
		},
		Remove: func(objectKey string) error {
			_, err := raw.DeleteObject(t.Context(), &s3.DeleteObjectInput{Bucket: &server.Bucket, Key: whole(objectKey)})
			return err
		},
		Age: func(objectKey string, modified time.Time) error {
			return age(t.Context(), raw, server, *whole(objectKey), modified)
		},
		Leftovers: func() ([]string, error) { return leftovers(server) },
	}
}

// age sets an object's age. S3 itself has no such request. MinIO has a header for mirrors.
func age(ctx context.Context, raw *s3.Client, server testenv.S3Server, key string, modified time.Time) error {
	file := filepath.Join(server.Dir, filepath.FromSlash(key))
	if info, err := os.Stat(file); err == nil && info.Mode().IsRegular() {
		return os.Chtimes(file, modified, modified)
	}
	got, err := raw.GetObject(ctx, &s3.GetObjectInput{Bucket: &server.Bucket, Key: &key})
	if err != nil {
		return err
	}
	defer got.Body.Close()
	data, err := io.ReadAll(got.Body)
	if err != nil {
		return err
	}
	_, err = raw.PutObject(ctx, &s3.PutObjectInput{
		Bucket: &server.Bucket, Key: &key, Body: bytes.NewReader(data),
		Metadata: got.Metadata, ContentType: got.ContentType, ContentEncoding: got.ContentEncoding,
	}, s3.WithAPIOptions(smithyhttp.SetHeaderValue("X-Minio-Source-Mtime", modified.Format(time.RFC3339Nano))))
	return err
}

// open opens the server's bucket through an endpoint, which may be a proxy's.
func open(t testing.TB, server testenv.S3Server, endpoint string, opts Options) *Store {
	t.Helper()
	return openAs(t, server, endpoint, "", opts)
}

// openAs does so with a changed URL: its path, and some parameters. A bucket in the host name is not resolved.
func openAs(t testing.TB, server testenv.S3Server, endpoint, change string, opts Options) *Store {
	t.Helper()
	server.Setenv(t)
	own, err := url.Parse(server.Through(endpoint))
	if err != nil {
		t.Fatal(err)
	}
	changed, err := url.Parse(change)
	if err != nil {
		t.Fatal(err)
	}
	query := own.Query()
	maps.Copy(query, changed.Query())
	own.Path, own.RawQuery = changed.Path, query.Encode()
	c, err := storage.ParseURL(own.String())
	if err != nil {
		t.Fatal(err)
	}
	addr := strings.TrimPrefix(endpoint, "http://")
	if !c.PathStyle {
		_, port, _ := net.SplitHostPort(addr)
		c.Endpoint = "http://" + net.JoinHostPort(server.Domain, port)
	}
	s, err := Open(t.Context(), c, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	if !c.PathStyle {
		s.transport.DialContext = func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, addr)
		}
	}
	return s
}

// leftovers names the files of a bucket that are no objects: parts of multipart uploads, and files being written. MinIO keeps those of all
// buckets in one place. It also has a file of its own there, and keeps a part whose request broke off for a day.
func leftovers(server testenv.S3Server) ([]string, error) {
	minio := filepath.Join(filepath.Dir(server.Dir), ".minio.sys")
	tmp := filepath.Join(minio, "tmp")
	var names []string
	for _, dir := range []string{server.Dir, filepath.Join(minio, "multipart"), tmp} {
		err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			switch {
			case errors.Is(err, fs.ErrNotExist):
				return nil
			case err == nil && d.IsDir() && (d.Name() == ".trash" || dir == tmp && strings.Contains(d.Name(), "x")): // <UUID>x<time>
				return fs.SkipDir
			case err == nil && !d.IsDir() && filepath.Dir(path) != tmp && (dir != server.Dir || strings.HasPrefix(path, dir+"/.")):
				names = append(names, path)
			}
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	return names, nil
}

// nginx puts an nginx with these directives in front of S3.
func nginx(directives string) func(testing.TB, testenv.S3Server) string {
	return func(t testing.TB, server testenv.S3Server) string {
		return testenv.Nginx(t, func(listen string) string {
			return fmt.Sprintf(`%s
				client_max_body_size 0;
				server { listen %s; location / { proxy_pass %s; proxy_set_header Host $http_host; } }`, directives, listen, server.Endpoint)
		}).URL
	}
}
