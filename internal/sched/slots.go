// Package sched bounds work in progress.
//
// A [Slots] has a fixed number of slots, fixed when it is made. Waiters are served in the order they came, and a wait
// ends with its context. Each kind of work has its own Slots, so that no kind can use up another's.
//
// The package does not end work that holds its slot for too long, and does not weigh one tenant against
// another: who shares Slots shares their fate.
package sched

import (
	"context"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"
)

// Slots is a bounded number of places for work in progress. It is safe for concurrent use.
type Slots struct {
	capacity int
	sem      *semaphore.Weighted
	now      func() time.Time

	mu       sync.Mutex // guards what follows; never held while waiting
	busy     int
	waiting  int
	progress time.Time // when a slot was last given back, or work last found none waiting
}

// NewSlots makes n slots; n is at least 1. now is the clock, time.Now outside of tests.
func NewSlots(n int, now func() time.Time) *Slots {
	return &Slots{capacity: n, sem: semaphore.NewWeighted(int64(n)), now: now, progress: now()}
}

// Acquire waits for a slot and returns a function that gives it back; calling that again does nothing.
// It fails only with the cause of ctx. The tenant and the cost in bytes are not weighed.
func (s *Slots) Acquire(ctx context.Context, _ int64, _ int64) (release func(), err error) {
	s.enqueue()
	if err := s.sem.Acquire(ctx, 1); err != nil {
		s.leave(0)
		return nil, context.Cause(ctx)
	}
	s.leave(1)
	return sync.OnceFunc(func() {
		s.mu.Lock()
		s.busy--
		s.progress = s.now()
		s.mu.Unlock()
		s.sem.Release(1)
	}), nil
}

func (s *Slots) enqueue() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.waiting == 0 {
		s.progress = s.now()
	}
	s.waiting++
}

func (s *Slots) leave(started int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.waiting--
	s.busy += started
	if started > 0 {
		s.progress = s.now()
	}
}

// Stats describes Slots at one moment.
type Stats struct {
	Capacity int           // slots there are
	Busy     int           // slots in use
	Waiting  int           // calls of Acquire that wait
	Stalled  time.Duration // for how long work has been waiting with none started or finished; 0 when none waits
}

// Stats returns the present state.
func (s *Slots) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := Stats{Capacity: s.capacity, Busy: s.busy, Waiting: s.waiting}
	if s.waiting > 0 {
		st.Stalled = s.now().Sub(s.progress)
	}
	return st
}
