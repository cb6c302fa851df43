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

// gzipTrailer follows a deflate stream of n bytes with that CRC-32.
func gzipTrailer(crc uint32, n int64) []byte {
	return le.AppendUint32(le.AppendUint32(nil, crc), uint32(n))
}

// Scratch is the caller's temporary file, empty and at its start. Its bytes are gone once it is closed.
type Scratch interface {
	io.ReadWriteSeeker
	io.Closer
}

// A Body is a member's stored form: Size bytes with the IEEE CRC-32. It begins at its start, and seeks anywhere. It is not for concurrent
// use.
type Body struct {
	io.ReadSeeker
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
		return &Body{ReadSeeker: src, Size: m.Size, CRC32: m.crc}, nil
	case m.Key.IsSym():
		return m.wrap(src), nil
	}
	r := &inflated{m: m, src: src}
	return &Body{ReadSeeker: r, Size: m.Size, CRC32: m.crc, close: r.close}, nil
}

// wrap makes a gzip of m's own deflate stream.
func (m *Member) wrap(data *source) *Body {
	size := int64(len(gzipHeader)) + m.zip.size + 8
	r := io.NewSectionReader(&gzipped{data: data, trailer: gzipTrailer(m.crc, m.Size)}, 0, size)
	return &Body{ReadSeeker: r, Size: size, CRC32: m.zip.gzipCRC, Gzip: true}
}

// gzipped is the gzip of a deflate stream: header, stream and trailer.
type gzipped struct {
	data    *source
	trailer []byte
}

// ReadAt implements io.ReaderAt, for one caller at a time.
func (g *gzipped) ReadAt(p []byte, off int64) (n int, err error) {
	head := int64(len(gzipHeader))
	tail := head + g.data.end - g.data.base
	for n < len(p) {
		switch at := off + int64(n); {
		case at < head:
			n += copy(p[n:], gzipHeader[at:])
		case at < tail:
			if _, err := g.data.Seek(at-head, io.SeekStart); err != nil {
				return n, err
			}
			k, err := g.data.Read(p[n:])
			if n += k; err != nil {
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

// inflated is the content of a deflated member. To go back it starts again from the member's start; to go forward it reads on.
type inflated struct {
	m    *Member
	src  *source
	inf  *inflate.Reader // nil before the first Read
	at   int64           // inf's offset
	want int64           // the next Read's offset
}

func (r *inflated) Read(p []byte) (n int, err error) {
	if r.want >= r.m.Size {
		return 0, io.EOF
	}
	if err := r.reach(); err != nil {
		return 0, err
	}
	p = p[:min(int64(len(p)), r.m.Size-r.at)]
	n, err = r.inf.Read(p)
	r.at += int64(n)
	r.want = r.at
	if errors.Is(err, io.EOF) && r.at == r.m.Size {
		err = nil
	}
	return n, r.fault(err)
}

// reach brings the decoder to the next Read's offset.
func (r *inflated) reach() error {
	if r.inf == nil || r.at > r.want {
		if err := r.close(); err != nil {
			return err
		}
		if _, err := r.src.Seek(0, io.SeekStart); err != nil {
			return err
		}
		r.inf, r.at = r.m.archive.inflaters.Get().(*inflate.Reader), 0
		r.inf.Reset(r.src)
	}
	n, err := io.CopyN(io.Discard, r.inf, r.want-r.at)
	r.at += n
	return r.fault(err)
}

func (r *inflated) fault(err error) error {
	switch {
	case err == nil:
		return nil
	case r.src.err != nil:
		return r.src.err
	}
	return fmt.Errorf("inflate %s again: %w", r.m.Name, err)
}

// Seek implements io.Seeker. It does no work: the next Read does.
func (r *inflated) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += r.want
	case io.SeekEnd:
		offset += r.m.Size
	}
	if offset < 0 {
		return 0, errors.New("seek before the start")
	}
	r.want = offset
	return offset, nil
}

func (r *inflated) close() error {
	if r.inf != nil {
		r.m.archive.inflaters.Put(r.inf)
		r.inf = nil
	}
	return nil
}
