package testarchive

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"crypto/md5"
	"encoding/hex"
	"errors"
	"hash/crc32"
	"io"
	"math"
	"path"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/klauspost/compress/zstd"

	"tecken-upload/internal/symbol"
)

// whatIsStored leaves out of a Member what only a manifest knows.
var whatIsStored = cmpopts.IgnoreFields(Member{}, "CodeID", "Ignored", "content")

func TestZipReadsBack(t *testing.T) {
	specs := map[string]Spec{
		"defaults": {},
		"stored":   {Store: true, Listing: true},
		"plain":    {Mix: PlainMix, Members: 20},
		"symbols":  {Mix: OnlySym, Members: 1, Level: 1},
	}
	for name, spec := range specs {
		t.Run(name, func(t *testing.T) {
			archive, manifest := write(t, spec)
			if manifest.Bytes != int64(len(archive)) {
				t.Errorf("%d bytes, the manifest says %d", len(archive), manifest.Bytes)
			}
			r, err := zip.NewReader(bytes.NewReader(archive), int64(len(archive)))
			if err != nil {
				t.Fatal(err)
			}
			var got []Member
			for _, f := range r.File {
				body, err := f.Open()
				if err != nil {
					t.Fatal(err)
				}
				m := read(t, f.Name, body)
				m.Stored = int64(f.CompressedSize64)
				got = append(got, m)
			}
			if diff := cmp.Diff(manifest.Members, got, whatIsStored); diff != "" {
				t.Errorf("-manifest +archive:\n%s", diff)
			}
		})
	}
}

func TestTarReadsBack(t *testing.T) {
	decoders := map[Format]func(io.Reader) (io.Reader, error){
		Tar:     func(r io.Reader) (io.Reader, error) { return r, nil },
		TarGzip: func(r io.Reader) (io.Reader, error) { return gzip.NewReader(r) },
		TarZstd: func(r io.Reader) (io.Reader, error) { return zstd.NewReader(r, zstd.WithDecoderConcurrency(1)) },
	}
	for format, decoder := range decoders {
		t.Run(string(format), func(t *testing.T) {
			archive, manifest := write(t, Spec{Format: format, Listing: true})
			plain, err := decoder(bytes.NewReader(archive))
			if err != nil {
				t.Fatal(err)
			}
			var got []Member
			for r := tar.NewReader(plain); ; {
				header, err := r.Next()
				if errors.Is(err, io.EOF) {
					break
				}
				if err != nil {
					t.Fatal(err)
				}
				m := read(t, header.Name, r)
				m.Stored = m.Size
				got = append(got, m)
			}
			if diff := cmp.Diff(manifest.Members, got, whatIsStored); diff != "" {
				t.Errorf("-manifest +archive:\n%s", diff)
			}
		})
	}
}

func TestBytesAreAsWanted(t *testing.T) {
	for _, spec := range []Spec{
		{Bytes: 2 << 20},
		{Bytes: 2 << 20, Store: true},
		{Bytes: 2 << 20, Mix: OnlySym, Members: 5},
		{Bytes: 2 << 20, Mix: PlainMix, Format: TarGzip},
		{Bytes: 2 << 20, Format: Tar},
	} {
		manifest, err := Write(io.Discard, spec)
		if err != nil {
			t.Fatal(err)
		}
		if ratio := float64(manifest.Bytes) / float64(spec.Bytes); math.Abs(ratio-1) > 0.05 {
			t.Errorf("%+v: %d bytes", spec, manifest.Bytes)
		}
	}
}

func TestMixIsThatOfRealUploads(t *testing.T) {
	manifest, err := Write(io.Discard, Spec{Bytes: 4 << 20, Members: 200, Seed: 3})
	if err != nil {
		t.Fatal(err)
	}
	got, stored := map[string]int{}, []int64{}
	for _, m := range manifest.Members {
		stored = append(stored, m.Stored)
		file := path.Base(m.Name)
		got[file[strings.IndexByte(file, '.'):]]++
	}
	got[".sym"] += got[".so.sym"]
	delete(got, ".so.sym")
	want := map[string]int{".sym": 82, ".so.dbg.gz": 38, ".pd_": 36, ".ex_": 20, ".dl_": 16, ".dSYM.tar.bz2": 8}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("members by extension: -want +got:\n%s", diff)
	}
	slices.Sort(stored)
	largest := stored[len(stored)-1] + stored[len(stored)-2] + stored[len(stored)-3]
	if share := float64(largest) / float64(manifest.Bytes); share < 0.90 || share > 0.97 {
		t.Errorf("three members hold %.0f %% of the bytes", 100*share)
	}
}

func TestNamesAreKeys(t *testing.T) {
	for _, mix := range []Mix{RealMix, PlainMix, OnlySym} {
		manifest, err := Write(io.Discard, Spec{Mix: mix, Listing: true, Store: true})
		if err != nil {
			t.Fatal(err)
		}
		seen := map[string]bool{}
		for _, m := range manifest.Members {
			if _, err := symbol.ParseKey(m.Name); (err != nil) != m.Ignored || seen[m.Name] {
				t.Errorf("%s: %v", m.Name, err)
			}
			seen[m.Name] = true
		}
		if len(seen) != 105 {
			t.Errorf("%d members", len(seen))
		}
	}
}

func TestWriteIsReproducible(t *testing.T) {
	first, manifest := write(t, Spec{Seed: 1})
	if again, _ := write(t, Spec{Seed: 1}); !bytes.Equal(first, again) {
		t.Error("one seed made two archives")
	}
	_, other := write(t, Spec{Seed: 2})
	for i := range manifest.Members {
		if manifest.Members[i].MD5 == other.Members[i].MD5 {
			t.Errorf("two seeds made one %s", manifest.Members[i].Name)
		}
	}
}

func TestCompressedMembers(t *testing.T) {
	for _, size := range []int64{600, 65535 + 23, 65535 + 24, 65535 + 28, 65535 + 29, 300_000} {
		var b bytes.Buffer
		if err := opaque(&b, 1, size, ".dbg.gz"); err != nil {
			t.Fatal(err)
		}
		if int64(b.Len()) != size {
			t.Errorf("%d bytes instead of %d", b.Len(), size)
		}
		r, err := gzip.NewReader(&b)
		if err != nil {
			t.Fatal(err)
		}
		if n, err := io.Copy(io.Discard, r); err != nil || n < size-100 {
			t.Errorf("%d bytes of gzip hold %d: %v", size, n, err)
		}
	}
}

func TestWriteFails(t *testing.T) {
	for name, spec := range map[string]Spec{
		"mix":     {Mix: "cocktail"},
		"format":  {Format: "rar"},
		"members": {Bytes: 1000, Members: 100},
		"level":   {Level: 77, Format: TarGzip},
	} {
		if _, err := Write(io.Discard, spec); err == nil {
			t.Errorf("unusable %s: no error", name)
		}
	}
	full := errors.New("no space left")
	if _, err := Write(failing{full}, Spec{}); !errors.Is(err, full) {
		t.Errorf("writer failed, got %v", err)
	}
}

// TestMemoryDoesNotGrow compares what an archive allocates in all with what one 30 times its size does.
func TestMemoryDoesNotGrow(t *testing.T) {
	for _, spec := range []Spec{{Mix: OnlySym, Store: true, Members: 3}, {Mix: RealMix, Format: Tar, Members: 3}} {
		allocated := func(size int64) uint64 {
			spec.Bytes = size
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			if _, err := Write(io.Discard, spec); err != nil {
				t.Fatal(err)
			}
			runtime.ReadMemStats(&after)
			return after.TotalAlloc - before.TotalAlloc
		}
		small, large := allocated(2<<20), allocated(60<<20)
		if large > small+1<<20 {
			t.Errorf("%s: 2 MiB allocate %d bytes, 60 MiB %d", spec.Mix, small, large)
		}
	}
}

func write(t *testing.T, spec Spec) ([]byte, Manifest) {
	t.Helper()
	var b bytes.Buffer
	manifest, err := Write(&b, spec)
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes(), manifest
}

// read reads a member to its end, and says what it held.
func read(t *testing.T, name string, r io.Reader) Member {
	t.Helper()
	body, err := io.ReadAll(r)
	if err != nil {
		t.Fatalf("read %s: %v", name, err)
	}
	sum := md5.Sum(body)
	return Member{Name: name, Size: int64(len(body)), MD5: hex.EncodeToString(sum[:]), CRC32: crc32.ChecksumIEEE(body)}
}
