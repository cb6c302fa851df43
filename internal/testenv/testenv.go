// Package testenv starts the real servers that tests need: S3 servers, PostgreSQL, Redis, nginx.
//
// scripts/test installs them. Without one, the tests that need it are skipped, and the skip says how to get it; with CI=true they fail
// instead.
package testenv

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// Missing ends the test because something is not installed: as skipped, or as failed with CI=true. how is a sentence on how to get it. A
// skip is a line of the file TECKEN_SKIPPED_TESTS, if that is set.
func Missing(t testing.TB, what, how string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatalf("%s is missing, and CI skips nothing. %s", what, how)
	}
	if list := os.Getenv("TECKEN_SKIPPED_TESTS"); list != "" {
		f, err := os.OpenFile(list, os.O_APPEND|os.O_WRONLY, 0)
		if err == nil {
			_, err = fmt.Fprintf(f, "%s: %s is missing. %s\n", t.Name(), what, how)
			err = errors.Join(err, f.Close())
		}
		if err != nil {
			t.Error(err)
		}
	}
	t.Skipf("%s is missing. %s", what, how)
}

// Root returns the directory of go.mod.
func Root(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			t.Fatal("no go.mod above the working directory")
		}
		dir = parent
	}
}
