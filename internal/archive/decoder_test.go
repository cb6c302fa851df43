package archive

import (
	"bytes"
	"errors"
	"hash/crc32"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/klauspost/compress/zstd"
)

// zstWith compresses data with a window of that size.
func zstWith(t testing.TB, window int, data []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := zstd.NewWriter(&b, zstd.WithWindowSize(window), zstd.WithSingleSegment(false), zstd.WithEncoderConcurrency(1))
	must(t, err)
	_, err = w.Write(data)
	must(t, err)
	must(t, w.Flush()) // or the window would be that of the content
	must(t, w.Close())
	return b.Bytes()
}

// xzWith compresses data, and says that it needs a dictionary of a size that the format writes as code.
func xzWith(t testing.TB, code byte, data []byte) []byte {
	t.Helper()
	// After the stream header of 12 bytes: the block header's size and flags, the filter LZMA2 with one byte
	// of properties, which is the dictionary's size (22: 8 MiB, 28: 64 MiB, 30: 128 MiB), padding, CRC-32.
	xz := compress(t, "tar.xz", data)
	header := xz[12 : 12+4+4*int(xz[12])]
	if header[2] != 0x21 || header[3] != 1 {
		t.Fatalf("no LZMA2 in the block header % x", header)
	}
	header[4] = code
	le.PutUint32(header[len(header)-4:], crc32.ChecksumIEEE(header[:len(header)-4]))
	return xz
}

// The memory of a decoder is known before it is taken, and what is too much is refused with what to do about it.
func TestMemory(t *testing.T) {
	data := tarOf(t, someFiles())
	skippable := []byte("\x50\x2a\x4d\x18\x04\x00\x00\x00pzst")
	for name, c := range map[string]struct {
		data   []byte
		memory int64
	}{
		"zip":                          {build(t, "zip", someFiles()), 0},
		"tar":                          {data, 0},
		"tar.gz":                       {compress(t, "tar.gz", data), gzipMemory},
		"tar.bz2":                      {compress(t, "tar.bz2", data), bzip2Memory},
		"small window":                 {zstWith(t, 1<<20, data), usualWindow + zstdMemory},
		"64 MiB":                       {zstWith(t, 64<<20, data), 64<<20 + zstdMemory},
		"128 MiB":                      {zstWith(t, 128<<20, data), 128<<20 + zstdMemory},
		"behind a skippable frame":     {append(skippable, zstWith(t, 64<<20, data)...), 64<<20 + zstdMemory},
		"in one segment":               {compress(t, "tar.zst", data), usualWindow + zstdMemory},
		"a dictionary of 8 MiB":        {xzWith(t, 22, data), 8<<20 + xzMemory},
		"a dictionary of 64 MiB":       {xzWith(t, 28, data), 64<<20 + xzMemory},
		"a dictionary of some kind":    {compress(t, "tar.xz", data), usualWindow + xzMemory},
		"a dictionary of one and half": {xzWith(t, 27, data), 48<<20 + xzMemory},
	} {
		a, _, err := verify(t.Context(), c.data, roomy)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got := append(a.work.(*desk).memory, 0)[0]; got != c.memory {
			t.Errorf("%s: %d bytes, want %d", name, got, c.memory)
		}
		contents(t, a)
	}
	for want, data := range map[string][]byte{
		"asks for a window of 268435456 bytes, of at most 134217728 that are allowed; use zstd without --long": zstWith(t, 256<<20, data),
		"asks for a dictionary of 134217728 bytes, of at most 67108864 that are allowed; use xz -9":            xzWith(t, 30, data),
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		got := rejected(t, data, roomy, ErrInvalid)
		runtime.ReadMemStats(&after)
		if !strings.Contains(got, want) {
			t.Errorf("%q does not say %q", got, want)
		}
		if n := after.TotalAlloc - before.TotalAlloc; n > 4<<20 {
			t.Errorf("%s: %d bytes allocated", want, n)
		}
	}
}

// A file of several parts is read again, with more memory, if a later part needs more than the first; no member comes twice.
func TestMoreMemory(t *testing.T) {
	data := tarOf(t, someFiles())
	for name, parts := range map[string][2][]byte{
		"tar.zst": {zstWith(t, 1<<20, data[:1024]), zstWith(t, 64<<20, data[1024:])},
		"tar.xz":  {xzWith(t, 22, data[:1024]), xzWith(t, 28, data[1024:])},
	} {
		file := append(parts[0], parts[1]...)
		a, ms, err := verify(t.Context(), file, roomy)
		must(t, err)
		if c := a.format.compression; !slices.Equal(a.work.(*desk).memory, []int64{usualWindow + c.memory, c.most + c.memory}) {
			t.Errorf("%s: %d bytes", name, a.work.(*desk).memory)
		}
		for i, m := range ms {
			if m.Index != i {
				t.Errorf("%s: member %d comes at %d", name, m.Index, i)
			}
		}
		contents(t, a)
	}
	for name, parts := range map[string][2][]byte{
		"tar.zst": {zstWith(t, 1<<20, data[:1024]), zstWith(t, 256<<20, data[1024:])},
		"tar.xz":  {xzWith(t, 22, data[:1024]), xzWith(t, 30, data[1024:])},
	} {
		file := append(parts[0], parts[1]...)
		work := new(desk)
		a, err := open(t.Context(), file, roomy, work)
		must(t, err)
		if _, err = collect(t.Context(), a); !errors.Is(err, ErrInvalid) || len(work.memory) != 2 {
			t.Errorf("%s: %v, memory %d", name, err, work.memory)
		}
	}
}

// The memory of dead windows is given back when there is much of it, and a few seconds after the last.
func TestWindowsAreGivenBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		freed := 0
		w := discarded{free: func() { freed++ }}
		expect := func(want int) {
			t.Helper()
			synctest.Wait()
			if freed != want {
				t.Errorf("given back %d times, want %d", freed, want)
			}
		}
		w.discard(0)
		<-time.After(time.Hour)
		expect(0)
		w.discard(maxDiscarded - 1)
		expect(0)
		w.discard(1)
		expect(1)
		<-time.After(time.Hour)
		expect(1)
		w.discard(1)
		<-time.After(discardedFor / 2)
		w.discard(1)
		<-time.After(discardedFor / 2)
		expect(2)
		<-time.After(time.Hour)
		expect(2)
	})
}
