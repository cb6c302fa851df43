package archive

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"tecken-upload/internal/archive/tartest"
)

// A readFile knows how far it was read.
type readFile struct {
	*bytes.Reader
	end   atomic.Int64 // of what was read
	bytes atomic.Int64 // read in all
}

func (f *readFile) ReadAt(p []byte, off int64) (int, error) {
	n, err := f.Reader.ReadAt(p, off)
	f.end.Store(max(f.end.Load(), off+int64(n)))
	f.bytes.Add(int64(n))
	return n, err
}

// mixed returns n bytes that compress to about half.
func mixed(n int) string {
	r := rand.New(rand.NewPCG(1, uint64(n)))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.IntN(16))
	}
	return string(b)
}

// tarFiles are members of a tar, most of which is one of size bytes.
func tarFiles(size int) []file {
	return append(someFiles(), file{"xul.pdb/ABC/xul.pdb", mixed(size)}, file{"last.pdb/ABC/last.pdb", "last"})
}

// tarFormats are the formats whose members are in order.
func tarFormats() []string { return formats[1:] }

// All of a tar that has arrived was read. After the last byte there is nothing left to read, and no turn is held before.
func TestATarIsReadAsItArrives(t *testing.T) {
	for _, format := range tarFormats() {
		t.Run(format, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				data := build(t, format, tarFiles(besideSize+1))
				_, want, err := verify(t.Context(), data, wide)
				must(t, err)
				file, w := &readFile{Reader: bytes.NewReader(data)}, &desk{spare: math.MaxInt64}
				var found []string
				f := Follow(t.Context(), file, wide, w, func(m *Member) {
					if m.Ready() {
						t.Errorf("%s is ready, out of its turn", m.Name)
					}
					found = append(found, m.Name)
				})
				defer f.Close()
				for n := 600; n < len(data); n += len(data) / 50 {
					f.Arrived(int64(n))
					synctest.Wait()
					if end := file.end.Load(); end != int64(n) {
						t.Fatalf("%d bytes are there, and %d were read", n, end)
					}
					if held := w.held.Load(); held != 0 {
						t.Fatalf("%d turns are held while bytes are awaited", held)
					}
				}
				f.Arrived(int64(len(data)))
				synctest.Wait()
				turns, read := len(w.costs), file.bytes.Load()
				a, err := f.Open(t.Context(), int64(len(data)))
				must(t, err)
				ms, err := collect(t.Context(), a)
				must(t, err)
				if got, want := results(ms), results(want); !reflect.DeepEqual(got, want) {
					t.Errorf("%q instead of %q", got, want)
				}
				const headers = 4 << 10
				if more := file.bytes.Load() - read; len(w.costs) != turns || w.memory != nil || more > headers {
					t.Errorf("after the last byte %d bytes were read, with %d turns and the memory %d", more, len(w.costs)-turns, w.memory)
				}
				var symbols []string
				for _, m := range ms {
					if m.wanted() {
						symbols = append(symbols, m.Name)
					}
				}
				if !slices.Equal(found, symbols) {
					t.Errorf("found %q, instead of %q", found, symbols)
				}
			})
		})
	}
}

// followAll lets data arrive in two parts, each with time for a follower, and returns what it was as a whole.
func followAll(t *testing.T, data []byte, w Work) (*Archive, []*Member, error) {
	t.Helper()
	f := Follow(t.Context(), bytes.NewReader(data), wide, w, func(*Member) {})
	defer f.Close()
	f.Arrived(int64(len(data) / 2))
	synctest.Wait()
	a, err := f.Open(t.Context(), int64(len(data)))
	must(t, err)
	ms, err := collect(t.Context(), a)
	return a, ms, err
}

// twoWindows is a tar.zst whose second half needs a larger window than its first.
func twoWindows(t *testing.T) []byte {
	t.Helper()
	data := tarOf(t, tarFiles(100_000))
	half := bytes.Index(data, []byte("last.pdb/ABC/last.pdb"))
	return append(tartest.Zstd(t, 1<<20, data[:half]), tartest.Zstd(t, 64<<20, data[half:])...)
}

// What a follower gives up is read once the file is whole, and no member is given twice.
func TestATarThatIsNotFollowedToItsEnd(t *testing.T) {
	lost := errors.New("the slot is lost")
	for name, c := range map[string]struct {
		data func(t *testing.T) []byte
		desk func() *desk
		want []int64 // memory that was waited for
	}{
		"no memory": {
			data: func(t *testing.T) []byte { return build(t, "tar.xz", tarFiles(100_000)) },
			desk: func() *desk { return &desk{spare: 1 << 20} },
			want: []int64{9 << 20},
		},
		"more memory later": {
			data: twoWindows,
			desk: func() *desk { return &desk{spare: 1 << 30} },
		},
		"no more memory later": {
			data: twoWindows,
			desk: func() *desk { return &desk{spare: 16 << 20} },
			want: []int64{10 << 20, 130 << 20},
		},
		"a lost turn": {
			data: func(t *testing.T) []byte { return build(t, "tar.gz", tarFiles(100_000)) },
			desk: func() *desk {
				var turns atomic.Int64
				return &desk{spare: 1 << 30, inflate: func(ctx context.Context, _ int64) (context.Context, error) {
					if turns.Add(1) == 3 {
						ended, cancel := context.WithCancelCause(ctx)
						cancel(lost)
						return ended, nil
					}
					return ctx, nil
				}}
			},
			want: []int64{256 << 10},
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				data, w := c.data(t), c.desk()
				plain, want, err := verify(t.Context(), data, wide)
				must(t, err)
				a, ms, err := followAll(t, data, w)
				must(t, err)
				if got, want := results(ms), results(want); !reflect.DeepEqual(got, want) {
					t.Errorf("%q instead of %q", got, want)
				}
				if !slices.Equal(w.memory, c.want) {
					t.Errorf("waited for the memory %d, instead of %d", w.memory, c.want)
				}
				if spared := w.spared.Load(); (spared == 0) != (c.want != nil) {
					t.Errorf("has %d bytes to spare in use", spared)
				}
				if got, want := contents(t, a), contents(t, plain); !maps.Equal(got, want) {
					t.Error("contents differ")
				}
			})
		})
	}
}

// The fault of a tar is found as it arrives, and given in its turn. What was to spare for it is free at once.
func TestTheFaultOfATarIsKept(t *testing.T) {
	for _, format := range tarFormats() {
		t.Run(format, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				files := append([]file{{"a.pdb/ABC/a.pdb", "one"}, {"a.pdb/ABC/a.pdb", "another"}}, tarFiles(300_000)...)
				data := build(t, format, files)
				_, _, want := verify(t.Context(), data, wide)
				w := &desk{spare: math.MaxInt64}
				f := Follow(t.Context(), bytes.NewReader(data), wide, w, func(*Member) {})
				defer f.Close()
				f.Arrived(int64(len(data) - 1))
				synctest.Wait()
				if spared := w.spared.Load(); spared != 0 {
					t.Errorf("%d bytes to spare are in use", spared)
				}
				turns := len(w.costs)
				a, err := f.Open(t.Context(), int64(len(data)))
				must(t, err)
				n := 0
				for _, err = range a.Members(t.Context()) {
					n++
				}
				var bad *Error
				if !errors.As(err, &bad) || err.Error() != want.Error() || !strings.Contains(bad.Reason, "differ") {
					t.Errorf("%v, instead of %v", err, want)
				}
				if len(w.costs) != turns || n != 2 {
					t.Errorf("%d members, read again in %d turns", n, len(w.costs)-turns)
				}
			})
		})
	}
}

// A follower whose tar never becomes whole ends, with its turn, memory and goroutines; so does one that is waited for.
func TestAFollowerOfATarEnds(t *testing.T) {
	for _, format := range tarFormats() {
		for _, share := range []int{1000, 3, 2} {
			t.Run(fmt.Sprintf("%s, 1/%d", format, share), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					data := build(t, format, tarFiles(100_000))
					w := &desk{spare: math.MaxInt64}
					f := Follow(t.Context(), bytes.NewReader(data), wide, w, func(*Member) {})
					f.Arrived(int64(len(data) / share))
					synctest.Wait()
					f.Close()
					if held, spared := w.held.Load(), w.spared.Load(); held != 0 || spared != 0 {
						t.Errorf("%d turns are held, and %d bytes", held, spared)
					}
				}) // which fails where a goroutine is left
			})
		}
	}
}

// The members of a followed tar end with their context, while the follower still waits.
func TestMembersOfAFollowedTarEndWithTheContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gone := errors.New("gone")
		data := build(t, "tar.gz", tarFiles(100_000))
		ctx, cancel := context.WithCancelCause(t.Context())
		w := &desk{spare: math.MaxInt64, inflate: func(turn context.Context, _ int64) (context.Context, error) {
			<-ctx.Done() // there is no turn before
			return turn, nil
		}}
		f := Follow(t.Context(), bytes.NewReader(data), wide, w, func(*Member) {})
		defer f.Close()
		a, err := f.Open(t.Context(), int64(len(data)))
		must(t, err)
		go func() {
			synctest.Wait()
			cancel(gone)
		}()
		if ms, err := collect(ctx, a); !errors.Is(err, gone) {
			t.Errorf("%d members, %v", len(ms), err)
		}
	})
}

var _ io.ReaderAt = (*readFile)(nil)
