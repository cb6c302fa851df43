package s3store

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"tecken-upload/internal/storage"
	"tecken-upload/internal/storage/storagetest"
	"tecken-upload/internal/testenv"
)

func TestSuite(t *testing.T) {
	storagetest.Run(t, func(t *testing.T) storagetest.Backend {
		server := testenv.S3(t)
		return storagetest.Backend{
			Store:     open(t, server, server.Endpoint, Options{page: 3}),
			Name:      server.Bucket,
			Dir:       server.Dir,
			Leftovers: func() ([]string, error) { return leftovers(server.Dir) },
		}
	})
}

// open opens the server's bucket through an endpoint, which may be a proxy's.
func open(t *testing.T, server testenv.S3Server, endpoint string, opts Options) *Store {
	t.Helper()
	server.Setenv(t)
	c, err := storage.ParseURL(server.Through(endpoint))
	if err != nil {
		t.Fatal(err)
	}
	s, err := Open(t.Context(), c, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// leftovers names the files in the bucket's directory that are no objects: parts of multipart uploads, and
// what the server is still writing.
func leftovers(dir string) ([]string, error) {
	var names []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if os.IsNotExist(err) {
			return nil
		}
		if err == nil && !d.IsDir() && strings.HasPrefix(path, dir+"/.") {
			names = append(names, path)
		}
		return err
	})
	return names, err
}
