package main

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"tecken-upload/internal/testarchive"
	"tecken-upload/internal/testenv"
)

// TestLab builds the server once: that takes longer than all the rest.
func TestLab(t *testing.T) {
	l := testLab(t)
	t.Run("row", func(t *testing.T) { testRow(t, l) })
	t.Run("compare", func(t *testing.T) { testCompare(t, l) })
}

func testRow(t *testing.T, l *lab) {
	var table, progress strings.Builder
	if err := run(t.Context(), []string{"-size", "1MiB", "-server", l.server, "memory1"}, &table, &progress); err != nil {
		t.Fatalf("%v\n%s", err, progress.String())
	}
	lines := strings.Split(strings.TrimSpace(table.String()), "\n")
	if len(lines) != 4 || !strings.Contains(lines[2], "MiB (idle: ") || !strings.Contains(lines[3], "equal: 104 objects of 1 uploads") {
		t.Errorf("printed\n%s", table.String())
	}
}

func TestUnknownRow(t *testing.T) {
	var out strings.Builder
	err := run(t.Context(), []string{"speed"}, &out, &out)
	if err == nil || !strings.Contains(err.Error(), "readback") {
		t.Errorf("the error does not name the rows: %v", err)
	}
}

func TestMissedTarget(t *testing.T) {
	var out strings.Builder
	err := printTable(&out, []result{{measure: "a", target: "≤ 1", measured: "0"}, {measure: "b", target: "≤ 1", measured: "2", missed: true}})
	if err == nil || err.Error() != "target missed: b" {
		t.Errorf("got %v", err)
	}
	if want := "| a | ≤ 1 | 0 |\n| b | ≤ 1 | 2 |\n"; !strings.HasSuffix(out.String(), want) {
		t.Errorf("printed\n%s", out.String())
	}
}

// testCompare changes storage behind the server's back: what can't tell a difference shows no equality.
func testCompare(t *testing.T, l *lab) {
	s, err := l.open(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.close(); err != nil {
			t.Error(err)
		}
	}()
	a, err := l.sample(t.Context(), testarchive.Spec{Seed: 1, Bytes: 1 << 20, Members: 9, Mix: testarchive.RealMix, Format: testarchive.Zip})
	if err != nil {
		t.Fatal(err)
	}
	if a, err = a.variant(t.Context(), 1, filepath.Join(t.TempDir(), "variant.zip")); err != nil {
		t.Fatal(err)
	}
	if _, err := s.upload(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	whole, none := []*sample{a}, []*sample(nil)
	if err := l.compare(t.Context(), s, whole, nil); err != nil {
		t.Fatal(err)
	}
	if n := l.compared.objects.Load(); n != 9 {
		t.Errorf("compared %d objects of 9", n)
	}
	wantFault(t, "which nobody uploaded", l.compare(t.Context(), s, none, nil))

	object := filepath.Join(s.dir, "storage", bucket, "v1", filepath.FromSlash(a.manifest.Members[0].Name))
	f, err := os.OpenFile(object, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt([]byte{0xff}, 1000); err != nil {
		t.Fatal(err)
	}
	wantFault(t, a.manifest.Members[0].Name, l.compare(t.Context(), s, whole, nil))
	if err := os.Remove(object); err != nil {
		t.Fatal(err)
	}
	wantFault(t, "storage lacks "+a.manifest.Members[0].Name, l.compare(t.Context(), s, whole, nil))
	if err := l.compare(t.Context(), s, none, whole); err != nil {
		t.Errorf("an upload that was cut off may be there in part: %v", err)
	}
}

func wantFault(t *testing.T, text string, err error) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), text) {
		t.Errorf("got %v, not an error that says %q", err, text)
	}
}

// testLab makes a lab that ends with the test, and leaves nothing behind.
func testLab(t *testing.T) *lab {
	t.Helper()
	if _, err := os.Stat(filepath.Join(testenv.Root(t), ".tools", "versitygw")); err != nil {
		testenv.Missing(t, "versitygw, an S3 server,", "scripts/test installs it")
	}
	t.Setenv("TMPDIR", t.TempDir())
	var progress strings.Builder
	o, err := parse([]string{"-size", "1MiB"}, &progress)
	if err != nil {
		t.Fatal(err)
	}
	l, err := newLab(context.WithoutCancel(t.Context()), o, &progress)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.close(); err != nil {
			t.Error(err)
		}
		if left, err := os.ReadDir(os.TempDir()); err != nil || len(left) > 0 {
			t.Errorf("left behind: %v, %v", left, err)
		}
	})
	return l
}
