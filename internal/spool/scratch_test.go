package spool_test

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
	"testing/iotest"

	"golang.org/x/sys/unix"

	"tecken-upload/internal/spool"
)

// allocated returns the bytes that a file takes of the disk.
func allocated(t testing.TB, f *os.File) int64 {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		t.Fatal(err)
	}
	return st.Blocks * 512
}

func TestScratch(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "spool")
	s := open(t, dir, spool.Options{})
	w := create(t, s, 0)
	x, err := w.Scratch(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if u := usage(t, s); u.Held != MiB/4 {
		t.Errorf("at first %d bytes are held", u.Held)
	}
	want := body(20*MiB + 3)
	if n, err := io.Copy(x, iotest.HalfReader(bytes.NewReader(want))); err != nil || n != int64(len(want)) {
		t.Fatalf("wrote %d: %v", n, err)
	}
	if x.Size() != int64(len(want)) {
		t.Errorf("size %d", x.Size())
	}
	for range 2 { // as S3 does after a broken transfer
		if _, err := x.Seek(0, io.SeekStart); err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(x); err != nil || !bytes.Equal(got, want) {
			t.Fatalf("read back %d bytes: %v", len(got), err)
		}
	}
	at := make([]byte, 10)
	if _, err := x.ReadAt(at, 12345); err != nil || !bytes.Equal(at, want[12345:12355]) {
		t.Errorf("ReadAt: %x, %v", at, err)
	}
	if u := usage(t, s); u.Held != int64(len(want)) {
		t.Errorf("once written %d bytes are held", u.Held)
	}
	if _, err := x.Write(at); err == nil {
		t.Error("written after it was read")
	}
	for range 2 {
		if err := x.Close(); err != nil {
			t.Error(err)
		}
	}
	if u := usage(t, s); u.Held != 0 {
		t.Errorf("after Close %d bytes are held", u.Held)
	}
	closeAll(t, w)
	noTrace(t, s, dir)
	if _, err := w.Scratch(t.Context()); !errors.Is(err, os.ErrClosed) {
		t.Errorf("scratch of a closed workspace: %v", err)
	}
	noTrace(t, s, dir)
}

func TestCloseTakesScratchAlong(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "spool")
	s := open(t, dir, spool.Options{})
	before := len(descriptors(t))
	w := create(t, s, MiB)
	x, err := w.Scratch(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	closeAll(t, w)
	noTrace(t, s, dir)
	if after := len(descriptors(t)); after != before {
		t.Errorf("%d descriptors before, %d after", before, after)
	}
	if _, err := x.Write(body(20 * MiB)); !errors.Is(err, os.ErrClosed) {
		t.Errorf("write after Close: %v", err)
	}
	if err := x.Close(); err != nil {
		t.Errorf("close after Close: %v", err)
	}
}
