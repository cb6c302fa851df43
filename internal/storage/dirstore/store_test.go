package dirstore_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"tecken-upload/internal/storage/dirstore"
	"tecken-upload/internal/storage/storagetest"
)

func TestSuite(t *testing.T) {
	storagetest.Run(t, func(t *testing.T) storagetest.Backend {
		dir := filepath.Join(t.TempDir(), "a", "symbols")
		file := func(objectKey string) string { return filepath.Join(dir, filepath.FromSlash(objectKey)) }
		return storagetest.Backend{
			Store:     open(t, dir),
			Name:      "symbols",
			Read:      func(objectKey string) ([]byte, error) { return os.ReadFile(file(objectKey)) },
			Remove:    func(objectKey string) error { return os.RemoveAll(filepath.Dir(file(objectKey))) },
			Age:       func(objectKey string, at time.Time) error { return os.Chtimes(file(objectKey), at, at) },
			Leftovers: func() ([]string, error) { return leftovers(dir) },
		}
	})
}

func open(t *testing.T, dir string) *dirstore.Store {
	t.Helper()
	s, err := dirstore.Open(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	return s
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
