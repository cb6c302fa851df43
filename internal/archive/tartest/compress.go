package tartest

import (
	"bytes"
	"io"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/mholt/archiver/v4"
)

// Compress returns a tar as format has it: "tar", "tar.gz", "tar.bz2", "tar.xz" or "tar.zst".
func Compress(t testing.TB, format string, data []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	var w io.WriteCloser
	var err error
	switch format {
	case "tar":
		return data
	case "tar.gz":
		w = gzip.NewWriter(&b)
	case "tar.bz2":
		w, err = archiver.Bz2{}.OpenWriter(&b)
	case "tar.xz":
		w, err = archiver.Xz{}.OpenWriter(&b)
	case "tar.zst":
		w, err = zstd.NewWriter(&b, zstd.WithEncoderConcurrency(1), zstd.WithEncoderCRC(true))
	}
	check(t, err)
	_, err = w.Write(data)
	check(t, err)
	check(t, w.Close())
	return b.Bytes()
}

// Zstd compresses data with a window of that size.
func Zstd(t testing.TB, window int, data []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := zstd.NewWriter(&b, zstd.WithWindowSize(window), zstd.WithSingleSegment(false), zstd.WithEncoderConcurrency(1))
	check(t, err)
	_, err = w.Write(data)
	check(t, err)
	check(t, w.Flush()) // or the window would be that of the content
	check(t, w.Close())
	return b.Bytes()
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
