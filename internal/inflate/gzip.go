package inflate

import (
	"bufio"
	"compress/gzip"
	"errors"
	"io"
)

// reservedFlags are the bits of a gzip member's flags that have no meaning. RFC 1952, section 2.3.1.2.
const reservedFlags = 0xe0

// A gzipReader decodes the members of a gzip file one after the other.
type gzipReader struct {
	in  *bufio.Reader
	z   *gzip.Reader
	err error // that ended it
}

// NewGzip returns a reader of the gzip file in src: its members, one after the other. Zeros may follow the last one, as tools
// write them that pad their output to a block's size. Read returns io.EOF only after every member was found to have the
// CRC-32 and the length that its trailer declares. Its errors are those of [Reader.Read], gzip.ErrHeader and gzip.ErrChecksum.
func NewGzip(src io.Reader) (io.Reader, error) {
	g := &gzipReader{in: bufio.NewReaderSize(src, bufSize)}
	if err := g.checkFlags(); err != nil {
		return nil, err
	}
	z, err := gzip.NewReader(g.in)
	if err != nil {
		return nil, err
	}
	g.z = z
	z.Multistream(false)
	return g, nil
}

// Read implements io.Reader.
func (g *gzipReader) Read(p []byte) (int, error) {
	if g.err != nil || len(p) == 0 {
		return 0, g.err
	}
	for {
		n, err := g.z.Read(p)
		if errors.Is(err, io.EOF) {
			err = g.next()
		}
		g.err = err
		switch {
		case n > 0:
			return n, nil
		case err != nil:
			return 0, err
		}
	}
}

// next begins the next member; without one it returns io.EOF.
func (g *gzipReader) next() error {
	switch head, err := g.in.Peek(1); {
	case err != nil:
		return err
	case head[0] == 0:
		return g.padding()
	}
	if err := g.checkFlags(); err != nil {
		return err
	}
	if err := g.z.Reset(g.in); err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return err
	}
	g.z.Multistream(false)
	return nil
}

// checkFlags refuses what zlib refuses in a member's header and the standard library passes over.
func (g *gzipReader) checkFlags() error {
	head, _ := g.in.Peek(4) // a shorter one is refused as a header
	if len(head) == 4 && head[3]&reservedFlags != 0 {
		return gzip.ErrHeader
	}
	return nil
}

// padding reads zeros until the end.
func (g *gzipReader) padding() error {
	for {
		b, err := g.in.ReadByte()
		switch {
		case err != nil:
			return err
		case b != 0:
			return gzip.ErrHeader
		}
	}
}
