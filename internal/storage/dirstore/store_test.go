package dirstore

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"tecken-upload/internal/storage/storagetest"
)

// The suite runs with new files without and with names: not every file system has the first.
func TestSuite(t *testing.T) {
	for name, unnamed := range map[string]bool{"unnamed": true, "named": false} {
		t.Run(name, func(t *testing.T) {
			storagetest.Run(t, func(t *testing.T) storagetest.Backend {
				s := openStore(t, filepath.Join(t.TempDir(), "a", "symbols"))
				s.unnamed = unnamed
				return backend(s)
			})
		})
	}
}

func backend(s *Store) storagetest.Backend {
	file := func(objectKey string) string { return filepath.Join(s.dir, filepath.FromSlash(objectKey)) }
	return storagetest.Backend{
		Store:     s,
		Name:      "symbols",
		Read:      func(objectKey string) ([]byte, error) { return os.ReadFile(file(objectKey)) },
		Remove:    func(objectKey string) error { return os.RemoveAll(filepath.Dir(file(objectKey))) },
		Age:       func(objectKey string, at time.Time) error { return os.Chtimes(file(objectKey), at, at) },
		Leftovers: func() ([]string, error) { return leftovers(s.dir) },
		Unlisted:  true,
	}
}

// leftovers names every file below dir that is neither an object nor the metadata of one.
func leftovers(dir string) ([]string, error) {
	var names []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		name := d.Name()
		if err != nil || d.IsDir() || path == filepath.Join(dir, ".lock") {
			return err
		}
		if object, ok := strings.CutSuffix(strings.TrimPrefix(name, "."), ".meta"); ok && strings.HasPrefix(name, ".") {
			path = filepath.Join(filepath.Dir(path), object)
			if _, err := os.Stat(path); err == nil {
				return nil
			}
		}
		if strings.HasPrefix(name, ".") || strings.HasPrefix(path, filepath.Join(dir, ".new")) {
			names = append(names, path)
		}
		return nil
	})
	return names, err
}
