package upload

import (
	"math"
	"sync"
)

// A meter measures how much of an archive is done. Verifying all of it is half of the work, publishing all of it the other half.
type meter struct {
	report func(bytes int64)

	mu                  sync.Mutex // guards what follows
	size                int64      // bytes of the archive; 0 until it has arrived
	there               int64      // bytes that have arrived
	verified, published share
	reported            int64 // bytes
}

// A share is a part of all the bytes of an archive's members.
type share struct{ done, of int64 }

func (s share) ratio() float64 {
	if s.of <= 0 {
		return 0
	}
	return min(1, float64(s.done)/float64(s.of))
}

// count counts n more bytes of members in one of the meter's shares; piece says that they end a piece of work.
func (m *meter) count(s *share, n int64, piece bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s.done += n
	if m.size == 0 {
		m.ahead(n / usualRatio)
		return
	}
	if piece {
		m.update(0)
	} else {
		m.update(1)
	}
}

// arrived sets the size of the archive, in bytes.
func (m *meter) arrived(size int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.size = size
}

// arrives sets how many bytes of the archive have arrived.
func (m *meter) arrives(there int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.there = there
}

// begin sets of how many bytes a share is; before, it counts as none.
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

// usualRatio is how many bytes of members a byte of an archive usually has.
const usualRatio = 4

// ahead reports that so many bytes of an archive that still arrives are verified, which is half of the work. It is a guess; what follows makes
// it right. Called with mu held.
func (m *meter) ahead(bytes int64) {
	if half := min(bytes/2, m.there/2-m.reported); half > 0 {
		m.report(half)
		m.reported += half
	}
}

// update reports what is not reported yet, if it is at least so many bytes. Called with mu held.
func (m *meter) update(least int64) {
	done := int64(math.Round(float64(m.size) * (m.verified.ratio() + m.published.ratio()) / 2))
	more := max(0, done-m.reported)
	if more >= least {
		m.report(more)
		m.reported += more
	}
}
