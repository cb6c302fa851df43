package archive

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tecken-upload/internal/symbol"
)

func TestEveryFormat(t *testing.T) {
	files := someFiles()
	want := map[string]string{}
	for _, f := range files {
		if !strings.HasSuffix(f.name, "/") {
			want[f.name] = f.content
		}
	}
	for _, format := range formats {
		t.Run(format, func(t *testing.T) {
			noLeak(t)
			a, ms, err := verify(t.Context(), build(t, format, files), roomy)
			must(t, err)
			if a.Format() != format || a.Sequential() != (format != "zip") {
				t.Errorf("format %q, sequential %v", a.Format(), a.Sequential())
			}
			type seen struct {
				Name, Key string
				Ignored   bool
				Size      int64
				DebugFile string
			}
			var got []seen
			for _, m := range ms {
				got = append(got, seen{m.Name, m.Key.String(), m.Ignored, m.Size, m.Header.DebugFile})
			}
			const dir = "firefox/44E4EC8C2F41492B9369D6B9A059577C2/"
			if diff := cmp.Diff([]seen{
				{files[1].name, dir + "firefox.sym", false, int64(len(files[1].content)), "firefox"},
				{files[2].name, dir + "firefox.dbg.gz", false, int64(len(files[2].content)), ""},
				{"firefox-60-symbols.txt", "//", true, 12, ""},
				{"firefox/.DS_Store", "//", true, 6, ""},
				{"empty.pdb/ABC123/empty.sym", "empty.pdb/ABC123/empty.sym", false, 0, ""},
			}, got); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff(symbol.Header{
				OS: "Linux", Arch: "x86_64", DebugID: "44E4EC8C2F41492B9369D6B9A059577C2", DebugFile: "firefox",
				CodeID: "8CECE444412F2B499369D6B9A059577C", CodeFile: "firefox.exe", Generator: "mozilla/dump_syms 2.3",
			}, ms[0].Header); diff != "" {
				t.Error(diff)
			}
			for range 2 {
				if diff := cmp.Diff(want, contents(t, a)); diff != "" {
					t.Error(diff)
				}
			}
		})
	}
}

// A file cut short anywhere is never taken for a whole one.
func TestTruncated(t *testing.T) {
	files := someFiles()
	files[1].content = symText
	for _, format := range formats {
		t.Run(format, func(t *testing.T) {
			noLeak(t)
			whole := build(t, format, files)
			for n := range whole {
				rejected(t, whole[:n], roomy, ErrInvalid)
			}
		})
	}
}

// One flipped bit is noticed, or changes nothing of what is published.
func TestFlippedBits(t *testing.T) {
	files := []file{{"firefox/ABC/firefox.sym", symText}, {"firefox/ABC/firefox.pdb", "plain"}}
	want := map[string]string{files[0].name: files[0].content, files[1].name: files[1].content}
	for _, format := range []string{"zip", "tar.gz", "tar.bz2", "tar.xz", "tar.zst"} {
		t.Run(format, func(t *testing.T) {
			data := build(t, format, files)
			step := 1
			if format == "tar.bz2" {
				step = 5 // it is slow
			}
			for i := 0; i < len(data); i += step {
				data[i] ^= 1 << (i % 8)
				a, _, err := verify(t.Context(), data, roomy)
				var fault *Error
				switch {
				case err == nil && format == "zip":
					// A flip in a name is another name, and a zip has no checksum over its directory.
					if got := contents(t, a); len(got) != len(want) {
						t.Errorf("byte %d: %d members", i, len(got))
					}
				case err == nil:
					if diff := cmp.Diff(want, contents(t, a)); diff != "" {
						t.Errorf("byte %d: %s", i, diff)
					}
				case !errors.As(err, &fault):
					t.Errorf("byte %d: %v is not the archive's fault", i, err)
				}
				data[i] ^= 1 << (i % 8)
			}
		})
	}
}

func TestLimits(t *testing.T) {
	content := strings.Repeat("x", 1000)
	files := []file{{"a/A/a.sym", content}, {"b/B/b.pdb", content}, {"c-symbols.txt", content}}
	exact := Limits{MaxMembers: 3, MaxMemberSize: 1000, MaxExtractedSize: 3000}
	for _, format := range formats {
		t.Run(format, func(t *testing.T) {
			data := build(t, format, files)
			if _, _, err := verify(t.Context(), data, exact); err != nil {
				t.Errorf("exactly at every limit: %v", err)
			}
			for _, c := range []struct {
				want string
				less func(*Limits)
			}{
				{"more than 2 members", func(l *Limits) { l.MaxMembers-- }},
				{"one member may have at most 999", func(l *Limits) { l.MaxMemberSize-- }},
				{"more than 2999 bytes together", func(l *Limits) { l.MaxExtractedSize-- }},
			} {
				l := exact
				c.less(&l)
				if got := rejected(t, data, l, ErrTooLarge); !strings.Contains(got, c.want) {
					t.Errorf("%q does not say %q", got, c.want)
				}
			}
		})
	}
}

// faulty is a file whose reads fail from one offset on.
type faulty struct {
	*bytes.Reader
	from int64
	err  error
}

func (f faulty) ReadAt(p []byte, off int64) (int, error) {
	if off+int64(len(p)) > f.from {
		return 0, f.err
	}
	return f.Reader.ReadAt(p, off)
}

// A disk that fails is not the client's fault, wherever it fails.
func TestReadFails(t *testing.T) {
	eio := errors.New("input/output error")
	for _, format := range formats {
		t.Run(format, func(t *testing.T) {
			noLeak(t)
			data := build(t, format, someFiles())
			for from := int64(0); from < int64(len(data)); from += int64(1 + len(data)/500) {
				var fault *Error
				a, err := Open(t.Context(), faulty{bytes.NewReader(data), from, eio}, int64(len(data)), roomy)
				if err == nil {
					_, err = a.Verify(t.Context(), free)
				}
				if !errors.Is(err, eio) || errors.As(err, &fault) {
					t.Fatalf("failing at %d: %v", from, err)
				}
			}
			_, err := Open(t.Context(), bytes.NewReader(data), int64(len(data))+100000, roomy)
			if fault := (*Error)(nil); errors.As(err, &fault) {
				t.Errorf("a file shorter than its size: %v", fault)
			}
		})
	}
}

// A context that ends stops everything, with its cause.
func TestCancelled(t *testing.T) {
	cause := errors.New("deadline of the test")
	for _, format := range formats {
		t.Run(format, func(t *testing.T) {
			noLeak(t)
			data := build(t, format, someFiles())
			ctx, cancel := context.WithCancelCause(t.Context())
			a, err := Open(ctx, bytes.NewReader(data), int64(len(data)), roomy)
			must(t, err)
			_, err = a.Verify(ctx, func(ctx context.Context, _ int64) (Slot, error) {
				cancel(cause)
				return testSlot{ctx, func() {}, func() {}}, nil
			})
			if !errors.Is(err, cause) {
				t.Errorf("verify: %v", err)
			}
			_, err = Open(ctx, bytes.NewReader(data), int64(len(data)), roomy)
			if !errors.Is(err, cause) {
				t.Errorf("open: %v", err)
			}

			a, _, err = verify(t.Context(), data, roomy)
			must(t, err)
			ctx, cancel = context.WithCancelCause(t.Context())
			defer cancel(nil)
			var got error
			n := 0
			for _, err := range a.Walk(ctx) {
				n++
				cancel(cause)
				got = err
			}
			if n != 2 || !errors.Is(got, cause) {
				t.Errorf("walk: %d steps, %v", n, got)
			}
		})
	}
}

// What a caller refuses is the caller's error, not the archive's.
func TestAcquireFails(t *testing.T) {
	noLeak(t)
	busy := errors.New("no slot")
	for _, format := range formats {
		data := build(t, format, someFiles())
		a, err := Open(t.Context(), bytes.NewReader(data), int64(len(data)), roomy)
		must(t, err)
		var fault *Error
		_, err = a.Verify(t.Context(), func(context.Context, int64) (Slot, error) { return nil, busy })
		if !errors.Is(err, busy) || errors.As(err, &fault) {
			t.Errorf("%s: %v", format, err)
		}
	}
}

// Slots are held while reading, asked for with the right cost, and all given back.
func TestSlots(t *testing.T) {
	for _, format := range formats {
		data := build(t, format, someFiles())
		a, err := Open(t.Context(), bytes.NewReader(data), int64(len(data)), roomy)
		must(t, err)
		costs := make(chan int64, 100)
		held := make(chan int, 1)
		held <- 0
		ms, err := a.Verify(t.Context(), func(ctx context.Context, cost int64) (Slot, error) {
			costs <- cost
			held <- <-held + 1
			return testSlot{ctx, func() {}, func() { held <- <-held - 1 }}, nil
		})
		must(t, err)
		close(costs)
		var want, got int64
		for c := range costs {
			got += c
		}
		for _, m := range ms {
			want += m.Size
		}
		if n := <-held; n != 0 || got != want {
			t.Errorf("%s: %d slots kept; cost %d, want %d", format, n, got, want)
		}
	}
}

func TestDuplicates(t *testing.T) {
	for _, format := range formats {
		t.Run(format, func(t *testing.T) {
			same := []file{{"a/abc/a.sym", "one"}, {"a/ABC/a.sym", "one"}, {"b/ABC/a.sym", "one"}}
			a, ms, err := verify(t.Context(), build(t, format, same), roomy)
			must(t, err)
			if ms[0].Duplicate || !ms[1].Duplicate || ms[2].Duplicate {
				t.Errorf("duplicates: %v %v %v", ms[0].Duplicate, ms[1].Duplicate, ms[2].Duplicate)
			}
			contents(t, a)
			for content, want := range map[string]string{"three": "3 bytes, the other 5", "two": "3 bytes (3 and 3), but not the same"} {
				differ := []file{{"a/ABC/a.sym", "one"}, {"a/ABC/a.sym", content}}
				got := rejected(t, build(t, format, differ), roomy, ErrInvalid)
				if !strings.Contains(got, want) || !strings.Contains(got, "'a/ABC/a.sym'") {
					t.Errorf("%q does not say %q", got, want)
				}
			}
			alike := rejected(t, build(t, format, []file{{"a/ABC/a.sym", "one"}, {"a/abc/a.sym", "two"}}), roomy, ErrInvalid)
			if !strings.Contains(alike, "'a/ABC/a.sym' and 'a/abc/a.sym', are named alike") {
				t.Errorf("%q does not name both", alike)
			}
		})
	}
}

// Order of use: nothing is published that was not verified.
func TestOutOfTurn(t *testing.T) {
	for _, format := range formats {
		data := build(t, format, someFiles())
		a, err := Open(t.Context(), bytes.NewReader(data), int64(len(data)), roomy)
		must(t, err)
		for m, err := range a.Walk(t.Context()) {
			if err == nil {
				t.Errorf("%s: %s yielded before it was verified", format, m.Name)
			}
		}
		ms, err := a.Verify(t.Context(), free)
		must(t, err)
		scratch := &scratchFiles{}
		b, err := ms[1].Body(t.Context(), scratch.new)
		if (err == nil) == a.Sequential() {
			t.Errorf("%s: body outside Walk: %v", format, err)
		}
		if err == nil {
			must(t, b.Close())
		}
	}
}

// Members that nobody asks for are passed over, and a walk can be left at any point.
func TestWalkPartly(t *testing.T) {
	noLeak(t)
	files := someFiles()
	for _, format := range formats {
		a, ms, err := verify(t.Context(), build(t, format, files), roomy)
		must(t, err)
		for stop := range ms {
			i := 0
			for m, err := range a.Walk(t.Context()) {
				must(t, err)
				if m != ms[i] {
					t.Errorf("%s: member %d is %s", format, i, m.Name)
				}
				if i == stop {
					scratch := &scratchFiles{}
					b, err := m.Body(t.Context(), scratch.new)
					must(t, err)
					if got := bodyContent(t, m, b); got != files[i+1].content { // the first is a directory
						t.Errorf("%s: %s holds %q", format, m.Name, got)
					}
					must(t, b.Close())
					break
				}
				i++
			}
		}
	}
}

// A panic of the caller inside Walk is the caller's, not a decoder's.
func TestWalkPanic(t *testing.T) {
	a, _, err := verify(t.Context(), build(t, "tar.gz", someFiles()), roomy)
	must(t, err)
	defer func() {
		if p := recover(); p != "mine" {
			t.Errorf("recovered %v", p)
		}
	}()
	for m, err := range a.Walk(t.Context()) {
		must(t, err)
		t.Logf("at %s", m.Name)
		panic("mine")
	}
}

// The archive changes between the passes, which only a bug of ours can bring about: never a client error.
func TestChangedBetweenPasses(t *testing.T) {
	for _, format := range formats[1:] {
		data := build(t, format, someFiles())
		a, _, err := verify(t.Context(), data, roomy)
		must(t, err)
		copy(data, build(t, format, []file{{"x/A/x.sym", strings.Repeat("x", 99)}, {"y/A/y.sym", "y"}}))
		var last error
		for _, err := range a.Walk(t.Context()) {
			last = err
		}
		var fault *Error
		if last == nil || errors.As(last, &fault) {
			t.Errorf("%s: %v", format, last)
		}
	}
	data := zipOf(t, someFiles())
	a, ms, err := verify(t.Context(), data, roomy)
	must(t, err)
	copy(data[ms[2].zip.data:], "\xff\xff")
	b, err := ms[2].Body(t.Context(), nil)
	must(t, err)
	if _, err := io.ReadAll(b); err == nil {
		t.Error("a changed member was read without an error")
	}
	_ = a
}
