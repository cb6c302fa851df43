package archive

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tecken-upload/internal/archive/tartest"
	"tecken-upload/internal/symbol"
)

func TestEveryFormat(t *testing.T) {
	files := someFiles()
	want := map[string]string{}
	for _, f := range files {
		if _, ignored := map[string]bool{"firefox/": true, "firefox-60-symbols.txt": true, "firefox/.DS_Store": true}[f.name]; !ignored {
			want[f.name] = f.content
		}
	}
	for _, format := range formats {
		t.Run(format, func(t *testing.T) {
			noLeak(t)
			a, ms, err := verify(t.Context(), build(t, format, files), roomy)
			must(t, err)
			if a.Format != format {
				t.Errorf("format %q", a.Format)
			}
			type seen struct {
				Name, Key string
				Ignored   bool
				Size      int64
				DebugFile string
			}
			var got []seen
			for i, m := range ms {
				if m.Index != i {
					t.Errorf("member %d says that it is %d", i, m.Index)
				}
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

// faulty is a file with reads that fail from one offset on.
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
				a, err := Open(t.Context(), faulty{bytes.NewReader(data), from, eio}, int64(len(data)), roomy, new(desk))
				if err == nil {
					_, err = collect(t.Context(), a)
				}
				if !errors.Is(err, eio) || errors.As(err, &fault) {
					t.Fatalf("failing at %d: %v", from, err)
				}
			}
			_, err := Open(t.Context(), bytes.NewReader(data), int64(len(data))+100000, roomy, new(desk))
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
			a, err := open(ctx, data, roomy, &desk{inflate: func(ctx context.Context, _ int64) (context.Context, error) {
				cancel(cause)
				return ctx, nil
			}})
			must(t, err)
			if _, err = collect(ctx, a); !errors.Is(err, cause) {
				t.Errorf("members: %v", err)
			}
			if _, err = open(ctx, data, roomy, new(desk)); !errors.Is(err, cause) {
				t.Errorf("open: %v", err)
			}

			a, _, err = verify(t.Context(), data, roomy)
			must(t, err)
			ctx, cancel = context.WithCancelCause(t.Context())
			defer cancel(nil)
			n := 0
			err = a.Each(ctx, 1, func(context.Context, *Member) error {
				n++
				cancel(cause)
				return nil
			})
			if n != 1 || !errors.Is(err, cause) {
				t.Errorf("each: %d members, %v", n, err)
			}
		})
	}
}

// What a caller refuses is the caller's error, not the archive's.
func TestNoRightToInflate(t *testing.T) {
	noLeak(t)
	busy := errors.New("no slot")
	for _, format := range formats {
		a, err := open(t.Context(), build(t, format, someFiles()), roomy, &desk{inflate: func(context.Context, int64) (context.Context, error) { return nil, busy }})
		must(t, err)
		var fault *Error
		if _, err = collect(t.Context(), a); !errors.Is(err, busy) || errors.As(err, &fault) {
			t.Errorf("%s: %v", format, err)
		}
	}
}

// The right to inflate is asked for with the right cost, and a decoder's memory before all.
func TestWhatWorkIsAskedFor(t *testing.T) {
	for _, format := range formats {
		work := new(desk)
		a, err := open(t.Context(), build(t, format, someFiles()), roomy, work)
		must(t, err)
		ms, err := collect(t.Context(), a)
		must(t, err)
		var want, got int64
		for _, c := range work.costs {
			got += c
		}
		for _, m := range ms {
			want += m.Size
		}
		if n := work.held.Load(); n != 0 || got != want {
			t.Errorf("%s: %d rights kept; cost %d, want %d", format, n, got, want)
		}
		if asked := len(work.memory) == 1; asked != (format != "zip") {
			t.Errorf("%s: memory %d", format, work.memory)
		}
	}
}

// A tar is read once more where the decoder turns out to need more memory; no member comes twice.
func TestMoreMemory(t *testing.T) {
	data := tarOf(t, someFiles())
	file := append(tartest.Zstd(t, 1<<20, data[:1024]), tartest.Zstd(t, 64<<20, data[1024:])...)
	a, ms, err := verify(t.Context(), file, roomy)
	must(t, err)
	if memory := a.work.(*desk).memory; len(memory) != 2 || memory[0] >= memory[1] {
		t.Errorf("%d bytes", memory)
	}
	for i, m := range ms {
		if m.Index != i {
			t.Errorf("member %d comes at %d", m.Index, i)
		}
	}
	contents(t, a)
}

// A member is yielded once it is checked, not only when all are; a caller may stop at any, and nothing reads the archive any more.
func TestMembersComeOneByOne(t *testing.T) {
	noLeak(t)
	files := []file{{"a/A/a.sym", strings.Repeat("a", 1000)}, {"b/B/b.sym", strings.Repeat("b", 100)}, {"c/C/c.sym", "c"}}
	for _, format := range formats {
		for stop := range files {
			work := &desk{inflate: func(ctx context.Context, cost int64) (context.Context, error) {
				if cost == 1 && stop < 2 {
					<-ctx.Done() // the last one is never checked
				}
				return ctx, nil
			}}
			a, err := open(t.Context(), build(t, format, files), roomy, work)
			must(t, err)
			n := 0
			for m, err := range a.Members(t.Context()) {
				must(t, err)
				if m.Name != files[n].name {
					t.Errorf("%s: member %d is %s", format, n, m.Name)
				}
				if n == stop {
					break
				}
				n++
			}
			if n != stop || work.held.Load() != 0 {
				t.Errorf("%s: stopped at %d, not at %d; %d at work", format, n, stop, work.held.Load())
			}
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

// A tar's body can be made only while its content passes by.
func TestOutOfTurn(t *testing.T) {
	for _, format := range formats {
		a, ms, err := verify(t.Context(), build(t, format, someFiles()), roomy)
		must(t, err)
		b, err := ms[1].Body(t.Context())
		if (err == nil) == a.sequential() {
			t.Errorf("%s: body outside of Each: %v", format, err)
		}
		if err == nil {
			must(t, b.Close())
		}
	}
}

// A member is passed over where no body is made of it, and an error ends the way at any of them.
func TestEachInPart(t *testing.T) {
	noLeak(t)
	enough := errors.New("enough")
	files := []file{{"a/A/a.sym", "a"}, {"b/B/b.sym", "bb"}, {"c/C/c.pdb", "ccc"}}
	for _, format := range formats {
		a, ms, err := verify(t.Context(), build(t, format, files), roomy)
		must(t, err)
		for stop := range ms {
			i := 0
			err := a.Each(t.Context(), 1, func(ctx context.Context, m *Member) error {
				if m != ms[i] {
					t.Errorf("%s: member %d is %s", format, i, m.Name)
				}
				if i == stop {
					if got := content(ctx, t, m); got != files[i].content {
						t.Errorf("%s: %s holds %q", format, m.Name, got)
					}
					return enough
				}
				i++
				return nil
			})
			if i != stop || !errors.Is(err, enough) {
				t.Errorf("%s: ended at %d, not at %d: %v", format, i, stop, err)
			}
		}
	}
}

// The members of a zip are stored at once, as many as are said; of a tar, in turn.
func TestEachAtOnce(t *testing.T) {
	files := make([]file, 6)
	for i := range files {
		files[i] = file{fmt.Sprintf("a/A/%d.sym", i), "x"}
	}
	for _, format := range formats {
		a, _, err := verify(t.Context(), build(t, format, files), roomy)
		must(t, err)
		most := 3
		if a.sequential() {
			most = 1
		}
		var busy atomic.Int64
		at := make(chan struct{}, len(files))
		must(t, a.Each(t.Context(), 3, func(context.Context, *Member) error {
			if n := int(busy.Add(1)); n > most {
				t.Errorf("%s: %d at once", format, n)
			}
			at <- struct{}{}
			for len(at) < most { // all that may be are here at least once
				runtime.Gosched()
			}
			busy.Add(-1)
			return nil
		}))
	}
}

// A panic of the caller's is the caller's, not a decoder's.
func TestCallersPanic(t *testing.T) {
	a, _, err := verify(t.Context(), build(t, "tar.gz", someFiles()), roomy)
	must(t, err)
	for name, f := range map[string]func(){
		"members": func() {
			for _, err := range a.Members(t.Context()) {
				must(t, err)
				panic("mine")
			}
		},
		"each": func() { _ = a.Each(t.Context(), 1, func(context.Context, *Member) error { panic("mine") }) },
	} {
		func() {
			defer func() {
				if p := recover(); p != "mine" {
					t.Errorf("%s: recovered %v", name, p)
				}
			}()
			f()
		}()
	}
}

// The archive changes between the passes, which only a bug of ours can bring about: never a client error.
func TestChangedBetweenPasses(t *testing.T) {
	for _, format := range formats[1:] {
		data := build(t, format, someFiles())
		a, _, err := verify(t.Context(), data, roomy)
		must(t, err)
		copy(data, build(t, format, []file{{"x/A/x.sym", strings.Repeat("x", 99)}, {"y/A/y.sym", "y"}}))
		err = a.Each(t.Context(), 1, func(context.Context, *Member) error { return nil })
		var fault *Error
		if err == nil || errors.As(err, &fault) {
			t.Errorf("%s: %v", format, err)
		}
	}
	data := zipOf(t, someFiles())
	_, ms, err := verify(t.Context(), data, roomy)
	must(t, err)
	copy(data[ms[2].zip.data:], "\xff\xff")
	b, err := ms[2].Body(t.Context())
	must(t, err)
	if _, err := io.ReadAll(b); err == nil {
		t.Error("a changed member was read without an error")
	}
}
