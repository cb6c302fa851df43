package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A token made in the wrong place is of no use, and looking for it must not hide that.
func TestTokensOfADatabaseThatIsNotThere(t *testing.T) {
	path := filepath.Join(t.TempDir(), "none", "tecken.db")
	settings := map[string]string{"TECKEN_DATABASE_URL": "sqlite:" + path}
	for _, args := range [][]string{{"token", "list"}, {"token", "revoke", "1"}} {
		code, stdout, stderr := command(t, settings, args...)
		if code != 1 || stdout != "" || !strings.Contains(stderr, "there is no database "+path) {
			t.Errorf("%v: %d %s%s", args, code, stdout, stderr)
		}
		if _, err := os.Stat(filepath.Dir(path)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%v made something: %v", args, err)
		}
	}
	create := []string{"token", "create", "--user=ci@example.com", "--permission=upload_symbols"}
	if code, stdout, stderr := command(t, settings, create...); code != 0 || strings.Count(stdout, "\n") != 1 || !strings.Contains(stderr, "no database "+path) {
		t.Errorf("create: %d %s%s", code, stdout, stderr)
	}
	if code, _, stderr := command(t, settings, create...); code != 0 || strings.Contains(stderr, "no database") {
		t.Errorf("create another: %d %s", code, stderr)
	}
	if code, _, stderr := command(t, settings, "token", "create", "--user=boss@example.com", "--permission=view_all_uploads"); code != 0 {
		t.Errorf("create one that only views: %d %s", code, stderr)
	}
	code, stdout, stderr := command(t, settings, "token", "list")
	if code != 0 || strings.Count(stdout, "\n") != 4 || stderr != "" {
		t.Errorf("list: %d %s%s", code, stdout, stderr)
	}
}
