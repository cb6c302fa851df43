package archive

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"sync"
	"time"

	"github.com/klauspost/compress/gzip"

	"tecken-upload/internal/inflate"
)

// gzipLevel is the level for a .sym that was not deflated.
const gzipLevel = 6

// gzipHeader means: deflated, no name, no time, system unknown. RFC 1952, section 2.3.
var gzipHeader = [10]byte{0x1f, 0x8b, 8, 9: 0xff}

// gzipTrailerSize is the size of a gzip's trailer, in bytes.
const gzipTrailerSize = 8

// gzipTrailer follows a deflate stream of n bytes with that CRC-32.
func gzipTrailer(crc uint32, n int64) []byte {
	return le.AppendUint32(le.AppendUint32(nil, crc), uint32(n))
}

// Scratch is the caller's temporary file, empty and at its start. Its bytes are gone once it is closed.
type Scratch interface {
	io.ReadWriteSeeker
	io.Closer
}

// A Body is what is to be stored of a member: Size bytes with the IEEE CRC-32 of CRC32. It is at its start, and seeks anywhere. It is not for
// concurrent use.
type Body struct {
	io.ReadSeeker
	At    io.ReaderAt // reads the same bytes, for several goroutines at once; nil where they can only be read in order
	Size  int64
	CRC32 uint32
	Gzip  bool // of a .sym
	close func() error
}

// Close releases the body's memory or scratch file.
func (b *Body) Close() error {
	if b.close == nil {
		return nil
	}
	return b.close()
}

// Ready reports whether m's body can be made at any time, without the turn that [Archive.Each] gives it.
func (m *Member) Ready() bool {
	return !m.archive.sequential() && (m.zip.method == methodDeflated || !m.Key.IsSym())
}

// Body makes the stored form of the member that [Archive.Each] is at; the caller closes it. Reading fails with the context's cause once ctx
// ends. Members of a tar, and a stored .sym of a zip, are staged. A deflated .sym, and other members of a zip, are read straight from the
// archive.
func (m *Member) Body(ctx context.Context) (*Body, error) {
	switch {
	case m.archive.sequential() && m.content == nil:
		return nil, fmt.Errorf("body of %s when it is not its turn", m.Name)
	case m.archive.sequential():
		return m.content.body(ctx, m)
	}
	src := newSource(ctx, m.archive.f, m.zip.data, m.zip.size)
	switch {
	case m.zip.method == methodStored && m.Key.IsSym():
		return m.stageInTurn(ctx, src)
	case m.zip.method == methodStored:
		return &Body{ReadSeeker: src, At: m.data(ctx), Size: m.Size, CRC32: m.crc}, nil
	case m.Key.IsSym():
		return m.wrap(ctx), nil
	}
	inf := inflaters.Get().(*inflate.Reader)
	giveBack := sync.OnceValue(func() error {
		inf.Reset(nil)
		inflaters.Put(inf)
		return nil
	})
	return &Body{ReadSeeker: inflate.NewSeeker(src, m.Size, inf), Size: m.Size, CRC32: m.crc, close: giveBack}, nil
}

// A span is a range of the archive that several goroutines read at once, until its context ends.
type span struct {
	ctx       context.Context //nolint:containedctx // of a Body, as for a source
	r         io.ReaderAt
	off, size int64
}

// data returns the data of a zip's member as they are in the archive.
func (m *Member) data(ctx context.Context) span {
	return span{ctx: ctx, r: m.archive.f, off: m.zip.data, size: m.zip.size}
}

// ReadAt implements io.ReaderAt.
func (s span) ReadAt(p []byte, off int64) (int, error) {
	if off >= s.size {
		return 0, io.EOF
	}
	want := int64(len(p))
	n, err := io.ReadFull(newSource(s.ctx, s.r, s.off+off, min(want, s.size-off)), p[:min(want, s.size-off)])
	if err == nil && int64(n) < want {
		err = io.EOF
	}
	return n, err
}

// wrap makes a gzip of m's own deflate stream.
func (m *Member) wrap(ctx context.Context) *Body {
	size := int64(len(gzipHeader)) + m.zip.size + gzipTrailerSize
	at := &gzipped{data: m.data(ctx), trailer: gzipTrailer(m.crc, m.Size)}
	return &Body{ReadSeeker: io.NewSectionReader(at, 0, size), At: at, Size: size, CRC32: m.zip.gzipCRC, Gzip: true}
}

// gzipped is the gzip of a deflate stream: header, stream and trailer.
type gzipped struct {
	data    span
	trailer []byte
}

// ReadAt implements io.ReaderAt.
func (g *gzipped) ReadAt(p []byte, off int64) (n int, err error) {
	head := int64(len(gzipHeader))
	tail := head + g.data.size
	for n < len(p) {
		switch at := off + int64(n); {
		case at < head:
			n += copy(p[n:], gzipHeader[at:])
		case at < tail:
			k, err := g.data.ReadAt(p[n:], at-head)
			if n += k; err != nil && !errors.Is(err, io.EOF) {
				return n, err
			}
		case at < tail+int64(len(g.trailer)):
			n += copy(p[n:], g.trailer[at-tail:])
		default:
			return n, io.EOF
		}
	}
	return n, nil
}

// stageInTurn stages m once no other member is in scratch.
func (m *Member) stageInTurn(ctx context.Context, content io.Reader) (b *Body, err error) {
	staging := m.archive.staging
	select {
	case staging <- struct{}{}:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	defer func() {
		if b == nil { // even after a panic
			<-staging
		}
	}()
	if b, err = m.stage(ctx, content); err != nil {
		return nil, err
	}
	file := b.close
	b.close = sync.OnceValue(func() error {
		defer func() { <-staging }()
		return file()
	})
	return b, nil
}

// stage writes m's stored form to a scratch file.
func (m *Member) stage(ctx context.Context, content io.Reader) (*Body, error) {
	var out *tallied
	f, err := m.archive.work.Stage(ctx, m.Size, func(f Scratch) (err error) {
		if out, err = m.writeTo(f, content); err != nil {
			return err
		}
		_, err = f.Seek(0, io.SeekStart)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("stage %s: %w", m.Name, err)
	}
	return &Body{ReadSeeker: f, Size: out.n, CRC32: out.crc, Gzip: m.Key.IsSym(), close: f.Close}, nil
}

// writeTo writes m's stored form to f.
func (m *Member) writeTo(f io.Writer, content io.Reader) (*tallied, error) {
	out := &tallied{w: f}
	buffered := bufio.NewWriterSize(out, bufSize)
	plain := &tallied{w: buffered}
	finish := func() error { return nil }
	if m.Key.IsSym() {
		gz, err := gzip.NewWriterLevel(buffered, gzipLevel)
		if err != nil {
			return nil, err
		}
		gz.ModTime = time.Unix(0, 0) // none; the zero Time would be written as another number
		plain.w, finish = gz, gz.Close
	}
	if _, err := io.CopyBuffer(plain, content, make([]byte, bufSize)); err != nil {
		return nil, err
	}
	if plain.n != m.Size || plain.crc != m.crc {
		return nil, errors.New("the content is not what it was when it was verified")
	}
	return out, errors.Join(finish(), buffered.Flush())
}

// A tallied writer counts what it writes, and computes its CRC-32.
type tallied struct {
	w   io.Writer
	n   int64
	crc uint32
}

func (t *tallied) Write(p []byte) (int, error) {
	n, err := t.w.Write(p)
	t.n += int64(n)
	t.crc = crc32.Update(t.crc, crc32.IEEETable, p[:n])
	return n, err
}
