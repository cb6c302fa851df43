package archive

import (
	"archive/tar"
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"runtime/debug"
	"strings"

	"github.com/mholt/archiver/v4"
)

// Bounds of what a tar may hold beside its members' content: headers, long names, padding.
const (
	tarPerMember = 4 << 10
	tarSlack     = 2 << 20 // the padding at the end alone may be 1 MiB, with the largest record size in use
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
	last string // the member that was reached
	read error  // how reading that member's content ended, unless well
	busy bool   // each is running
	err  error  // what each returned
}

// readTar calls each for every member of the tar. Where whole is set, it then makes sure that the tar
// ends as it should and that nothing follows. It returns each's error as it is.
func (a *Archive) readTar(ctx context.Context, whole bool, each func(h *tar.Header, content io.Reader) error) error {
	p := &tarPass{a: a, ctx: ctx, each: each, src: newSource(ctx, a.f, 0, a.size)}
	p.tar = &stream{ctx: ctx, r: p.src, left: int64(a.limits.MaxMembers)*tarPerMember + tarSlack}
	if d := a.format.decompressor; d != nil {
		var rc io.ReadCloser
		err := guard(func() (err error) {
			rc, err = d.OpenReader(bufio.NewReaderSize(p.src, bufSize))
			return err
		})
		if err != nil {
			return p.fault(err)
		}
		defer rc.Close()
		p.tar.r = rc
	}
	var in io.Reader = p.tar
	if a.format.decompressor == nil && !whole {
		in = p.src // it can seek, and what is there was seen before
	}
	if err := p.extract(in); err != nil {
		return p.fault(err)
	}
	if whole {
		return p.fault(p.finish())
	}
	return nil
}

// extract runs archiver over the tar. A panic in it is an error; one in each is not ours to catch.
func (p *tarPass) extract(in io.Reader) (err error) {
	defer func() {
		if p.busy {
			return
		}
		if v := recover(); v != nil {
			err = &panicError{v, debug.Stack()}
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
	p.last = h.Name
	if h.Typeflag == tar.TypeReg {
		// What a member declares is counted against the limits by each; the rest is counted here.
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

// finish makes sure that the tar ended with two blocks of zeros, and that only zeros follow: a tar cut
// short after a member must not pass for a whole one. Reading to the end also makes the decompressor
// check its own trailer.
func (p *tarPass) finish() error {
	if p.tar.eof {
		return invalid("The tar is cut short: it does not end with two blocks of zeros")
	}
	buf := make([]byte, bufSize)
	for {
		n, err := p.tar.Read(buf)
		for _, b := range buf[:n] {
			if b != 0 {
				return invalid("Something follows the end of the tar")
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// fault tells whose fault it is that the pass ended with err: the archive's is an *Error.
func (p *tarPass) fault(err error) error {
	var fault *Error
	switch {
	case err == nil:
		return nil
	case p.src.err != nil:
		return p.src.err
	case p.ctx.Err() != nil:
		return context.Cause(p.ctx)
	case p.err != nil && p.read == nil:
		return p.err
	case errors.As(p.tar.err, &fault):
		return fault
	case errors.As(err, &fault):
		return fault
	}
	if p.read != nil {
		err = p.read // what archiver wrapped with the member's name as it is
	}
	where := "before its first member"
	if p.last != "" {
		where = "in or after the member " + quote(p.last)
	}
	name := p.a.format.name
	switch {
	case p.tar.err == nil && len(p.tar.head) > 0 && !isTar(p.tar.head):
		return invalid("The file is compressed, but not a %s archive: there is no tar in it", name)
	case errors.Is(err, io.ErrUnexpectedEOF):
		return damaged(err, "The %s archive ends too early, %s", name, where)
	}
	return damaged(err, "The %s archive can't be decoded %s", name, where)
}

// verifyTar reads all members, one after the other.
func (a *Archive) verifyTar(ctx context.Context, acquire Acquire) error {
	a.members = nil
	sum := tally{limits: a.limits}
	sum.limits.MaxMemberSize = min(sum.limits.MaxMemberSize, maxTarMember)
	buf := make([]byte, bufSize)
	err := a.readTar(ctx, true, func(h *tar.Header, content io.Reader) error {
		m, err := a.tarMember(h)
		if err != nil {
			return err
		}
		if err := sum.add(m.Name, m.Size); err != nil {
			return err
		}
		a.members = append(a.members, m)
		slot, err := acquire(ctx, m.Size)
		if err != nil {
			return err
		}
		defer slot.Release()
		return m.verifyTar(slot, content, buf)
	})
	if err != nil {
		return err
	}
	return checkNotEmpty(a.members)
}

// tarMember makes a member of a header.
func (a *Archive) tarMember(h *tar.Header) (*Member, error) {
	dir := h.Typeflag == tar.TypeDir
	p, err := locate(h.Name, dir, a.limits.DisallowedSnippets)
	if err != nil {
		return nil, err
	}
	if kind := tarKind(h); kind != "" {
		return nil, invalid("The member %s is a %s; only regular files are allowed", quote(h.Name), kind)
	}
	m := &Member{Name: h.Name, Key: p.key, Ignored: p.ignored, Size: h.Size, archive: a}
	if dir {
		m.Size = 0
	}
	return m, nil
}

// tarKind names what a member is that is neither a regular file nor a directory; otherwise it is empty.
func tarKind(h *tar.Header) string {
	switch h.Typeflag {
	case tar.TypeReg, tar.TypeDir:
	case tar.TypeSymlink:
		return "symbolic link"
	case tar.TypeLink:
		return "hard link"
	case tar.TypeChar, tar.TypeBlock:
		return "device"
	case tar.TypeFifo:
		return "named pipe"
	case tar.TypeGNUSparse:
		return "sparse file"
	default:
		return fmt.Sprintf("special file of type %q", h.Typeflag)
	}
	for k := range h.PAXRecords {
		if strings.HasPrefix(k, "GNU.sparse.") {
			return "sparse file"
		}
	}
	return ""
}

func (m *Member) verifyTar(slot Slot, content io.Reader, buf []byte) error {
	d := newDigest(slot, m)
	if _, err := io.CopyBuffer(d, content, buf); err != nil {
		return err
	}
	m.crc = d.crc // a tar declares none
	return m.check(d)
}

// Skip reads past the content of a member that Walk has just yielded and nobody wants. In a compressed tar all of it has to
// be inflated, which is otherwise done when the walk goes on, outside of any slot. Of other members there is nothing to read.
func (m *Member) Skip(ctx context.Context, acquire Acquire) error {
	if m.content == nil || m.archive.format.decompressor == nil || m.Size == 0 {
		return nil
	}
	slot, err := acquire(ctx, m.Size)
	if err != nil {
		return err
	}
	defer slot.Release()
	if _, err := io.CopyBuffer(newPace(slot), m.content, make([]byte, bufSize)); err != nil {
		return fmt.Errorf("read past %s: %w", m.Name, err)
	}
	return nil
}

// walkTar yields the verified members, each with its content.
func (a *Archive) walkTar(ctx context.Context, yield func(*Member, error) bool) {
	errStop, errChanged := fs.SkipAll, errors.New("the tar is not what it was when it was verified")
	left := a.members
	stopped := false
	err := a.readTar(ctx, false, func(h *tar.Header, content io.Reader) error {
		if len(left) == 0 || left[0].Name != h.Name {
			return errChanged
		}
		m := left[0]
		left = left[1:]
		m.content = content
		defer func() { m.content = nil }()
		if stopped = !yield(m, nil); stopped {
			return errStop
		}
		return nil
	})
	var fault *Error
	switch {
	case stopped:
		return
	case errors.As(err, &fault):
		err = fmt.Errorf("%w: %s", errChanged, fault.Reason)
	case err == nil && len(left) > 0:
		err = errChanged
	}
	if err != nil {
		yield(nil, err)
	}
}
