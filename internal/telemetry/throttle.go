package telemetry

import (
	"sync"
	"time"
)

// sameAgain is how long events of a kind that was reported are only logged and counted.
const sameAgain = time.Hour

// A Throttle lets one of each kind through in an hour, so that what fails all the time is one event and not thousands. The zero
// Throttle is ready for use, by several goroutines.
type Throttle struct {
	mu       sync.Mutex
	reported map[string]time.Time // kinds, and when they were last let through
}

// Due reports whether one of this kind is let through. Kinds are few fixed texts: each is remembered.
func (t *Throttle) Due(kind string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	if last, ok := t.reported[kind]; ok && now.Sub(last) < sameAgain {
		return false
	}
	if t.reported == nil {
		t.reported = make(map[string]time.Time)
	}
	t.reported[kind] = now
	return true
}
