package health

import (
	"sync"
	"time"
)

// A window counts the recent errors of one disk. It is safe for concurrent use.
type window struct {
	threshold int
	length    time.Duration
	recovered func() bool
	turned    func(red bool)
	now       func() time.Time

	mu   sync.Mutex  // guards the fields below; not held while the disk is tried
	last []time.Time // the latest errors, oldest first, at most threshold
	red  bool
}

// add counts an error.
func (w *window) add() {
	w.mu.Lock()
	if len(w.last) == w.threshold {
		w.last = append(w.last[:0], w.last[1:]...)
	}
	w.last = append(w.last, w.now())
	turns := !w.red && w.crowded()
	w.red = w.red || turns
	w.mu.Unlock()
	if turns {
		w.turned(true)
	}
}

// crowded reports whether threshold errors are inside the window. An error leaves it when it is as old as the window is long.
func (w *window) crowded() bool {
	return len(w.last) == w.threshold && w.now().Sub(w.last[0]) < w.length
}

// full reports whether the disk turns the heartbeats red: from threshold errors inside the window until fewer are left and the disk has
// recovered.
func (w *window) full() bool {
	w.mu.Lock()
	still := w.red && w.crowded()
	red := w.red
	w.mu.Unlock()
	if still || !red {
		return red
	}
	if !w.recovered() {
		return true
	}
	w.mu.Lock()
	// Meanwhile an error may have come, or another caller may have found the disk well.
	crowded := w.crowded()
	turns := w.red && !crowded
	w.red = crowded
	w.mu.Unlock()
	if turns {
		w.turned(false)
	}
	return crowded
}
