package inflate

import (
	"bufio"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
)

// Flags of a gzip member. RFC 1952, section 2.3.1.
const (
	flagHeaderCRC = 1 << 1
	flagExtra     = 1 << 2
	flagName      = 1 << 3
	flagComment   = 1 << 4
	reservedFlags = 0xe0 // without a meaning
)

// A gzipReader decodes the members of a gzip file in order. The standard library's reader refuses names and comments above 511 bytes, and
// ignores reserved flags; zlib does neither.
type gzipReader struct {
	dec  *Reader
	in   *bufio.Reader // of dec
	sum  uint32        // CRC-32 of the member so far
	size uint32        // its bytes so far, modulo 2³²
	err  error         // final error
}

// NewGzip returns a reader of the gzip file in src, its members in order. Zeros may follow the last one, as written by tools that pad to a
// block's size. Read returns io.EOF only after every member had the CRC-32 and length in its trailer. Its errors are those of
// [Reader.Read], gzip.ErrHeader and gzip.ErrChecksum.
func NewGzip(src io.Reader) (io.Reader, error) {
	dec := NewReader()
	dec.Reset(src)
	g := &gzipReader{dec: dec, in: dec.in}
	if _, err := g.in.Peek(1); err != nil {
		return nil, err
	}
	if err := g.begin(); err != nil {
		return nil, err
	}
	return g, nil
}

// Read implements io.Reader.
func (g *gzipReader) Read(p []byte) (int, error) {
	if g.err != nil || len(p) == 0 {
		return 0, g.err
	}
	for {
		n, err := g.dec.Read(p)
		g.sum = crc32.Update(g.sum, crc32.IEEETable, p[:n])
		g.size += uint32(n)
		if errors.Is(err, io.EOF) {
			if err = g.end(); err == nil {
				err = g.next()
			}
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

// next begins the next member, or returns io.EOF.
func (g *gzipReader) next() error {
	switch head, err := g.in.Peek(1); {
	case err != nil:
		return err
	case head[0] == 0:
		return g.padding()
	}
	return g.begin()
}

// begin reads a member's header.
func (g *gzipReader) begin() error {
	g.sum, g.size = 0, 0
	g.dec.restart()
	h := &gzipHeader{in: g.in}
	fixed := h.bytes(10)
	if h.err == nil && (fixed[0] != 0x1f || fixed[1] != 0x8b || fixed[2] != 8 || fixed[3]&reservedFlags != 0) {
		return gzip.ErrHeader
	}
	flags := fixed[3]
	if flags&flagExtra != 0 {
		h.bytes(int(binary.LittleEndian.Uint16(h.bytes(2))))
	}
	if flags&flagName != 0 {
		h.text()
	}
	if flags&flagComment != 0 {
		h.text()
	}
	if sum := uint16(h.sum); flags&flagHeaderCRC != 0 && binary.LittleEndian.Uint16(h.bytes(2)) != sum && h.err == nil {
		return gzip.ErrHeader
	}
	return h.err
}

// end reads a member's trailer.
func (g *gzipReader) end() error {
	var trailer [8]byte
	if _, err := io.ReadFull(g.in, trailer[:]); err != nil {
		return cutShort(err)
	}
	if binary.LittleEndian.Uint32(trailer[:]) != g.sum || binary.LittleEndian.Uint32(trailer[4:]) != g.size {
		return gzip.ErrChecksum
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

// A gzipHeader reads a member's header. After an error it reads zeros.
type gzipHeader struct {
	in  *bufio.Reader
	sum uint32 // CRC-32 of the bytes read
	err error
}

// bytes reads n bytes.
func (h *gzipHeader) bytes(n int) []byte {
	p := make([]byte, n)
	if h.err == nil {
		_, err := io.ReadFull(h.in, p)
		h.err = cutShort(err)
		h.sum = crc32.Update(h.sum, crc32.IEEETable, p)
	}
	return p
}

// text reads a text of any length, with the zero at its end.
func (h *gzipHeader) text() {
	for h.err == nil {
		part, err := h.in.ReadSlice(0)
		h.sum = crc32.Update(h.sum, crc32.IEEETable, part)
		if err == nil {
			return
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			h.err = cutShort(err)
		}
	}
}

// cutShort returns err, with io.EOF turned into io.ErrUnexpectedEOF.
func cutShort(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
