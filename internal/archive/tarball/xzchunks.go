package tarball

import (
	"encoding/binary"
	"io"

	"tecken-upload/internal/archive/fault"
)

// xzChecks are the sizes of a block's check, by the low bits of the stream's flags.
// https://tukaani.org/xz/xz-file-format.txt, section 2.1.1.2.
var xzChecks = [16]int64{0, 4, 4, 4, 8, 8, 8, 16, 16, 16, 32, 32, 32, 64, 64, 64}

// xzChunks passes an xz file on, and refuses a compressed chunk that does not begin with a zero, as every range encoder's output does:
// liblzma refuses it, the decoder here does not. The decoder checks everything else. xzChunks stops looking at a file of an unknown form.
type xzChunks struct {
	r    io.Reader
	skip int64                // bytes to pass on unseen
	want int                  // bytes for the next call of step; 0: stop looking
	have []byte               // those so far
	step func(b []byte) error // looks at them, and sets skip, want and step
	data int64                // bytes of the block's compressed data so far, or of the index
	left int64                // remaining numbers in the index; -1: their count comes first
	num  uint64               // the current number
	bits int                  // of it
	size int64                // of a block's check
}

func newXzChunks(r io.Reader) *xzChunks {
	c := &xzChunks{r: r}
	c.expect(0, 4, c.begin)
	return c
}

// Read implements io.Reader.
func (c *xzChunks) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	if refused := c.look(p[:n]); refused != nil {
		return 0, refused
	}
	return n, err
}

func (c *xzChunks) expect(skip int64, want int, step func(b []byte) error) {
	c.skip, c.want, c.step, c.have = skip, want, step, c.have[:0]
}

func (c *xzChunks) look(b []byte) error {
	for len(b) > 0 && c.want > 0 {
		if c.skip > 0 {
			n := min(c.skip, int64(len(b)))
			c.skip, b = c.skip-n, b[n:]
			continue
		}
		n := min(c.want-len(c.have), len(b))
		c.have, b = append(c.have, b[:n]...), b[n:]
		if len(c.have) == c.want {
			if err := c.step(c.have); err != nil {
				return err
			}
		}
	}
	return nil
}

// begin looks at the first four bytes of a stream, or of padding.
func (c *xzChunks) begin(b []byte) error {
	if binary.BigEndian.Uint32(b) == 0 {
		c.expect(0, 4, c.begin) // padding
		return nil
	}
	c.expect(0, 8, func(b []byte) error {
		c.size = xzChecks[b[3]&0x0f]
		c.expect(0, 1, c.block)
		return nil
	})
	return nil
}

// block looks at the size of a block's header; zero means the index.
func (c *xzChunks) block(b []byte) error {
	if b[0] == 0 {
		c.data, c.left, c.num, c.bits = 1, -1, 0, 0
		c.expect(0, 1, c.index)
		return nil
	}
	c.data = 0
	c.expect(int64(b[0])*4+3, 1, c.chunk)
	return nil
}

// chunk looks at the first byte of a chunk of LZMA2.
func (c *xzChunks) chunk(b []byte) error {
	c.data++
	switch control := b[0]; {
	case control == 0:
		c.expect((4-c.data%4)%4+c.size, 1, c.block)
	case control <= 2:
		c.expect(0, 2, func(b []byte) error {
			n := int64(binary.BigEndian.Uint16(b)) + 1
			c.data += int64(len(b)) + n
			c.expect(n, 1, c.chunk)
			return nil
		})
	case control < 0x80:
		c.want = 0
	case control < 0xc0:
		c.expect(0, 4, c.compressed)
	default:
		c.expect(0, 5, c.compressed) // with properties
	}
	return nil
}

// compressed looks at the sizes of a compressed chunk.
func (c *xzChunks) compressed(b []byte) error {
	n := int64(binary.BigEndian.Uint16(b[2:])) + 1
	c.data += int64(len(b)) + n
	c.expect(0, 1, func(b []byte) error {
		if b[0] != 0 {
			return fault.Invalid("The tar.xz archive is damaged: a chunk of LZMA2 does not begin with a zero")
		}
		c.expect(n-1, 1, c.chunk)
		return nil
	})
	return nil
}

// index looks at a byte of the index: the number of records, then two numbers each.
func (c *xzChunks) index(b []byte) error {
	c.data++
	c.num |= uint64(b[0]&0x7f) << c.bits
	c.bits += 7
	switch {
	case b[0] >= 0x80 && c.bits < 63:
		c.expect(0, 1, c.index)
		return nil
	case b[0] >= 0x80 || c.left < 0 && c.num > 1<<60:
		c.want = 0
		return nil
	case c.left < 0:
		c.left = 2 * int64(c.num)
	default:
		c.left--
	}
	c.num, c.bits = 0, 0
	c.expect(0, 1, c.index)
	if c.left == 0 {
		const checksum, footer = 4, 12
		c.expect((4-c.data%4)%4+checksum+footer, 4, c.begin)
	}
	return nil
}
