package archive

import (
	"archive/tar"
	"context"
	"errors"
	"io"

	"tecken-upload/internal/archive/tarball"
	"tecken-upload/internal/symbol"
)

// maxTarMember is the largest member of a tar, in bytes, whatever Limits say: it may have to be staged in scratch.
const maxTarMember = 2 << 30

// verifyTar reads all members in order, and gives each. If the decoder needs more memory, it starts again with more, and gives none twice.
func (a *Archive) verifyTar(ctx context.Context, give func(*Member) error) error {
	given := 0
	for {
		if err := a.work.Memory(ctx, a.tar.Memory()); err != nil {
			return err
		}
		err := a.verifyTarOnce(ctx, func(m *Member) error {
			if m.Index < given {
				return nil
			}
			given++
			return give(m)
		})
		if !errors.Is(err, tarball.ErrMoreMemory) {
			return err
		}
	}
}

func (a *Archive) verifyTarOnce(ctx context.Context, give func(*Member) error) error {
	l := a.limits
	l.MaxMemberSize = min(l.MaxMemberSize, maxTarMember)
	t := &tarListing{archive: a, sum: newTally(l), names: naming{disallowed: l.DisallowedSnippets}, files: make(map[string]*Member)}
	a.keys = make(map[symbol.Key]*Member)
	err := a.readTar(ctx, a.tar.Verify, func(h *tar.Header, content io.Reader) error {
		m, err := t.add(h)
		if err != nil || m == nil {
			return err
		}
		if m.link == nil {
			err = a.work.Inflate(ctx, m.Size, func(turn Turn) error { //nolint:contextcheck // the turn has it
				d := newDigest(turn, m.Size)
				if err := d.read(content); err != nil {
					return err
				}
				m.crc = d.crc // a tar declares none
				return m.check(d)
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

// readTar has read, a method of a.tar, call each for every member. A failure to read the file is ours, whatever was made of it.
func (a *Archive) readTar(ctx context.Context, read func(context.Context, io.ReadSeeker, tarball.Each) error, each tarball.Each) error {
	src := newSource(ctx, a.f, 0, a.size)
	err := read(ctx, src, each)
	if err != nil && src.err != nil {
		return src.err
	}
	return err
}
