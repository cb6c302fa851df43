package telemetry

import (
	"sync"
	"time"
)

// sameAgain is how long further events of a reported kind are only logged and counted.
const sameAgain = time.Hour

// A Throttle passes one event of each kind an hour, so that a lasting failure is one event and not thousands. The zero Throttle is ready
// for concurrent use.
type Throttle struct {
	mu       sync.Mutex
	reported map[string]time.Time // kinds and the time of their last event
}

// Due reports whether an event of this kind passes. Kinds are a few fixed texts: each is remembered.
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
