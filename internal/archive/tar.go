package archive

import (
	"archive/tar"
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"runtime/debug"

	"github.com/mholt/archiver/v4"

	"tecken-upload/internal/archive/fault"
	"tecken-upload/internal/archive/tarcheck"
	"tecken-upload/internal/symbol"
)

// typeLabel is a header of GNU's, the label of a volume.
const typeLabel = 'V'

// Bounds of what a tar may hold beside its members' content: headers, long names, padding.
const (
	tarPerMember = 4 << 10
	tarSlack     = 2 << 20 // the padding at the end may be 1 MiB, with the largest record size in use
)

// An extractor reads a tar from start to end.
type extractor interface {
	Extract(ctx context.Context, r io.Reader, handle archiver.FileHandler) error
}

// A tarPass is one reading of a tar from start to end.
type tarPass struct {
	a    *Archive
	ctx  context.Context
	src  *source
	tar  *stream
	each func(h *tar.Header, content io.Reader) error
	last string // the current member
	read error  // the error of reading its content
	busy bool   // each is running
	err  error  // each's result
}

// readTar calls each for every member of the tar. With whole, it checks every block of the tar, that it ends properly and that nothing
// follows. It returns each's error unchanged.
func (a *Archive) readTar(ctx context.Context, whole bool, each func(h *tar.Header, content io.Reader) error) error {
	p := &tarPass{a: a, ctx: ctx, each: each, src: newSource(ctx, a.f, 0, a.size)}
	p.tar = &stream{ctx: ctx, r: p.src, left: int64(a.limits.MaxMembers)*tarPerMember + tarSlack}
	if whole {
		p.tar.check = new(tarcheck.Checker)
	}
	if a.format.compression != nil {
		d, err := a.openDecoder(bufio.NewReaderSize(p.src, bufSize))
		if err != nil {
			return p.fault(err)
		}
		defer a.closeDecoder(d)
		p.tar.r = d
	}
	var in io.Reader = p.tar
	if a.format.compression == nil && !whole {
		in = p.src // it can seek, and was checked before
	}
	if err := p.extract(in); err != nil {
		return p.fault(err)
	}
	if whole {
		return p.fault(p.finish())
	}
	return nil
}

// extract runs archiver over the tar. A panic in it becomes an error; one in each is passed on.
func (p *tarPass) extract(in io.Reader) (err error) {
	defer func() {
		if p.busy {
			return
		}
		if v := recover(); v != nil {
			err = &fault.Panic{Value: v, Stack: debug.Stack()}
		}
	}()
	var x extractor = archiver.Tar{}
	return x.Extract(p.ctx, in, func(_ context.Context, f archiver.FileInfo) error {
		p.err = p.member(f)
		return p.err
	})
}

func (p *tarPass) member(f archiver.FileInfo) error {
	h, ok := f.Header.(*tar.Header)
	if !ok {
		return fmt.Errorf("archiver gave a %T as header", f.Header)
	}
	if h.Typeflag == typeLabel {
		return nil
	}
	p.last = h.Name
	if isRegular(h) {
		// each counts a member's declared size against the limits; the rest is counted here.
		p.tar.left += max(h.Size, 0)
	}
	content, err := f.Open()
	if err != nil {
		return err
	}
	p.busy = true
	err = p.each(h, readerFunc(func(b []byte) (int, error) {
		n, err := content.Read(b)
		if err != nil && !errors.Is(err, io.EOF) {
			p.read = err
		}
		return n, err
	}))
	p.busy = false
	return err
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(b []byte) (int, error) { return f(b) }

// finish reads to the end, to find that the tar ends with the file, and to let the decompressor check its trailer. A tar cut short after a
// member must not pass for a whole one.
func (p *tarPass) finish() error {
	if _, err := io.CopyBuffer(io.Discard, struct{ io.Reader }{p.tar}, make([]byte, bufSize)); err != nil {
		return err
	}
	if !p.tar.check.Ended() {
		return fault.Invalid("The tar is cut short: it does not end with two blocks of zeros")
	}
	return nil
}

// fault returns the error for a pass that ended with err: an *Error if the archive is at fault.
func (p *tarPass) fault(err error) error {
	var bad *Error
	switch {
	case err == nil:
		return nil
	case p.src.err != nil:
		return p.src.err
	case p.ctx.Err() != nil:
		return context.Cause(p.ctx)
	case p.err != nil && p.read == nil:
		return p.err
	case tooNarrow(err), tooNarrow(p.read), tooNarrow(p.tar.err):
		return p.a.widen()
	case !p.isTar():
		return fault.Invalid("The file is compressed, but not a %s archive: there is no tar in it", p.a.format.name)
	case errors.As(p.tar.err, &bad):
		return bad
	case errors.As(err, &bad):
		return bad
	}
	if p.read != nil {
		err = p.read // without archiver's wrapping, which has the member's raw name
	}
	where := "before its first member"
	if p.last != "" {
		where = "in or after the member " + fault.Quote(p.last)
	}
	name := p.a.format.name
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return fault.Damaged(err, "The %s archive ends too early, %s", name, where)
	}
	return fault.Damaged(err, "The %s archive can't be decoded %s", name, where)
}

// isTar reports whether the bytes read may be a tar.
func (p *tarPass) isTar() bool {
	decoded := p.tar.err == nil || errors.Is(p.tar.err, ErrInvalid)
	return !decoded || len(p.tar.head) == 0 || tarcheck.IsHeader(p.tar.head)
}

// verifyTar reads all members in order, and gives each. If the decoder needs more memory, it starts again with more, and gives none twice.
func (a *Archive) verifyTar(ctx context.Context, give func(*Member) error) error {
	given := 0
	for {
		if err := a.work.Memory(ctx, a.memory()); err != nil {
			return err
		}
		err := a.verifyTarOnce(ctx, func(m *Member) error {
			if m.Index < given {
				return nil
			}
			given++
			return give(m)
		})
		if !errors.Is(err, errMoreMemory) {
			return err
		}
	}
}

func (a *Archive) verifyTarOnce(ctx context.Context, give func(*Member) error) error {
	l := a.limits
	l.MaxMemberSize = min(l.MaxMemberSize, maxTarMember)
	t := &tarListing{archive: a, sum: newTally(l), names: naming{disallowed: l.DisallowedSnippets}, files: make(map[string]*Member)}
	a.keys = make(map[symbol.Key]*Member)
	buf := make([]byte, bufSize)
	err := a.readTar(ctx, true, func(h *tar.Header, content io.Reader) error {
		m, err := t.add(h)
		if err != nil || m == nil {
			return err
		}
		if m.link == nil {
			err = a.work.Inflate(ctx, m.Size, func(ctx context.Context, moved func()) error {
				return m.verifyTar(newDigest(ctx, moved, m), content, buf)
			})
		}
		if err == nil {
			err = a.know(m)
		}
		if err != nil {
			return err
		}
		return give(m)
	})
	if err != nil {
		return err
	}
	a.members = t.inOrder()
	return checkNotEmpty(a.members, t.sum.entries)
}

func (m *Member) verifyTar(d *digest, content io.Reader, buf []byte) error {
	if _, err := io.CopyBuffer(d, content, buf); err != nil {
		return err
	}
	m.crc = d.crc // a tar declares none
	return m.check(d)
}
