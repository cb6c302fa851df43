// Package inflate decodes DEFLATE streams (RFC 1951) and gzip files (RFC 1952). All our inflating is done here.
//
// A stream is accepted exactly if zlib accepts it. A lenient decoder would let in a stream that is stored as it is and that our clients'
// gzip readers then refuse for ever. A decoder keeps nothing of one stream for the next.
//
// The decoder is our own: the standard library's is as strict, and takes two and a half times as long. klauspost/compress, up to v1.20.3, takes
// twice as long and is unfit: for a block with an empty distance table it uses the table of an earlier block, or of an earlier stream. Tests
// compare every verdict, text and end with the standard library's and zlib's.
package inflate

import (
	"bufio"
	"compress/flate"
	"errors"
	"io"
)

// Sizes in bytes.
const (
	// bufSize is what is read at once.
	bufSize = 32 << 10
	// window is how far back a match reaches. RFC 1951, section 2.
	window = 32 << 10
	// outSize is the text held, the window included. It is a power of two: a masked index is known to be inside.
	outSize = 128 << 10
	// outFull is where decoding pauses. Behind it is room for what [Reader.fast] decodes at once: 34 literals, and a match of 258 bytes,
	// copied by 16.
	outFull = outSize - 320
)

// A Reader decodes a raw DEFLATE stream. Use it again: with its buffers it holds 180 KiB. It is not for concurrent use.
//
// It reads no more from its source than the stream needs, as far as one Read of the source goes: not after the bytes of the final block
// have come, and not while decoded text waits to be read. So a source may block until it has more.
type Reader struct {
	in *bufio.Reader
	bitReader
	before int64 // bytes of in before those of the bitReader

	block  blockKind
	final  bool    // no block follows
	stored int     // bytes to come of a stored block
	codes  *tables // of a block with codes
	own    tables

	given int // bytes of out that were given away
	at    int // bytes of out
	err   error
	out   [outSize + 8]byte // the text, from the window on; a word may begin at the last masked index
}

// NewReader returns a Reader of an empty stream; Reset gives it one.
func NewReader() *Reader {
	return &Reader{in: bufio.NewReaderSize(nil, bufSize), err: io.ErrUnexpectedEOF}
}

// Reset makes r read the stream at the start of src, whatever it read before.
func (r *Reader) Reset(src io.Reader) {
	r.in.Reset(src)
	r.restart()
}

// restart makes r read another stream from its source.
func (r *Reader) restart() {
	r.bitReader = bitReader{}
	r.before, r.block, r.final, r.given, r.at, r.err = 0, noBlock, false, 0, 0, nil
}

// Read reads inflated bytes. At the end of the stream's final block it returns io.EOF. A stream that ends before is io.ErrUnexpectedEOF, a
// broken one a flate.CorruptInputError. An error of src is returned unchanged.
func (r *Reader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if err := r.decode(); err != nil {
		return 0, err
	}
	n := copy(p, r.out[r.given:r.at])
	r.given += n
	return n, nil
}

// WriteTo implements io.WriterTo: it writes the rest of the stream to w, up to 96 KiB at once, without a copy. The bytes belong to w during
// the call of Write alone. Its errors are those of Read and of w.
func (r *Reader) WriteTo(w io.Writer) (written int64, err error) {
	for {
		if err := r.decode(); errors.Is(err, io.EOF) {
			return written, nil
		} else if err != nil {
			return written, err
		}
		text := r.out[r.given:r.at]
		n, err := w.Write(text)
		r.given += n
		written += int64(n)
		switch {
		case err != nil:
			return written, err
		case n < len(text):
			return written, io.ErrShortWrite
		}
	}
}

// Buffered returns, after Read's io.EOF, the number of bytes read from src after the stream's end.
func (r *Reader) Buffered() int { return r.in.Buffered() }

// decode decodes until there is text to give away, or an end.
func (r *Reader) decode() error {
	for r.given == r.at && r.err == nil {
		if r.at >= outFull {
			copy(r.out[:window], r.out[r.at-window:r.at])
			r.given, r.at = window, window
		}
		r.input, _ = r.in.Peek(r.in.Buffered())
		err := r.blocks()
		r.before += int64(r.pos)
		_, _ = r.in.Discard(r.pos) // they are buffered
		r.pos = 0
		if errors.Is(err, errMore) && r.given == r.at {
			_, err = r.in.Peek(r.in.Buffered() + 1)
			err = cutShort(err)
		}
		if !errors.Is(err, errMore) {
			r.err = err
		}
	}
	if r.given < r.at {
		return nil
	}
	return r.err
}

// corrupt returns the error of a broken stream.
func (r *Reader) corrupt() error {
	return flate.CorruptInputError(r.before + int64(r.pos) - int64(r.n>>3))
}
