// Package inflate decodes DEFLATE streams (RFC 1951) and gzip files (RFC 1952). All our inflating is done here.
//
// A stream is accepted exactly if zlib accepts it. A lenient decoder would let in a stream that is stored as it is and that our clients'
// gzip readers then refuse for ever. A decoder keeps nothing of one stream for the next.
//
// The decoder is the standard library's. klauspost/compress up to v1.20.3 is faster and unfit: for a block with an empty distance table it
// uses the table of an earlier block, or of an earlier stream.
package inflate

import (
	"bufio"
	"compress/flate"
	"io"
)

// bufSize is the number of bytes read at once.
const bufSize = 64 << 10

// A Reader decodes a raw DEFLATE stream. Use it again: with its buffers it holds about 130 KiB. It is not for concurrent use.
type Reader struct {
	in  *bufio.Reader
	dec io.Reader
}

// NewReader returns a Reader of an empty stream; Reset gives it one.
func NewReader() *Reader {
	in := bufio.NewReaderSize(nil, bufSize)
	return &Reader{in: in, dec: flate.NewReader(in)}
}

// Reset makes r read the stream at the start of src, whatever it read before.
func (r *Reader) Reset(src io.Reader) {
	r.in.Reset(src)
	// The error is for dictionaries; the package documents this interface.
	_ = r.dec.(flate.Resetter).Reset(r.in, nil)
}

// Read reads inflated bytes. At the end of the stream's final block it returns io.EOF. A stream that ends before is io.ErrUnexpectedEOF, a
// broken one a flate.CorruptInputError. An error of src is returned unchanged.
func (r *Reader) Read(p []byte) (int, error) { return r.dec.Read(p) }

// Buffered returns, after Read's io.EOF, the number of bytes read from src after the stream's end.
func (r *Reader) Buffered() int { return r.in.Buffered() }
