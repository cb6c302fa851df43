// Inflate reads every member of a zip once, hashes it with MD5 and checks its CRC-32, and prints the CPU
// seconds this took: the least that a server has to do with an upload, to measure it against.
//
//	go run ./scripts/inflate symbols.zip
//
// It inflates with github.com/klauspost/compress, in one goroutine.
package main

import (
	"crypto/md5"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"syscall"
	"time"

	"github.com/klauspost/compress/flate"
	"github.com/klauspost/compress/zip"
)

func main() {
	if err := run(os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "inflate:", err)
		os.Exit(1)
	}
}

func run(args []string, stdout io.Writer) error {
	if len(args) != 1 {
		return errors.New("usage: inflate FILE.zip")
	}
	start, before := time.Now(), cpu()
	archive, err := zip.OpenReader(args[0])
	if err != nil {
		return err
	}
	defer archive.Close()
	var inflated int64
	for _, f := range archive.File {
		n, err := inflate(f)
		if err != nil {
			return fmt.Errorf("inflate %s: %w", f.Name, err)
		}
		inflated += n
	}
	_, err = fmt.Fprintf(stdout, "members=%d inflated_bytes=%d cpu_seconds=%.2f wall_seconds=%.2f\n",
		len(archive.File), inflated, (cpu() - before).Seconds(), time.Since(start).Seconds())
	return err
}

// inflate reads a member to its end, and returns its length. The digests are computed here, each once: a
// zip.Reader's own check is passed by.
func inflate(f *zip.File) (int64, error) {
	raw, err := f.OpenRaw()
	if err != nil {
		return 0, err
	}
	var body io.Reader
	switch f.Method {
	case zip.Store:
		body = raw
	case zip.Deflate:
		decoder := flate.NewReader(raw)
		defer decoder.Close()
		body = decoder
	default:
		return 0, zip.ErrAlgorithm
	}
	sum, crc := md5.New(), crc32.NewIEEE()
	n, err := io.Copy(io.MultiWriter(sum, crc), body)
	switch {
	case err != nil:
		return n, err
	case uint64(n) != f.UncompressedSize64:
		return n, fmt.Errorf("%d bytes instead of %d", n, f.UncompressedSize64)
	case crc.Sum32() != f.CRC32:
		return n, zip.ErrChecksum
	}
	return n, nil
}

// cpu returns the time this process has spent computing, in user and kernel mode.
func cpu() time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		return 0 // it has no error that could happen here
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
