// Package health tells from the disk's own complaints whether an instance should get traffic.
//
// A disk-full error is what the kernel calls one (ENOSPC, EDQUOT), or a reservation that would not fit even
// with every live upload gone. A few of them inside a [Window] turn the instance's heartbeats red, so
// that balancers send uploads elsewhere. They turn green by themselves. An instance that is full of live
// uploads is merely busy, and no reason for alarm.
//
// The package looks at nothing by itself: errors are brought to it, and it measures the disk only while red.
package health

import (
	"errors"
	"sync"
	"syscall"
	"time"

	"tecken-upload/internal/spool"
)

// A Window counts disk-full errors of the recent past. It is safe for concurrent use.
type Window struct {
	threshold int
	length    time.Duration
	roomy     func() bool
	now       func() time.Time

	mu    sync.Mutex  // guards what follows; not held while the disk is measured
	last  []time.Time // the latest errors, oldest first; at most threshold of them
	red   bool
	total int64
}

// NewWindow makes a Window that is full from threshold errors inside of length on, until fewer are left in
// it and roomy reports that the disk has its headroom free. threshold is at least 1. now is the clock,
// time.Now outside of tests.
func NewWindow(threshold int, length time.Duration, roomy func() bool, now func() time.Time) *Window {
	return &Window{threshold: threshold, length: length, roomy: roomy, now: now}
}

// Note counts err if it is, or wraps, a disk-full error. It takes any error, and nil.
func (w *Window) Note(err error) {
	if !diskFull(err) {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.total++
	if len(w.last) == w.threshold {
		w.last = append(w.last[:0], w.last[1:]...)
	}
	w.last = append(w.last, w.now())
	w.red = w.red || w.crowded()
}

func diskFull(err error) bool {
	if full := (*spool.FullError)(nil); errors.As(err, &full) {
		return !full.Busy
	}
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

// crowded reports whether threshold errors are inside the window. An error leaves it when it is as old as
// the window is long.
func (w *Window) crowded() bool {
	return len(w.last) == w.threshold && w.now().Sub(w.last[0]) < w.length
}

// Full reports whether the heartbeats are to be red.
func (w *Window) Full() bool {
	w.mu.Lock()
	still := w.red && w.crowded()
	red := w.red
	w.mu.Unlock()
	if still || !red {
		return red
	}
	if !w.roomy() {
		return true
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	// An error may have come while the disk was measured.
	w.red = w.crowded()
	return w.red
}

// Total returns how many disk-full errors there have been.
func (w *Window) Total() int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.total
}
