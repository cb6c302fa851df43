package main

import (
	"archive/zip"
	"encoding/json"
	"errors"
	"flag"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"tecken-upload/internal/testarchive"
)

func TestRun(t *testing.T) {
	dir := t.TempDir()
	file, list := filepath.Join(dir, "symbols.zip"), filepath.Join(dir, "symbols.json")
	args := []string{"-size", "200KiB", "-members", "5", "-mix", "sym", "-o", file, "-manifest", list}
	if err := run(args, io.Discard, io.Discard); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(list)
	if err != nil {
		t.Fatal(err)
	}
	var manifest testarchive.Manifest
	if err := json.Unmarshal(text, &manifest); err != nil {
		t.Fatal(err)
	}
	archive, err := zip.OpenReader(file)
	if err != nil {
		t.Fatal(err)
	}
	defer archive.Close()
	if len(archive.File) != 5 || len(manifest.Members) != 5 {
		t.Fatalf("%d members, the manifest has %d", len(archive.File), len(manifest.Members))
	}
	for i, m := range manifest.Members {
		if f := archive.File[i]; f.Name != m.Name || f.CRC32 != m.CRC32 || f.UncompressedSize64 != uint64(m.Size) {
			t.Errorf("member %d is %s, the manifest says %+v", i, f.Name, m)
		}
	}
}

func TestRunRefuses(t *testing.T) {
	for _, args := range [][]string{{"-mix", "cocktail"}, {"-format", "rar"}, {"-o", t.TempDir()}} {
		if err := run(args, io.Discard, io.Discard); err == nil {
			t.Errorf("%s: no error", strings.Join(args, " "))
		}
	}
	if err := run([]string{"-help"}, io.Discard, io.Discard); !errors.Is(err, flag.ErrHelp) {
		t.Errorf("-help: %v", err)
	}
}
