package upload

import (
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"tecken-upload/internal/background"
)

// progress tells how far the uploads in flight are. The zero progress is ready for use.
type progress struct {
	mu     sync.Mutex
	phases map[Phase]int // uploads in each

	half, most atomic.Int64 // uploads that passed 50 % and 90 % of their deadline
}

// enter counts an upload in one phase instead of another; from is empty when there was none.
func (p *progress) enter(from, to Phase) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.phases == nil {
		p.phases = make(map[Phase]int)
	}
	p.leave(from)
	p.phases[to]++
}

// end counts an upload out of its last phase, if it got into one.
func (p *progress) end(last Phase) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.leave(last)
}

// leave counts an upload out of a phase. Called with mu held.
func (p *progress) leave(from Phase) {
	if from != "" {
		p.phases[from]--
	}
}

// watch counts an upload at 50 % and at 90 % of its deadline, unless the function it returns is called
// before.
func (p *progress) watch(deadline time.Duration) (stop func()) {
	half := background.After(deadline/2, "deadline", func() { p.half.Add(1) })
	most := background.After(deadline*9/10, "deadline", func() { p.most.Add(1) })
	return func() {
		half.Stop()
		most.Stop()
	}
}

// Phases returns how many uploads are in each phase now.
func (s *Service) Phases() map[Phase]int {
	s.progress.mu.Lock()
	defer s.progress.mu.Unlock()
	return maps.Clone(s.progress.phases)
}

// Late returns how many uploads have passed 50 %, and 90 %, of their deadline so far.
func (s *Service) Late() (half, most int64) { return s.progress.half.Load(), s.progress.most.Load() }
