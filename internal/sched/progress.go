package sched

import (
	"sync/atomic"
	"time"
)

// progress knows for how long tasks have been waiting without any getting done. Its clock starts when the first begins to
// wait, and anew whenever one ends in time or moves. Once a task has lost its slot, the clock is not so easily put off: it
// then runs while there is any work, from the piece that was lost to the next, until something gets done. Storage that answers
// nothing would otherwise look well each time that the leases of all who asked have ended.
type progress struct {
	last atomic.Int64 // since when the clock runs
	lost atomic.Bool  // a task has lost its slot since

	// These belong to the Scheduler's mutex.
	waiting, some bool          // a task waits; one waits or holds a slot
	since         time.Duration // when there was some last
}

// made tells that a task has ended in time, or moved.
func (p *progress) made(now time.Duration) {
	p.last.Store(int64(now))
	if p.lost.Load() {
		p.lost.Store(false)
	}
}

// lose tells that a task has lost its slot.
func (p *progress) lose() { p.lost.Store(true) }

// observe is told how many tasks wait and hold slots, whenever that has changed.
func (p *progress) observe(now time.Duration, waiting, busy int) {
	some := waiting+busy > 0
	switch lost := p.lost.Load(); {
	case lost && some && !p.some:
		p.last.Add(int64(now - p.since))
	case !lost && (some && !p.some || waiting > 0 && !p.waiting):
		p.last.Store(int64(now))
	}
	if p.some && !some {
		p.since = now
	}
	p.waiting, p.some = waiting > 0, some
}

// stalled returns what the clock shows, 0 where there is nothing to measure.
func (p *progress) stalled(now time.Duration) time.Duration {
	if !p.waiting && (!p.some || !p.lost.Load()) {
		return 0
	}
	return max(now-time.Duration(p.last.Load()), 0)
}
