package archive

import (
	"archive/tar"
	"context"
	"errors"
	"io"
	"math"

	"tecken-upload/internal/archive/tarball"
	"tecken-upload/internal/symbol"
)

// maxTarMember is the largest member of a tar, in bytes, whatever Limits say: it may have to be staged in scratch.
const maxTarMember = 2 << 30

// verifyTar gives all members in order: what was found while the archive arrived, or what it reads. If the decoder needs more memory, it
// starts again with more.
func (a *Archive) verifyTar(ctx context.Context, give func(*Member) error) error {
	give = once(give)
	err := a.adoptTar(ctx, give)
	for errors.Is(err, errGivenUp) || errors.Is(err, tarball.ErrMoreMemory) {
		if err := a.work.Memory(ctx, a.tar.Memory()); err != nil {
			return err
		}
		err = a.verifyTarOnce(ctx, give)
	}
	return err
}

// once returns a function that gives no member twice, however often the archive is read.
func once(give func(*Member) error) func(*Member) error {
	given := 0
	return func(m *Member) error {
		if m.Index < given {
			return nil
		}
		given++
		return give(m)
	}
}

func (a *Archive) verifyTarOnce(ctx context.Context, give func(*Member) error) error {
	l := a.limits
	l.MaxMemberSize = min(l.MaxMemberSize, maxTarMember)
	t := &tarListing{archive: a, sum: newTally(l), names: naming{disallowed: l.DisallowedSnippets}, files: make(map[string]*Member)}
	a.keys = make(map[symbol.Key]*Member)
	src := a.all(ctx)
	err := a.readTar(ctx, src, a.tar.Verify, func(h *tar.Header, content io.Reader) error {
		m, err := t.add(h)
		if err != nil || m == nil {
			return err
		}
		if m.link == nil {
			err = a.work.Inflate(ctx, a.cost(src, m.Size), func(turn Turn) error { //nolint:contextcheck // the turn has it
				src.turn = turn
				defer func() { src.turn = nil }()
				return m.verifyTar(content, turn)
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

// verifyTar reads all of m's content and checks it.
func (m *Member) verifyTar(content io.Reader, turn Turn) error {
	d := newDigest(turn, m.Size)
	if err := d.read(content); err != nil {
		return err
	}
	m.crc = d.crc // a tar declares none
	return m.check(d)
}

// all returns the file from its start. While it arrives, the source waits for its bytes, and gives back its turn meanwhile.
func (a *Archive) all(ctx context.Context) *source {
	src := newSource(ctx, a.f, 0, a.size)
	if a.arrives == nil {
		return src
	}
	src.await = func(pos int64) (int64, error) {
		if there, whole, _ := a.arrives.now(); there > pos || whole {
			return there, nil
		}
		return a.arrives.await(ctx, src.turn, pos+1, func(int64) int64 { return a.cost(src, math.MaxInt64) })
	}
	return src
}

// cost guesses what the unread bytes in src inflate to that are there already, at most size.
func (a *Archive) cost(src *source, size int64) int64 {
	if a.arrives == nil {
		return size
	}
	there, _, _ := a.arrives.now()
	n := there - src.pos
	if a.tar.Compressed() {
		n *= usualRatio
	}
	return min(size, n)
}

// readTar has read, a method of a.tar, call each for every member in src. A failure to read the file is ours, whatever was made of it.
func (a *Archive) readTar(ctx context.Context, src *source, read func(context.Context, io.ReadSeeker, tarball.Each) error, each tarball.Each) error {
	err := read(ctx, src, each)
	if err != nil && src.err != nil {
		return src.err
	}
	return err
}
