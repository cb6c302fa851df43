package upload

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"tecken-upload/internal/background"
)

const (
	// maxUnsettled bounds the ends that are kept while the database is away. Uploads are refused then, so
	// there are no more than were in flight when it went.
	maxUnsettled = 256
	// settleInterval is the pause after an end could not be recorded.
	settleInterval = 5 * time.Second
	// settleTries is how often an end is tried that the database refuses, though it answers: its operators may be changing it.
	settleTries = 12
	// settleLast bounds the last try, when the server stops.
	settleLast = 2 * time.Second
)

// A Loss says why an upload's end is not recorded, and never will be.
type Loss string

// Why ends are lost.
const (
	LostRecord  Loss = "gone"    // its record is gone: the database was restored to a time before it
	LostRefused Loss = "refused" // the database is there, and refuses it every time
	LostMemory  Loss = "memory"  // as many ends as are kept wait for the database
	LostTime    Loss = "time"    // the server stopped before the database was back
)

// Losses lists every Loss.
func Losses() []Loss { return []Loss{LostRecord, LostRefused, LostMemory, LostTime} }

// An end is one that could not be recorded.
type end struct {
	upload Upload
	tries  int // that the database refused
}

// ends are those that wait to be recorded.
type ends struct {
	mu      sync.Mutex // guards waiting and over
	waiting []end
	over    bool          // Settle has ended, and takes no more
	came    chan struct{} // holds an element once one came
}

// push puts an end behind the others. It returns why that can't be done, or nothing.
func (e *ends) push(u end) Loss {
	e.mu.Lock()
	defer e.mu.Unlock()
	switch {
	case e.over:
		return LostTime
	case len(e.waiting) >= maxUnsettled:
		return LostMemory
	}
	e.waiting = append(e.waiting, u)
	select {
	case e.came <- struct{}{}:
	default:
	}
	return ""
}

// pop takes the first end, if there is one.
func (e *ends) pop() (u end, ok bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.waiting) == 0 {
		return end{}, false
	}
	u = e.waiting[0]
	e.waiting = slices.Delete(e.waiting, 0, 1)
	return u, true
}

// close takes all that are left; none is taken in any more.
func (e *ends) close() []end {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.over = true
	rest := e.waiting
	e.waiting = nil
	return rest
}

// unsettle keeps the upload's end for Settle: a record without an end means that a process died, and this
// one lives. err is why it could not be recorded.
func (r *run) unsettle(ctx context.Context, err error) {
	kept := end{upload: *r.up}
	kept.upload.Files = slices.Clone(r.up.Files)
	r.keep(ctx, kept, err)
}

// Settle records, until ctx ends, the ends that could not be recorded when they came. One that fails again waits behind the others; one that
// can never be recorded, and those that are left when ctx ends, are lost, which is reported to Config.Observer. It returns nil.
func (s *Service) Settle(ctx context.Context) error {
	for ctx.Err() == nil {
		next, ok := s.unsettled.pop()
		if !ok {
			select {
			case <-s.unsettled.came:
			case <-ctx.Done():
			}
			continue
		}
		err := s.finish(ctx, &next.upload, finishTimeout)
		if err == nil || s.keep(context.WithoutCancel(ctx), next, err) {
			continue
		}
		select {
		case <-time.After(settleInterval):
		case <-ctx.Done():
		}
	}
	s.settleRest(context.WithoutCancel(ctx))
	return nil
}

// settleRest tries once more, for a little while, what is left when the server stops.
func (s *Service) settleRest(ctx context.Context) {
	limited, cancel := context.WithTimeout(ctx, settleLast)
	defer cancel()
	for _, next := range s.unsettled.close() {
		err := s.finish(limited, &next.upload, settleLast)
		switch {
		case errors.Is(err, ErrNotFound):
			s.lose(ctx, &next.upload, LostRecord, err)
		case err != nil:
			s.lose(ctx, &next.upload, LostTime, err)
		}
	}
}

// keep puts an end behind those that wait, unless that is of no use. It reports whether it is lost.
func (s *Service) keep(ctx context.Context, e end, err error) (lost bool) {
	if !errors.Is(err, ErrUnavailable) {
		e.tries++
	}
	var why Loss
	switch {
	case errors.Is(err, ErrNotFound):
		why = LostRecord
	case e.tries >= settleTries:
		why = LostRefused
	default:
		why = s.unsettled.push(e)
	}
	if why == "" {
		return false
	}
	s.lose(ctx, &e.upload, why, err)
	return true
}

func (s *Service) lose(ctx context.Context, u *Upload, why Loss, err error) {
	s.flights.land(u.ID)
	background.Guard("upload end lost", func() { s.Observer.EndLost(ctx, u, why, err) })
}

// finish records an end. A panic is an error: the next end is tried all the same.
func (s *Service) finish(ctx context.Context, u *Upload, timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	err := background.Try(func() error { return s.Records.Finish(ctx, u) })
	if err == nil {
		s.flights.land(u.ID)
	}
	return err
}
