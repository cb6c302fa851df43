package sched

import (
	"sync/atomic"
	"time"
)

// progress measures how long tasks have been waiting while none ended. Its clock starts when the first begins to wait, and restarts
// whenever one ends in time or moves. After a slot has expired, the clock runs while there is any work, through one expiry after another,
// until a task ends well. Otherwise storage that answers nothing would look well each time that all slots have expired.
type progress struct {
	last atomic.Int64 // since when the clock runs
	lost atomic.Bool  // a slot has expired since

	// These belong to the Scheduler's mutex.
	waiting, some bool          // a task waits; a task waits or holds a slot
	since         time.Duration // start of the present work
}

// made records that a task has ended in time, or moved.
func (p *progress) made(now time.Duration) {
	p.last.Store(int64(now))
	if p.lost.Load() {
		p.lost.Store(false)
	}
}

// lose records that a slot has expired.
func (p *progress) lose() { p.lost.Store(true) }

// observe records the numbers of waiting tasks and slots in use.
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

// stalled returns the clock's time, 0 if it does not run.
func (p *progress) stalled(now time.Duration) time.Duration {
	if !p.waiting && (!p.some || !p.lost.Load()) {
		return 0
	}
	return max(now-time.Duration(p.last.Load()), 0)
}
