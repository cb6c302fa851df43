// Package inflate decodes DEFLATE streams (RFC 1951) and gzip files (RFC 1952). Every byte of ours that is inflated
// passes through here.
//
// A stream is accepted exactly if zlib accepts it. A lenient decoder is worse than a slow one: what it lets in is
// stored as it is, and the gzip readers of our clients refuse it for ever after. A decoder keeps nothing of one stream
// when it reads the next.
//
// The decoder is the standard library's. klauspost/compress up to v1.20.3 is faster and unfit: it uses the distance
// table of an earlier block, or of an earlier stream, where a block brings an empty one.
package inflate

import (
	"bufio"
	"compress/flate"
	"io"
)

// bufSize is how many bytes of a stream are read at once.
const bufSize = 64 << 10

// A Reader decodes a raw DEFLATE stream. It is meant to be used again: with its buffers it holds about 130 KiB.
// It is not for concurrent use.
type Reader struct {
	in  *bufio.Reader
	dec io.Reader
}

// NewReader returns a Reader of an empty stream; Reset gives it one.
func NewReader() *Reader {
	in := bufio.NewReaderSize(nil, bufSize)
	return &Reader{in: in, dec: flate.NewReader(in)}
}

// Reset makes r read the stream that src starts with, whatever it read before.
func (r *Reader) Reset(src io.Reader) {
	r.in.Reset(src)
	// The error is for dictionaries; the interface is what the package documents of its readers.
	_ = r.dec.(flate.Resetter).Reset(r.in, nil)
}

// Read reads inflated bytes. At the end of the stream's final block it returns io.EOF; a stream that ends before is
// io.ErrUnexpectedEOF, a broken one a flate.CorruptInputError, and an error of src is returned as it is.
func (r *Reader) Read(p []byte) (int, error) { return r.dec.Read(p) }

// Buffered returns how many bytes were read of src and do not belong to the stream, once Read has returned io.EOF.
func (r *Reader) Buffered() int { return r.in.Buffered() }
