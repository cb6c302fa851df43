package archive

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"tecken-upload/internal/inflate"
)

// A passing is a content that passes by once, and belongs to one member or, with hard links, to several.
type passing struct {
	stream io.Reader
	staged *Body // what the first of several made of it; nil: it was not read
	last   *Member
}

// body makes m's body of the content, or of what another member has made of it.
func (c *passing) body(m *Member, scratch func() (Scratch, error)) (*Body, error) {
	content := c.stream
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
	b, err := m.stage(content, scratch)
	if err != nil || c.staged != nil || m == c.last {
		return b, err
	}
	c.staged = b
	return c.lend(), nil
}

// lend returns what is staged to one who does not close it.
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

// Skip reads past the content of a member that Walk has just yielded and nobody wants. In a compressed tar all of it has to
// be inflated, which is otherwise done when the walk goes on, outside of any slot. Of other members there is nothing to read.
func (m *Member) Skip(ctx context.Context, acquire Acquire) error {
	c := m.content
	if c == nil || c.staged != nil || m != c.last || m.archive.format.compression == nil || m.Size == 0 {
		return nil
	}
	slot, err := acquire(ctx, m.Size)
	if err != nil {
		return err
	}
	defer slot.Release()
	if _, err := io.CopyBuffer(newPace(slot), c.stream, make([]byte, bufSize)); err != nil {
		return fmt.Errorf("read past %s: %w", m.Name, err)
	}
	return nil
}

// A tarWalk goes through the verified members of a tar once more.
type tarWalk struct {
	left    []*Member
	yield   func(*Member, error) bool
	stopped bool
}

var errChanged = errors.New("the tar is not what it was when it was verified")

// walkTar yields the verified members, each with its content.
func (a *Archive) walkTar(ctx context.Context, yield func(*Member, error) bool) {
	w := &tarWalk{left: a.members, yield: yield}
	err := a.readTar(ctx, false, w.member)
	var fault *Error
	switch {
	case w.stopped:
		return
	case errors.As(err, &fault):
		err = fmt.Errorf("%w: %s", errChanged, fault.Reason)
	case err == nil && len(w.left) > 0:
		err = errChanged
	}
	if err != nil {
		yield(nil, err)
	}
}

// member yields the members that the content of a regular file belongs to.
func (w *tarWalk) member(h *tar.Header, content io.Reader) (err error) {
	if !isRegular(h) {
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
		if !w.one(m, c) {
			w.stopped = true
			return fs.SkipAll
		}
	}
	return nil
}

func (w *tarWalk) one(m *Member, c *passing) bool {
	m.content = c
	defer func() { m.content = nil }()
	return w.yield(m, nil)
}
