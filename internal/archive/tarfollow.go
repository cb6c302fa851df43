package archive

import (
	"context"
	"errors"

	"tecken-upload/internal/archive/tarball"
)

// errGivenUp: a Follower has not read the archive to its end, for reasons that are not the archive's.
var errGivenUp = errors.New("the archive was not followed to its end")

// followTar verifies the members of a tar, in order, as their bytes arrive.
func (f *Follower) followTar(ctx context.Context) error {
	a := f.archive
	if err := a.tar.Open(a.all(ctx), a.limits.MaxMembers); err != nil {
		return err
	}
	give := once(f.give)
	for {
		giveBack, ok := a.work.Spare(a.tar.Memory())
		if !ok {
			return errGivenUp
		}
		err := a.verifyTarOnce(ctx, give)
		if err != nil {
			giveBack()
		}
		if !errors.Is(err, tarball.ErrMoreMemory) {
			return err
		}
	}
}

// give keeps the next member of a tar, and reports it if it is a symbol file.
func (f *Follower) give(m *Member) error {
	f.mu.Lock()
	f.inOrder = append(f.inOrder, m)
	f.mu.Unlock()
	f.given.grow(int64(m.Index + 1))
	if m.wanted() {
		f.found(m)
	}
	return nil
}

// relay gives the members of a tar as they are found. It returns errGivenUp if it has not given all that can be read.
func (f *Follower) relay(ctx context.Context, give func(*Member) error) error {
	for n := int64(0); ; n++ {
		have, err := f.given.wait(ctx, n+1)
		switch {
		case err != nil:
			return err
		case have <= n:
			return f.verdict()
		}
		f.mu.Lock()
		m := f.inOrder[n]
		f.mu.Unlock()
		if err := give(m); err != nil {
			return err
		}
	}
}

// verdict returns the fault of the tar, nil for a good one, or errGivenUp.
func (f *Follower) verdict() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	var bad *Error
	if f.err == nil || errors.As(f.err, &bad) {
		return f.err
	}
	return errGivenUp
}

// adoptTar gives what a Follower finds, and takes over its results. It returns errGivenUp if the archive has to be read.
func (a *Archive) adoptTar(ctx context.Context, give func(*Member) error) error {
	if a.early == nil {
		return errGivenUp
	}
	if err := a.early.relay(ctx, give); err != nil {
		return err
	}
	a.tar, a.members = a.early.archive.tar, a.early.archive.members
	return nil
}
