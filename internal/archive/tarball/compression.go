package tarball

import (
	"errors"
	"io"

	"github.com/klauspost/compress/zstd"
	"github.com/mholt/archiver/v4"
	"github.com/therootcompany/xz"

	"tecken-upload/internal/archive/fault"
	"tecken-upload/internal/inflate"
)

// ErrMoreMemory: the decoder needs more memory than the archive's beginning asks for, because the archive was compressed in several
// parts, and differently. The window is the largest now, and the archive is read once more.
var ErrMoreMemory = errors.New("the archive's decoder needs more memory")

// Memory of decoders, in bytes. The beginning of an archive declares a window, or dictionary, which is most of it.
const (
	// maxZstdWindow is zstd -d's default limit.
	maxZstdWindow = 128 << 20
	// maxXzWindow is xz -9's dictionary.
	maxXzWindow = 64 << 20
	// usualWindow is the least: that of all levels of zstd but its "ultra" ones, and of xz by default.
	usualWindow = 8 << 20

	gzipMemory, bzip2Memory, xzMemory, zstdMemory = 256 << 10, 8 << 20, 1 << 20, 2 << 20 // without the window
)

// A compression is a compression of tars.
type compression struct {
	// open opens the stream below, with a decoder's window of at most so many bytes.
	open func(r io.Reader, window int64) (io.ReadCloser, error)
	// memory is the decoder's memory without a window.
	memory int64
	// asked returns the window in the file's beginning, or 0 without a proper header; nil: there is none.
	asked func(file io.ReadSeeker) (int64, error)
	// most is the largest window; advice says so in a sentence, and what to do.
	most   int64
	advice string
}

// archiver's decoder of gzip accepts deflate streams that zlib refuses; archiver's decoder for xz is opened here to bound it.
var (
	compressedGzip = &compression{
		open: func(r io.Reader, _ int64) (io.ReadCloser, error) {
			z, err := inflate.NewGzip(r)
			return io.NopCloser(z), err
		},
		memory: gzipMemory,
	}
	compressedBzip2 = &compression{
		open:   func(r io.Reader, _ int64) (io.ReadCloser, error) { return archiver.Bz2{}.OpenReader(r) },
		memory: bzip2Memory,
	}
	compressedXz = &compression{
		open: func(r io.Reader, window int64) (io.ReadCloser, error) {
			z, err := xz.NewReader(newXzChunks(r), uint32(window))
			return io.NopCloser(z), err
		},
		memory: xzMemory, asked: xzDictionary, most: maxXzWindow,
		advice: "a dictionary of %d bytes, of at most %d that are allowed; use xz -9 or a lower level, without a dict= of your own",
	}
	compressedZstd = &compression{
		open: func(r io.Reader, window int64) (io.ReadCloser, error) {
			return archiver.Zstd{DecoderOptions: []zstd.DOption{
				zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(uint64(window)),
			}}.OpenReader(r)
		},
		memory: zstdMemory, asked: zstdWindow, most: maxZstdWindow,
		advice: "a window of %d bytes, of at most %d that are allowed; use zstd without --long, or with --long=27 at most",
	}
)

// Memory returns how many bytes the decoder may hold; 0 where there is none.
func (t *Tar) Memory() int64 {
	if t.compression == nil {
		return 0
	}
	return t.compression.memory + t.window
}

// chooseWindow sets the window of the decoder to what the file asks for.
func (t *Tar) chooseWindow(file io.ReadSeeker) error {
	c := t.compression
	if c == nil || c.asked == nil {
		return nil
	}
	window, err := c.asked(file)
	if err != nil {
		return err
	}
	if window > c.most {
		return fault.Invalid("The %s asks for "+c.advice, t.Name, window, c.most)
	}
	t.window = max(window, usualWindow)
	return nil
}

// A decoder is an open compression. It alone holds the memory with the window.
type decoder struct{ io.ReadCloser }

// openDecoder opens the stream below the compressed file in r.
func (t *Tar) openDecoder(r io.Reader) (d *decoder, err error) {
	d = new(decoder)
	err = guard(func() (err error) {
		d.ReadCloser, err = t.compression.open(r, t.window)
		return err
	})
	return d, err
}

// closeDecoder ends the use of d, and returns its window's memory.
func (t *Tar) closeDecoder(d *decoder) {
	_ = d.Close() // it was read to its end, or has failed
	d.ReadCloser = nil
	windows.discard(t.window)
}

// tooNarrow reports whether the decoder failed because its window is bounded.
func tooNarrow(err error) bool {
	return errors.Is(err, zstd.ErrWindowSizeExceeded) || errors.Is(err, zstd.ErrDecoderSizeExceeded) || errors.Is(err, xz.ErrMemlimit)
}

// widen gives the decoder the largest window for another pass.
func (t *Tar) widen() error {
	c := t.compression
	if t.window >= c.most {
		return fault.Invalid("The %s asks, in a later part, for "+c.advice, t.Name, c.most+1, c.most)
	}
	t.window = c.most
	return ErrMoreMemory
}

// peek reads up to n bytes at an offset.
func peek(file io.ReadSeeker, at, n int64) ([]byte, error) {
	if _, err := file.Seek(at, io.SeekStart); err != nil {
		return nil, err
	}
	return io.ReadAll(io.LimitReader(file, n))
}

// zstdWindow returns the window of the first frame. RFC 8878, section 3.1.1.1.
func zstdWindow(file io.ReadSeeker) (int64, error) {
	const maxSkipped = 1000 // frames; parallel compressors put one before each of theirs
	var at int64
	for range maxSkipped {
		head, err := peek(file, at, zstd.HeaderMaxSize)
		if err != nil {
			return 0, err
		}
		var h zstd.Header
		switch err := h.Decode(head); {
		case err != nil:
			return 0, nil
		case h.Skippable:
			at += int64(h.HeaderSize) + int64(h.SkippableSize)
		case h.SingleSegment:
			return int64(min(h.FrameContentSize, 1<<62)), nil
		default:
			return int64(min(h.WindowSize, 1<<62)), nil
		}
	}
	return 0, nil
}

// xzDictionary returns the size of the first block's dictionary.
// https://tukaani.org/xz/xz-file-format.txt, sections 3.1 and 5.3.1.
func xzDictionary(file io.ReadSeeker) (int64, error) {
	const streamHeader, lzma2, largest = 12, 0x21, 40
	block, err := peek(file, streamHeader, 1024)
	if err != nil || len(block) < 2 {
		return 0, err
	}
	flags := block[1]
	fields := block[2:min(len(block), 4*(int(block[0])+1))]
	number := func() (n uint64) { // of 7 bits a byte, the lowest first
		for shift := 0; len(fields) > 0 && shift < 63; shift += 7 {
			b := fields[0]
			fields = fields[1:]
			if n |= uint64(b&0x7f) << shift; b < 0x80 {
				return n
			}
		}
		return 0
	}
	for _, size := range []byte{0x40, 0x80} { // of the block, compressed and not
		if flags&size != 0 {
			number()
		}
	}
	for range flags&3 + 1 {
		id, n := number(), number()
		if n > uint64(len(fields)) {
			return 0, nil
		}
		if id == lzma2 && n == 1 && fields[0] <= largest {
			return int64(2|fields[0]&1) << (fields[0]/2 + 11), nil
		}
		fields = fields[n:]
	}
	return 0, nil
}
