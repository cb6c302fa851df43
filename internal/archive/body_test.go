package archive

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Bodies of all four makings seek to anywhere and read the same bytes again.
func TestBodySeeks(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	text := symText
	for len(text) < 100<<10 {
		text += strings.Repeat(string(rune('a'+rnd.IntN(26))), rnd.IntN(30)) + "\n"
	}
	data := makeZip([]*entry{
		deflated("a/A/wrapped.sym", text), stored("a/A/staged.sym", text),
		deflated("a/A/inflated.pdb", text), stored("a/A/section.pdb", text),
		deflated("a/A/empty.pdb", ""), deflated("a/A/empty.sym", ""), stored("a/A/none.pdb", ""), stored("a/A/none.sym", ""),
	}, nil)
	a, ms, err := verify(t.Context(), data, roomy)
	must(t, err)
	noLeak(t)
	for _, m := range ms {
		b, err := m.Body(t.Context())
		must(t, err)
		whole, err := io.ReadAll(b)
		must(t, err)
		for range 12 {
			off := rnd.Int64N(b.Size + 1)
			seekRandomly(t, rnd, b, off)
			n := rnd.Int64N(b.Size - off + 1)
			got, err := io.ReadAll(io.LimitReader(b, n))
			must(t, err)
			if !bytes.Equal(got, whole[off:off+n]) {
				t.Errorf("%s: %d bytes at %d differ", m.Name, n, off)
			}
		}
		if _, err := b.Seek(-1, io.SeekStart); err == nil {
			t.Errorf("%s: seeks before its start", m.Name)
		}
		must(t, b.Close())
	}
	contents(t, a)
}

func seekRandomly(t *testing.T, rnd *rand.Rand, b *Body, off int64) {
	t.Helper()
	var got int64
	var err error
	switch rnd.IntN(3) {
	case 0:
		got, err = b.Seek(off, io.SeekStart)
	case 1:
		got, err = b.Seek(off-b.Size, io.SeekEnd)
	default:
		var at int64
		at, err = b.Seek(0, io.SeekCurrent)
		must(t, err)
		got, err = b.Seek(off-at, io.SeekCurrent)
	}
	must(t, err)
	if got != off {
		t.Errorf("seek to %d went to %d", off, got)
	}
}

// A zip's deflated .sym is stored with the very bytes that the zip holds.
func TestWrappedNotCompressedAgain(t *testing.T) {
	e := deflated("a/A/a.sym", strings.Repeat(symText, 50))
	_, ms, err := verify(t.Context(), makeZip([]*entry{e}, nil), roomy)
	must(t, err)
	b, err := ms[0].Body(t.Context())
	must(t, err)
	raw, err := io.ReadAll(b)
	must(t, err)
	if string(raw[10:len(raw)-8]) != e.data {
		t.Error("the deflate stream changed")
	}
}

// The same .sym makes the same object, whenever it is gzipped.
func TestGzipIsDeterministic(t *testing.T) {
	data := makeZip([]*entry{stored("a/A/a.sym", strings.Repeat(symText, 50))}, nil)
	var made [][]byte
	for range 2 {
		_, ms, err := verify(t.Context(), data, roomy)
		must(t, err)
		b, err := ms[0].Body(t.Context())
		must(t, err)
		raw, err := io.ReadAll(b)
		must(t, err)
		must(t, b.Close())
		made = append(made, raw)
	}
	if diff := cmp.Diff(made[0], made[1]); diff != "" {
		t.Error(diff)
	}
	if !bytes.Equal(made[0][:10], gzipHeader[:]) {
		t.Errorf("header % x", made[0][:10])
	}
}

// A badScratch fails in one of its methods.
type badScratch struct {
	bytes.Buffer
	write, seek error
	closed      bool
}

func (s *badScratch) Write(p []byte) (int, error) {
	if s.write != nil {
		return 0, s.write
	}
	return s.Buffer.Write(p)
}
func (s *badScratch) Seek(int64, int) (int64, error) { return 0, s.seek }
func (s *badScratch) Close() error                   { s.closed = true; return nil }

// What scratch says comes back as it is, and scratch is closed.
func TestScratchFails(t *testing.T) {
	full := errors.New("no space left on device")
	for name, s := range map[string]*badScratch{"write": {write: full}, "seek": {seek: full}, "open": nil} {
		a, ms, err := verify(t.Context(), makeZip([]*entry{stored("a/A/a.sym", symText)}, nil), roomy)
		must(t, err)
		a.work.(*desk).scratch = func() (Scratch, error) {
			if s == nil {
				return nil, full
			}
			return s, nil
		}
		_, err = ms[0].Body(t.Context())
		var fault *Error
		if !errors.Is(err, full) || errors.As(err, &fault) {
			t.Errorf("%s: %v", name, err)
		}
		if s != nil && !s.closed {
			t.Errorf("%s: scratch left open", name)
		}
	}
}

// A body's reads end with the context.
func TestBodyCancelled(t *testing.T) {
	cause := errors.New("deadline of the test")
	data := makeZip([]*entry{deflated("a/A/a.sym", symText), deflated("a/A/a.pdb", symText), stored("a/A/b.pdb", symText)}, nil)
	_, ms, err := verify(t.Context(), data, roomy)
	must(t, err)
	for _, m := range ms {
		ctx, cancel := context.WithCancelCause(t.Context())
		b, err := m.Body(ctx)
		must(t, err)
		cancel(cause)
		if _, err := io.ReadAll(b); !errors.Is(err, cause) {
			t.Errorf("%s: %v", m.Name, err)
		}
		must(t, b.Close())
	}
}

// However many members of a zip are stored at once, one is in scratch at a time; the next one waits for the end of its body, or of ctx.
func TestOneIsInScratchAtATime(t *testing.T) {
	entries := make([]*entry, 5)
	for i := range entries {
		entries[i] = stored(fmt.Sprintf("a/A/%d.sym", i), symText)
	}
	a, ms, err := verify(t.Context(), makeZip(entries, nil), roomy)
	must(t, err)
	work := a.work.(*desk)
	must(t, a.Each(t.Context(), len(entries), func(ctx context.Context, m *Member) error {
		b, err := m.Body(ctx)
		must(t, err)
		if n := work.open.Load(); n != 1 {
			t.Errorf("%d scratch files", n)
		}
		return errors.Join(b.Close(), b.Close())
	}))
	cause := errors.New("deadline of the test")
	ctx, cancel := context.WithCancelCause(t.Context())
	first, err := ms[0].Body(ctx)
	must(t, err)
	cancel(cause)
	if _, err := ms[1].Body(ctx); !errors.Is(err, cause) {
		t.Errorf("a second one: %v", err)
	}
	must(t, first.Close())
	if n := work.open.Load(); n != 0 {
		t.Errorf("%d scratch files left open", n)
	}
}
