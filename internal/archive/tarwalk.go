package archive

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"

	"tecken-upload/internal/archive/tarball"
	"tecken-upload/internal/inflate"
)

// A passing is a content at the reader, of one member or, with hard links, of several.
type passing struct {
	stream io.Reader
	read   bool  // a body was made of it
	staged *Body // the first member's body, if there are several
	last   *Member
}

// body makes m's body from the content, or from another member's body.
func (c *passing) body(ctx context.Context, m *Member) (*Body, error) {
	content := c.stream
	c.read = true
	if c.staged != nil {
		if _, err := c.staged.Seek(0, io.SeekStart); err != nil {
			return nil, err
		}
		if c.staged.Gzip == m.Key.IsSym() {
			return c.lend(), nil
		}
		if content = c.staged; c.staged.Gzip {
			var err error
			if content, err = inflate.NewGzip(c.staged); err != nil {
				return nil, err
			}
		}
	}
	b, err := m.stage(ctx, content)
	if err != nil || c.staged != nil || m == c.last {
		return b, err
	}
	c.staged = b
	return c.lend(), nil
}

// lend returns the staged body, for a use that does not close it.
func (c *passing) lend() *Body {
	b := *c.staged
	b.close = nil
	return &b
}

func (c *passing) close() error {
	if c.staged == nil {
		return nil
	}
	return c.staged.Close()
}

// A tarWalk goes through the checked members of a tar again.
type tarWalk struct {
	archive *Archive
	ctx     context.Context //nolint:containedctx // of one call, which the walk does not outlive
	do      func(context.Context, *Member) error
	left    []*Member
	err     error // of do
}

var errChanged = errors.New("the tar is not what it was when it was verified")

// walkTar calls do for each wanted member, while the reader is at its content.
func (a *Archive) walkTar(ctx context.Context, do func(context.Context, *Member) error) error {
	w := &tarWalk{archive: a, ctx: ctx, do: do, left: a.members}
	err := a.readTar(ctx, a.all(ctx), a.tar.Again, w.member)
	var bad *Error
	switch {
	case w.err != nil:
		return w.err
	case errors.As(err, &bad):
		err = fmt.Errorf("%w: %s", errChanged, bad.Reason)
	case err == nil && len(w.left) > 0:
		err = errChanged
	}
	if err != nil {
		return fmt.Errorf("read the archive again: %w", err)
	}
	return nil
}

// member handles the members with a regular file's content.
func (w *tarWalk) member(h *tar.Header, content io.Reader) (err error) {
	if !tarball.IsRegular(h) {
		return nil
	}
	if len(w.left) == 0 || w.left[0].sent != h.Name || w.left[0].Size != h.Size {
		return errChanged
	}
	target := w.left[0]
	n := 1
	for n < len(w.left) && w.left[n].link == target {
		n++
	}
	all := w.left[:n]
	w.left = w.left[n:]
	c := &passing{stream: content, last: all[n-1]}
	defer func() { err = errors.Join(err, c.close()) }()
	for _, m := range all {
		if w.err = w.one(m, c); w.err != nil {
			return w.err
		}
	}
	return w.skip(target, c)
}

func (w *tarWalk) one(m *Member, c *passing) error {
	if !m.wanted() {
		return nil
	}
	m.content = c
	defer func() { m.content = nil }()
	return w.do(w.ctx, m)
}

// skip reads past unread content. In a compressed tar all of it has to be inflated; archiver would do that later, without a slot.
func (w *tarWalk) skip(m *Member, c *passing) error {
	if c.read || !w.archive.tar.Compressed() || m.Size == 0 {
		return nil
	}
	return w.archive.work.Inflate(w.ctx, m.Size, func(turn Turn) error {
		p := &pace{turn: turn}
		defer p.report()
		if _, err := io.CopyBuffer(p, c.stream, make([]byte, bufSize)); err != nil {
			return fmt.Errorf("read past %s: %w", m.Name, err)
		}
		return nil
	})
}
