package tarball

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"runtime"
	"strings"
	"testing"

	"tecken-upload/internal/archive/fault"
	"tecken-upload/internal/archive/tartest"
)

// xzWith compresses data, and says that it needs a dictionary of a size that the format writes as code.
func xzWith(t testing.TB, code byte, data []byte) []byte {
	t.Helper()
	// After the stream header of 12 bytes: the block header's size and flags, the filter LZMA2 with one byte
	// of properties, which is the dictionary's size (22: 8 MiB, 28: 64 MiB, 30: 128 MiB), padding, CRC-32.
	xz := tartest.Compress(t, "tar.xz", data)
	header := xz[12 : 12+4+4*int(xz[12])]
	if header[2] != 0x21 || header[3] != 1 {
		t.Fatalf("no LZMA2 in the block header % x", header)
	}
	header[4] = code
	binary.LittleEndian.PutUint32(header[len(header)-4:], crc32.ChecksumIEEE(header[:len(header)-4]))
	return xz
}

// The memory of a decoder is known before it is taken, and what is too much is refused with what to do about it.
func TestMemory(t *testing.T) {
	data := someTar()
	skippable := []byte("\x50\x2a\x4d\x18\x04\x00\x00\x00pzst")
	for name, c := range map[string]struct {
		data   []byte
		memory int64
	}{
		"tar":                          {data, 0},
		"tar.gz":                       {tartest.Compress(t, "tar.gz", data), gzipMemory},
		"tar.bz2":                      {tartest.Compress(t, "tar.bz2", data), bzip2Memory},
		"small window":                 {tartest.Zstd(t, 1<<20, data), usualWindow + zstdMemory},
		"64 MiB":                       {tartest.Zstd(t, 64<<20, data), 64<<20 + zstdMemory},
		"128 MiB":                      {tartest.Zstd(t, 128<<20, data), 128<<20 + zstdMemory},
		"behind a skippable frame":     {append(skippable, tartest.Zstd(t, 64<<20, data)...), 64<<20 + zstdMemory},
		"in one segment":               {tartest.Compress(t, "tar.zst", data), usualWindow + zstdMemory},
		"a dictionary of 8 MiB":        {xzWith(t, 22, data), 8<<20 + xzMemory},
		"a dictionary of 64 MiB":       {xzWith(t, 28, data), 64<<20 + xzMemory},
		"a dictionary of some kind":    {tartest.Compress(t, "tar.xz", data), usualWindow + xzMemory},
		"a dictionary of one and half": {xzWith(t, 27, data), 48<<20 + xzMemory},
	} {
		tarball, err := open(c.data)
		must(t, err)
		if got := tarball.Memory(); got != c.memory {
			t.Errorf("%s: %d bytes, want %d", name, got, c.memory)
		}
		if err := verify(t.Context(), tarball, c.data); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for want, data := range map[string][]byte{
		"asks for a window of 268435456 bytes, of at most 134217728 that are allowed; use zstd without --long": tartest.Zstd(t, 256<<20, data),
		"asks for a dictionary of 134217728 bytes, of at most 67108864 that are allowed; use xz -9":            xzWith(t, 30, data),
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := open(data)
		runtime.ReadMemStats(&after)
		if !errors.Is(err, fault.ErrInvalid) || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not say %q", err, want)
		}
		if n := after.TotalAlloc - before.TotalAlloc; n > 4<<20 {
			t.Errorf("%s: %d bytes allocated", want, n)
		}
	}
}

// A file of several parts, the first of which does not ask for most, asks for more memory once that is known.
func TestMoreMemory(t *testing.T) {
	data := someTar()
	for name, c := range map[string]struct {
		parts   [2][]byte
		refused bool
	}{
		"zstd":           {[2][]byte{tartest.Zstd(t, 1<<20, data[:1024]), tartest.Zstd(t, 64<<20, data[1024:])}, false},
		"xz":             {[2][]byte{xzWith(t, 22, data[:1024]), xzWith(t, 28, data[1024:])}, false},
		"zstd, too much": {[2][]byte{tartest.Zstd(t, 1<<20, data[:1024]), tartest.Zstd(t, 256<<20, data[1024:])}, true},
		"xz, too much":   {[2][]byte{xzWith(t, 22, data[:1024]), xzWith(t, 30, data[1024:])}, true},
	} {
		file := append(c.parts[0], c.parts[1]...)
		tarball, err := open(file)
		must(t, err)
		if err := verify(t.Context(), tarball, file); !errors.Is(err, ErrMoreMemory) {
			t.Errorf("%s: %v", name, err)
		}
		if want := tarball.compression.most + tarball.compression.memory; tarball.Memory() != want {
			t.Errorf("%s: %d bytes, want %d", name, tarball.Memory(), want)
		}
		if err := verify(t.Context(), tarball, file); c.refused != errors.Is(err, fault.ErrInvalid) || !c.refused && err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
