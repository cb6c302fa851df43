package tarball

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
)

// typeLabel is a header of GNU's, the label of a volume.
const typeLabel = 'V'

// An extractor reads a tar from start to end.
type extractor interface {
	Extract(ctx context.Context, r io.Reader, handle archiver.FileHandler) error
}

// A pass is one reading of a tar from start to end.
type pass struct {
	of   *Tar
	ctx  context.Context //nolint:containedctx // that of one call, which the pass does not outlive
	tar  *stream
	each Each
	last string // the current member
	read error  // the error of reading its content
	busy bool   // each is running
	err  error  // each's result
}

// run reads the tar in file. Where check is set, all of it is checked.
func (t *Tar) run(ctx context.Context, file io.ReadSeeker, check *tarcheck.Checker, each Each) error {
	p := &pass{of: t, ctx: ctx, each: each}
	p.tar = &stream{ctx: ctx, r: file, left: t.extra, check: check}
	if t.compression != nil {
		d, err := t.openDecoder(bufio.NewReaderSize(file, bufSize))
		if err != nil {
			return p.fault(err)
		}
		defer t.closeDecoder(d)
		p.tar.r = d
	}
	var in io.Reader = p.tar
	if t.compression == nil && check == nil {
		in = file // it can seek, and what is there was seen before
	}
	if err := p.extract(in); err != nil {
		return p.fault(err)
	}
	if check != nil {
		return p.fault(p.finish())
	}
	return nil
}

// extract runs archiver over the tar. A panic in it becomes an error; one in each is passed on.
func (p *pass) extract(in io.Reader) (err error) {
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

func (p *pass) member(f archiver.FileInfo) error {
	h, ok := f.Header.(*tar.Header)
	if !ok {
		return fmt.Errorf("archiver gave a %T as header", f.Header)
	}
	if h.Typeflag == typeLabel {
		return nil
	}
	p.last = h.Name
	if IsRegular(h) {
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
func (p *pass) finish() error {
	if _, err := io.CopyBuffer(io.Discard, struct{ io.Reader }{p.tar}, make([]byte, bufSize)); err != nil {
		return err
	}
	if !p.tar.check.Ended() {
		return fault.Invalid("The tar is cut short: it does not end with two blocks of zeros")
	}
	return nil
}

// fault returns the archive's fault that ended the pass with err, a [*fault.Error], or what is ours as it is.
func (p *pass) fault(err error) error {
	var bad *fault.Error
	var panicked *panicError
	switch {
	case err == nil:
		return nil
	case p.ctx.Err() != nil:
		return context.Cause(p.ctx)
	case p.err != nil && p.read == nil:
		return p.err
	case tooNarrow(err), tooNarrow(p.read), tooNarrow(p.tar.err):
		return p.of.widen()
	case !p.isTar():
		return fault.Invalid("The file is compressed, but not a %s archive: there is no tar in it", p.of.Name)
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
	name := p.of.Name
	switch {
	case errors.As(err, &panicked): // its text is not for the client
		return &fault.Error{Kind: fault.ErrInvalid, Reason: fmt.Sprintf("The %s archive can't be decoded %s", name, where), Cause: err}
	case errors.Is(err, io.ErrUnexpectedEOF):
		return fault.Damaged(err, "The %s archive ends too early, %s", name, where)
	}
	return fault.Damaged(err, "The %s archive can't be decoded %s", name, where)
}

// isTar reports whether the bytes read may be a tar.
func (p *pass) isTar() bool {
	decoded := p.tar.err == nil || errors.Is(p.tar.err, fault.ErrInvalid)
	return !decoded || len(p.tar.head) == 0 || tarcheck.IsHeader(p.tar.head)
}
