package spool_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"

	"tecken-upload/internal/spool"
	"tecken-upload/internal/spool/spooltest"
)

// TestReceive receives bodies of every kind on every kind of disk, and checks their use of it.
func TestReceive(t *testing.T) {
	for name, disk := range map[string]func(*testing.T) string{
		"here":  func(t *testing.T) string { return t.TempDir() + "/spool" },
		"tmpfs": func(t *testing.T) string { return spooltest.Tmpfs(t, "size=96m") },
		"ext4":  func(t *testing.T) string { return spooltest.Image(t, 96*MiB, "mkfs.ext4", "-q") },
		"ext2":  func(t *testing.T) string { return spooltest.Image(t, 96*MiB, "mkfs.ext2", "-q") }, // knows no fallocate
	} {
		t.Run(name, func(t *testing.T) {
			dir := disk(t)
			s := open(t, dir, spool.Options{})
			for _, tt := range []struct {
				name           string
				size, declared int
			}{
				{"as declared", 20 * MiB, 20 * MiB},
				{"undeclared", 20*MiB + 17, -1},
				{"less than declared", 3*MiB + 5, 40 * MiB},
				{"more than declared", 20 * MiB, 1},
				{"empty", 0, 0},
				{"empty undeclared", 0, -1},
			} {
				t.Run(tt.name, func(t *testing.T) { receiveOne(t, s, tt.size, tt.declared) })
			}
			noTrace(t, s, dir)
		})
	}
}

func receiveOne(t *testing.T, s *spool.Spool, size, declared int) {
	want := body(size)
	w := create(t, s, int64(declared))
	f, err := w.Receive(t.Context(), bytes.NewReader(want), int64(size), nil)
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(f)
	if err != nil || !bytes.Equal(got, want) {
		t.Fatalf("read back %d bytes of %d: %v", len(got), size, err)
	}
	if u := usage(t, s); u.Held != int64(size) || u.Reserved != 0 {
		t.Errorf("%d bytes held and %d reserved for %d received", u.Held, u.Reserved, size)
	}
	// ext2 has a block of addresses for every 1,024 blocks.
	if taken := allocated(t, f); taken > int64(size)+int64(size)/128+64*KiB {
		t.Errorf("%d bytes of the disk for %d received", taken, size)
	}
	if _, err := w.Receive(t.Context(), bytes.NewReader(want), int64(size), nil); err == nil {
		t.Error("a second body was received")
	}
	closeAll(t, w, w)
	if _, err := f.Read(make([]byte, 1)); !errors.Is(err, os.ErrClosed) {
		t.Errorf("read after Close: %v", err)
	}
}

func TestReceiveLimit(t *testing.T) {
	const limit = 700 * KiB // not a multiple of the copy buffer
	for _, declared := range []int64{-1, limit, 1} {
		dir := filepath.Join(t.TempDir(), "spool")
		s := open(t, dir, spool.Options{})
		w := create(t, s, declared)
		if _, err := w.Receive(t.Context(), bytes.NewReader(body(limit)), limit, nil); err != nil {
			t.Errorf("exactly the limit, declared %d: %v", declared, err)
		}
		more := create(t, s, declared)
		if _, err := more.Receive(t.Context(), bytes.NewReader(body(limit+1)), limit, nil); !errors.Is(err, spool.ErrTooLarge) {
			t.Errorf("a byte more, declared %d: %v", declared, err)
		}
		closeAll(t, w, more)
		noTrace(t, s, dir)
	}
}

func TestReceiveFails(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "spool")
	s := open(t, dir, spool.Options{})
	before := descriptors(t)
	cut := errors.New("cut")
	gone, cancel := context.WithCancelCause(t.Context())
	cancel(cut)
	for name, tt := range map[string]struct {
		ctx  context.Context
		body io.Reader
	}{
		"body breaks":               {t.Context(), &broken{*bytes.NewReader(body(5 * MiB)), cut}},
		"body breaks at once":       {t.Context(), iotest.ErrReader(cut)},
		"context ends":              {gone, bytes.NewReader(body(5 * MiB))},
		"context ends in the midst": {t.Context(), nil},
	} {
		t.Run(name, func(t *testing.T) {
			if tt.body == nil {
				ctx, stop := context.WithCancelCause(t.Context())
				half := func() (int, error) { stop(cut); return 0, nil }
				tt.ctx, tt.body = ctx, io.MultiReader(bytes.NewReader(body(MiB)), readerFunc(half))
			}
			w := create(t, s, 8*MiB)
			if f, err := w.Receive(tt.ctx, tt.body, 8*MiB, nil); !errors.Is(err, cut) || f != nil {
				t.Errorf("received %v, %v", f, err)
			}
			if u := usage(t, s); u.Held != 0 || u.Reserved != 0 {
				t.Errorf("room not given back at once: %+v", u)
			}
			closeAll(t, w)
		})
	}
	noTrace(t, s, dir)
	if diff := cmp.Diff(before, descriptors(t)); diff != "" {
		t.Errorf("descriptors (-before +after):\n%s", diff)
	}
}

type readerFunc func() (int, error)

func (f readerFunc) Read([]byte) (int, error) { return f() }

func TestNothingBigHasAName(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "spool")
	s := open(t, dir, spool.Options{})
	w := create(t, s, MiB)
	if _, err := w.Receive(t.Context(), bytes.NewReader(body(MiB)), MiB, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Scratch(t.Context()); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{w.ID()}, names(t, dir)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"manifest.json"}, names(t, filepath.Join(dir, w.ID()))); diff != "" {
		t.Error(diff)
	}
}

func TestManifest(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "spool")
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	s := open(t, dir, spool.Options{Instance: "i-1", Now: func() time.Time { return now }})
	w := create(t, s, -1)
	read := func() (m spool.Manifest) {
		t.Helper()
		text, err := os.ReadFile(filepath.Join(dir, w.ID(), "manifest.json"))
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(text, &m); err != nil {
			t.Fatal(err)
		}
		return m
	}
	want := spool.Manifest{Instance: "i-1", PID: os.Getpid(), Started: now, Updated: now, Declared: -1}
	if diff := cmp.Diff(want, read()); diff != "" {
		t.Errorf("at first: %s", diff)
	}

	// Midway through the body, time passes.
	var midway int64
	later := func() (int, error) {
		if midway == 0 {
			midway = -1
			now = now.Add(time.Minute)
		}
		return 0, io.EOF
	}
	look := func() (int, error) { midway = read().Received; return 0, io.EOF }
	parts := io.MultiReader(bytes.NewReader(body(3*MiB-1)), readerFunc(later), bytes.NewReader(body(MiB)), readerFunc(look))
	if _, err := w.Receive(t.Context(), parts, 5*MiB, nil); err != nil {
		t.Fatal(err)
	}
	if midway < 3*MiB || midway > 4*MiB {
		t.Errorf("%d bytes received, said the manifest in the middle", midway)
	}

	if err := w.Update(func(m *spool.Manifest) { m.Upload, m.Kinds = 7, map[string]int{".sym": 2} }); err != nil {
		t.Fatal(err)
	}
	want.Updated, want.Received, want.Upload, want.Kinds = now, 4*MiB-1, 7, map[string]int{".sym": 2}
	if diff := cmp.Diff(want, read()); diff != "" {
		t.Errorf("at last: %s", diff)
	}
	closeAll(t, w)
	if err := w.Update(func(*spool.Manifest) {}); !errors.Is(err, os.ErrClosed) {
		t.Errorf("Update after Close: %v", err)
	}
}

// The reservation for a body of unknown size shows while it grows, and in the end is the body's size.
func TestReserved(t *testing.T) {
	s := open(t, t.TempDir()+"/spool", spool.Options{})
	for declared, want := range map[int64]int64{-1: 48 * MiB, 41 * MiB: 41 * MiB} {
		w := create(t, s, declared)
		received, sender := io.Pipe()
		done := make(chan error)
		go func() {
			_, err := w.Receive(t.Context(), received, 1<<30, nil)
			done <- err
		}()
		if _, err := sender.Write(body(40*MiB + 1)); err != nil {
			t.Fatal(err)
		}
		if got := w.Reserved(); got != want {
			t.Errorf("declared %d: %d reserved, want %d", declared, got, want)
		}
		if err := errors.Join(sender.Close(), <-done); err != nil || w.Reserved() != 40*MiB+1 {
			t.Errorf("declared %d: %v, and %d reserved", declared, err, w.Reserved())
		}
		closeAll(t, w)
		if got := w.Reserved(); got != 0 {
			t.Errorf("declared %d: %d reserved after Close", declared, got)
		}
	}
}
