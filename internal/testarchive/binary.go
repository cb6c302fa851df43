package testarchive

import (
	"encoding/binary"
	"hash/crc32"
	"io"
	"math/rand/v2"
)

// magic is the first bytes of files of a kind.
var magic = map[string]string{
	".pd_":     "MSCF\x00\x00\x00\x00",
	".ex_":     "MSCF\x00\x00\x00\x00",
	".dl_":     "MSCF\x00\x00\x00\x00",
	".tar.bz2": "BZh91AY&SY",
	".pdb":     "Microsoft C/C++ MSF 7.00\r\n\x1aDS\x00\x00\x00",
	".dll":     "MZ\x90\x00\x03\x00\x00\x00",
	".exe":     "MZ\x90\x00\x03\x00\x00\x00",
}

// opaque writes size bytes that resemble a file with this extension.
func opaque(w io.Writer, seed uint64, size int64, extension string) error {
	noise := newNoise(seed)
	switch extension {
	case ".dbg.gz":
		return gzipped(w, noise, size)
	case ".pdb", ".dll", ".exe":
		noise.plain = true
	}
	// In pieces of one size: the repeats in plain noise depend on where they begin.
	piece := make([]byte, 32<<10)
	start := copy(piece, magic[extension])
	for left := size; left > 0; start = 0 {
		n := min(left, int64(len(piece)))
		noise.fill(piece[start:])
		if _, err := w.Write(piece[:n]); err != nil {
			return err
		}
		left -= n
	}
	return nil
}

// maxStored is the size of the largest stored block in a deflate stream, blockHeader that of its header.
const (
	maxStored   = 65535
	blockHeader = 5
)

// gzipped writes a gzip file of exactly size bytes with noise in stored blocks: it decompresses,
// and is as dense as what a compressor makes.
func gzipped(w io.Writer, noise *noise, size int64) error {
	header := []byte{0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3} // deflate, no flags, no time, made on Unix
	if _, err := w.Write(header); err != nil {
		return err
	}
	const trailer = 8
	block := make([]byte, blockHeader+maxStored)
	crc, content := uint32(0), uint32(0)
	for left := size - int64(len(header)) - trailer; left > 0; {
		n := min(left-blockHeader, maxStored)
		if after := left - blockHeader - n; after > 0 && after <= blockHeader {
			n -= blockHeader // else too little would remain for another block
		}
		left -= blockHeader + n
		block[0] = 0
		if left == 0 {
			block[0] = 1 // the last one
		}
		binary.LittleEndian.PutUint16(block[1:], uint16(n))
		binary.LittleEndian.PutUint16(block[3:], ^uint16(n))
		data := block[blockHeader:][:n]
		noise.fill(data)
		crc = crc32.Update(crc, crc32.IEEETable, data)
		content += uint32(n)
		if _, err := w.Write(block[:blockHeader+n]); err != nil {
			return err
		}
	}
	var end [trailer]byte
	binary.LittleEndian.PutUint32(end[:], crc)
	binary.LittleEndian.PutUint32(end[4:], content)
	_, err := w.Write(end[:])
	return err
}

// noise makes random bytes. Plain noise repeats itself like machine code, and deflates about 1.7 : 1.
type noise struct {
	random *rand.ChaCha8
	plain  bool
}

func newNoise(seed uint64) *noise {
	var key [32]byte
	binary.LittleEndian.PutUint64(key[:], seed)
	return &noise{random: rand.NewChaCha8(key)}
}

func (n *noise) fill(p []byte) {
	_, _ = n.random.Read(p) // it never fails
	if n.plain {
		for i := 0; i+16 <= len(p); i += 16 {
			copy(p[i:], "\x48\x8b\x45\xf8\x48\x89\xc7\xe8")
		}
	}
}
