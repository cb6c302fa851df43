package upload

import (
	"math"
	"sync"

	"tecken-upload/internal/spool"
)

// A Place is what an upload was given when it was admitted.
type Place struct {
	// Workspace has the upload's room on disk. Run closes it.
	Workspace *spool.Workspace
	// Sized may be called once, when the size of an archive becomes known whose request did not tell it. It may be nil.
	Sized func(size int64)
	// Arrived is called once the whole archive is in the workspace, with its bytes. It may be nil.
	Arrived func(size int64)
	// Worked is called for each piece of processing that is done, a member verified or published, with the bytes of the archive
	// that are dealt with since the last call, which may be 0: those of a completed upload add up to its size. It is safe
	// for concurrent use, and may be nil.
	Worked func(bytes int64)
	// Leave gives everything but the workspace back. It is called once. It may be nil.
	Leave func()
}

// Pass returns the place as the upload that runs sees it.
func (p Place) Pass() Pass { return pass{p} }

type pass struct{ place Place }

func (p pass) Workspace() *spool.Workspace { return p.place.Workspace }

func (p pass) Grow(size int64) {
	if p.place.Sized != nil {
		p.place.Sized(size)
	}
}

func (p pass) Received(size int64) {
	if p.place.Arrived != nil {
		p.place.Arrived(size)
	}
}

func (p pass) Done(bytes int64) {
	if p.place.Worked != nil {
		p.place.Worked(bytes)
	}
}

func (p pass) Close() error {
	err := p.place.Workspace.Close()
	if p.place.Leave != nil {
		p.place.Leave()
	}
	return err
}

// A meter tells how much of an archive has been dealt with. Verifying all of it is half of the work,
// publishing all of it the other half.
type meter struct {
	size int64 // bytes of the archive
	tell func(bytes int64)

	mu                  sync.Mutex // guards what follows
	verified, published share
	told                int64 // bytes
}

// A share is a part of all the bytes of an archive's members.
type share struct{ done, of int64 }

func (s share) ratio() float64 {
	if s.of <= 0 {
		return 0
	}
	return min(1, float64(s.done)/float64(s.of))
}

// count counts n more bytes of members in one of the meter's shares.
func (m *meter) count(s *share, n int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s.done += n
	m.update(0)
}

// begin says of how many bytes a share is. Until then it is none.
func (m *meter) begin(s *share, of int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s.of = of
}

// complete makes a share the whole.
func (m *meter) complete(s *share) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s.done, s.of = 1, 1
	m.update(1) // which is no piece of its own
}

// progress returns how much of the work is done, from 0 to 1.
func (m *meter) progress() float64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return (m.verified.ratio() + m.published.ratio()) / 2
}

// update tells what has not been told, where it is so many bytes or more. Called with mu held.
func (m *meter) update(least int64) {
	done := int64(math.Round(float64(m.size) * (m.verified.ratio() + m.published.ratio()) / 2))
	more := max(0, done-m.told)
	if more >= least {
		m.tell(more)
		m.told += more
	}
}
