package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"tecken-upload/internal/testarchive"
)

func TestInflate(t *testing.T) {
	for name, store := range map[string]bool{"deflated": false, "stored": true} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "symbols.zip")
			var archive bytes.Buffer
			if _, err := testarchive.Write(&archive, testarchive.Spec{Members: 7, Store: store}); err != nil {
				t.Fatal(err)
			}
			writeFile(t, file, archive.Bytes())
			var out strings.Builder
			if err := run([]string{file}, &out); err != nil {
				t.Fatal(err)
			}
			if !strings.HasPrefix(out.String(), "members=7 inflated_bytes=") {
				t.Errorf("printed %q", out.String())
			}

			archive.Bytes()[archive.Len()/4] ^= 1 // in the first member, which holds half
			writeFile(t, file, archive.Bytes())
			if err := run([]string{file}, &out); err == nil {
				t.Error("a broken archive is no error")
			}
		})
	}
}

func writeFile(t *testing.T, name string, content []byte) {
	t.Helper()
	if err := os.WriteFile(name, content, 0o600); err != nil {
		t.Fatal(err)
	}
}
