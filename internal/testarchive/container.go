package testarchive

import (
	"archive/tar"
	"fmt"
	"io"
	"time"

	"github.com/klauspost/compress/flate"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zip"
	"github.com/klauspost/compress/zstd"
)

// container is an archive being written.
type container interface {
	// create begins a member of exactly size bytes, after the whole previous one has been written.
	create(name string, size int64) (io.Writer, error)
	// stored returns, after close, the bytes of the i-th member's data.
	stored(i int, size int64) int64
	io.Closer
}

func newContainer(w io.Writer, spec Spec) (container, error) {
	switch spec.Format {
	case Zip:
		return newZip(w, spec), nil
	case Tar:
		return &tarContainer{Writer: tar.NewWriter(w)}, nil
	case TarGzip:
		compressor, err := gzip.NewWriterLevel(w, spec.Level)
		return &tarContainer{tar.NewWriter(compressor), compressor}, err
	case TarZstd:
		compressor, err := zstd.NewWriter(w, zstd.WithEncoderLevel(zstd.EncoderLevelFromZstd(spec.Level)), zstd.WithEncoderConcurrency(1))
		return &tarContainer{tar.NewWriter(compressor), compressor}, err
	}
	return nil, fmt.Errorf("unknown format %q", spec.Format)
}

// made is the time of all members: archives of one seed are equal.
func made() time.Time { return time.Date(2017, 6, 27, 0, 21, 0, 0, time.UTC) }

// zipContainer writes a zip to a stream: sizes and CRC follow each member, in a data descriptor.
type zipContainer struct {
	*zip.Writer
	method  uint16
	headers []*zip.FileHeader
}

func newZip(w io.Writer, spec Spec) *zipContainer {
	z := &zipContainer{Writer: zip.NewWriter(w), method: zip.Deflate}
	if spec.Store {
		z.method = zip.Store
	}
	var reused *flate.Writer // one member is written at a time
	z.RegisterCompressor(zip.Deflate, func(w io.Writer) (io.WriteCloser, error) {
		if reused != nil {
			reused.Reset(w)
			return reused, nil
		}
		var err error
		reused, err = flate.NewWriter(w, spec.Level)
		return reused, err
	})
	return z
}

func (z *zipContainer) create(name string, _ int64) (io.Writer, error) {
	header := &zip.FileHeader{Name: name, Method: z.method, Modified: made()}
	z.headers = append(z.headers, header)
	return z.CreateHeader(header)
}

func (z *zipContainer) stored(i int, _ int64) int64 { return int64(z.headers[i].CompressedSize64) }

// tarContainer writes a tar, through a compressor or none.
type tarContainer struct {
	*tar.Writer
	compressor io.Closer
}

func (t *tarContainer) create(name string, size int64) (io.Writer, error) {
	err := t.WriteHeader(&tar.Header{Name: name, Size: size, Mode: 0o644, ModTime: made()})
	return t.Writer, err
}

func (t *tarContainer) stored(_ int, size int64) int64 { return size }

func (t *tarContainer) Close() error {
	err := t.Writer.Close()
	if err == nil && t.compressor != nil {
		err = t.compressor.Close()
	}
	return err
}
