package archive

import (
	"archive/zip"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"reflect"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"tecken-upload/internal/testenv"
)

// A sighting is what a Follower found before the archive was opened.
type sighting struct {
	mu      sync.Mutex
	members map[string]string // their contents by name
}

// arrive lets data arrive up to each cut, in order, with each a time for the follower to have read what it can, and opens the archive. It
// runs in a bubble.
func arrive(ctx context.Context, t testing.TB, data []byte, cuts []int, l Limits, w Work) (*Archive, *sighting, error) {
	t.Helper()
	seen := &sighting{members: make(map[string]string)}
	f := Follow(ctx, bytes.NewReader(data), l, w, func(m *Member) {
		if !m.Ready() {
			return
		}
		text := content(ctx, t, m)
		seen.mu.Lock()
		defer seen.mu.Unlock()
		seen.members[m.Name] = text
	})
	t.Cleanup(f.Close)
	for _, cut := range cuts {
		f.Arrived(int64(min(cut, len(data))))
		synctest.Wait()
	}
	a, err := f.Open(ctx, int64(len(data)))
	return a, seen, err
}

// results are what is to be the same however an archive was verified.
func results(ms []*Member) (list []string) {
	for _, m := range ms {
		list = append(list, fmt.Sprintf("%d %q %q ignored %t duplicate %t %d %x %+v", m.Index, m.Name, m.Key, m.Ignored, m.Duplicate, m.Size, m.MD5, m.Header))
	}
	return list
}

// sums are the CRC-32 that the bodies are announced with.
func sums(t testing.TB, a *Archive) map[string]uint32 {
	t.Helper()
	sums := make(map[string]uint32)
	must(t, a.Each(t.Context(), 1, func(ctx context.Context, m *Member) error {
		b, err := m.Body(ctx)
		must(t, err)
		sums[m.Name] = b.CRC32
		return b.Close()
	}))
	return sums
}

// checkFollowed compares an archive that arrived in pieces with one that was whole.
func checkFollowed(ctx context.Context, t *testing.T, data []byte, cuts []int, l Limits) {
	t.Helper()
	plain, want, wantErr := verify(ctx, data, l)
	a, seen, err := arrive(ctx, t, data, cuts, l, &desk{spare: math.MaxInt64})
	var got []*Member
	if err == nil {
		got, err = collect(ctx, a)
	}
	var bad, wantBad *Error
	switch {
	case errors.As(wantErr, &wantBad):
		if !errors.As(err, &bad) || !errors.Is(bad, wantBad.Kind) {
			t.Fatalf("cut at %d: %v, instead of %v", cuts, err, wantErr)
		}
		if plain != nil && plain.sequential() && bad.Reason != wantBad.Reason {
			t.Fatalf("cut at %d: %q, instead of %q", cuts, bad.Reason, wantBad.Reason)
		}
		return
	case err != nil || wantErr != nil:
		t.Fatalf("cut at %d: %v, instead of %v", cuts, err, wantErr)
	}
	if got, want := results(got), results(want); !reflect.DeepEqual(got, want) {
		t.Fatalf("cut at %d:\n%s\ninstead of\n%s", cuts, strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	whole := contents(t, plain)
	if got := contents(t, a); !maps.Equal(got, whole) {
		t.Errorf("cut at %d: contents differ", cuts)
	}
	a.early.Close()
	if got, want := sums(t, a), sums(t, plain); !maps.Equal(got, want) {
		t.Errorf("cut at %d: the bodies have the CRC-32 %v, instead of %v", cuts, got, want)
	}
	for name, text := range seen.members {
		if there, ok := whole[name]; ok && there != text {
			t.Errorf("cut at %d: %s was seen with another content", cuts, name)
		}
	}
}

// FuzzFollow: an archive that arrives in pieces is what it is as a whole.
func FuzzFollow(f *testing.F) {
	files := someFiles()
	files[1].content = symText
	small := []byte{1, 40, 90, 200}
	for _, format := range formats {
		f.Add(build(f, format, files), small)
	}
	for _, cases := range []map[string]hostile{hostileZips(), ambiguousZips(), hostileTars()} {
		for _, c := range cases {
			if len(c.data) < 4<<10 {
				f.Add(c.data, small)
			}
		}
	}
	f.Add(makeZip([]*entry{deflated("a/A/a.sym", symText), stored("a/A/a.pdb", "pdb")}, withEnd64(nil)), small)
	f.Add(makeZip([]*entry{emptyBlocks("a/A/a.sym")}, nil), small)
	f.Fuzz(func(t *testing.T, data, steps []byte) {
		var cuts []int
		at := 0
		for _, step := range steps[:min(len(steps), 100)] {
			at += int(step)
			cuts = append(cuts, at)
		}
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithTimeoutCause(t.Context(), testenv.Patience, errors.New("does not end"))
			defer cancel()
			checkFollowed(ctx, t, data, cuts, fuzzLimits)
		})
	})
}

// What an archive's directory confirms is not read again: after the last byte there is nothing left to inflate. No turn is held meanwhile.
func TestNothingIsLeftAfterTheLastByte(t *testing.T) {
	files := someFiles()
	var known []*entry // with sizes in local headers
	for _, f := range files[1:] {
		known = append(known, deflated(f.name, f.content))
	}
	known = append(known, stored("xul/ABC/xul.dll", strings.Repeat("x", 3000)))
	streamed := files[1:2]
	for i := range 5 {
		streamed = append(streamed, file{fmt.Sprintf("m%d.so/ABC%d/m%d.so.sym", i, i, i), strings.Repeat(symText, 10*i)})
	}
	for name, data := range map[string][]byte{
		"sizes in local headers":    makeZip(known, nil),
		"sizes in data descriptors": deflatedZip(t, streamed),
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := new(desk)
				f := Follow(t.Context(), bytes.NewReader(data), roomy, w, func(*Member) {})
				defer f.Close()
				for n := 0; n < len(data); n += 100 {
					f.Arrived(int64(n))
					synctest.Wait()
					if held := w.held.Load(); held != 0 {
						t.Fatalf("%d turns are held while bytes are awaited", held)
					}
				}
				f.Arrived(int64(len(data)))
				synctest.Wait()
				before := len(w.costs)
				a, err := f.Open(t.Context(), int64(len(data)))
				must(t, err)
				ms, err := collect(t.Context(), a)
				must(t, err)
				if len(w.costs) != before || before < len(ms) {
					t.Errorf("%d of %d members were read after the last byte, %d before", len(w.costs)-before, len(ms), before)
				}
			})
		})
	}
}

// deflatedZip writes a zip of deflated members with data descriptors.
func deflatedZip(t testing.TB, files []file) []byte {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for _, f := range files {
		m, err := w.Create(f.name)
		must(t, err)
		_, err = io.WriteString(m, f.content)
		must(t, err)
	}
	must(t, w.Close())
	return b.Bytes()
}

// What a follower saw does not count where the directory disagrees, or where it saw a fault.
func TestTheDirectoryIsTheAuthority(t *testing.T) {
	sym := "a.pdb/ABC/a.sym"
	broken := deflated(sym, symText)
	broken.data = broken.data[:9] + "\xff\xff" + broken.data[11:]
	short := deflated(sym, symText)
	short.size = 3
	twice := deflated(sym, symText)
	twice.central = func(rec []byte) { rec[20]-- } // the size of its data
	sum := deflated(sym, symText)
	sum.central = func(rec []byte) { rec[16]++ } // its CRC-32
	for name, c := range map[string]struct {
		data []byte
		want string // of the sentence
	}{
		"another CRC-32":     {makeZip([]*entry{sum}, nil), "contradicts"},
		"another size":       {makeZip([]*entry{twice}, nil), "contradicts"},
		"a broken stream":    {makeZip([]*entry{broken}, nil), "damaged"},
		"more than declared": {makeZip([]*entry{short}, nil), "more than the 3 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a, _, err := arrive(t.Context(), t, c.data, []int{50, len(c.data)}, roomy, new(desk))
				if err == nil {
					_, err = collect(t.Context(), a)
				}
				var bad *Error
				if !errors.As(err, &bad) || !strings.Contains(bad.Reason, c.want) {
					t.Errorf("%v, instead of %q", err, c.want)
				}
			})
		})
	}
}

// A follower whose file never becomes whole ends, with its turns and goroutines.
func TestAFollowerEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		data := deflatedZip(t, someFiles()[1:2])
		w := new(desk)
		f := Follow(t.Context(), bytes.NewReader(data), roomy, w, func(*Member) {})
		f.Arrived(int64(len(data) / 2))
		synctest.Wait()
		f.Close()
		if held := w.held.Load(); held != 0 {
			t.Errorf("%d turns are held", held)
		}
	}) // which fails where a goroutine is left
}
