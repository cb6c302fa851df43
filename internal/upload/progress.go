package upload

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"tecken-upload/internal/background"
)

// progressShare times in Config.Stale the progress of uploads in flight is recorded: a database may be away for a while before one of
// them is taken for lost.
const progressShare = 6

const (
	// progressTimeout bounds recording the progress of all uploads in flight, or longer where they are to be recorded less often.
	progressTimeout = 2 * time.Second
	// progressRetry is the pause after it failed.
	progressRetry = time.Second
)

// flights are the uploads in flight: begun, and without a recorded end. The zero flights are ready for use.
type flights struct {
	mu   sync.Mutex
	runs map[int64]flight

	half, most atomic.Int64  // uploads that passed 50 % and 90 % of their deadline
	news       chan struct{} // holds an element where progress is to be recorded at once
}

// A flight is one upload as others see it.
type flight struct {
	upload Upload // without its files
	meter  *meter
	over   bool // its end waits to be recorded
}

func (f flight) now() Upload {
	f.upload.Progress = f.meter.progress()
	return f.upload
}

// show makes others see how far an upload is.
func (f *flights) show(u *Upload, m *meter, over bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.runs == nil {
		f.runs = make(map[int64]flight)
	}
	shown := flight{upload: *u, meter: m, over: over}
	shown.upload.Files, shown.upload.Outcome, shown.upload.EndedAt, shown.upload.Error = nil, "", time.Time{}, ""
	f.runs[u.ID] = shown
}

// land forgets an upload.
func (f *flights) land(id int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.runs, id)
}

// all returns the uploads as they are now.
func (f *flights) all() (uploads []Upload) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, shown := range f.runs {
		uploads = append(uploads, shown.now())
	}
	return uploads
}

// watch counts an upload at 50 % and at 90 % of its deadline, unless the function it returns is called
// before.
func (f *flights) watch(deadline time.Duration) (stop func()) {
	half := background.After(deadline/2, "deadline", func() { f.half.Add(1) })
	most := background.After(deadline*9/10, "deadline", func() { f.most.Add(1) })
	return func() {
		half.Stop()
		most.Stop()
	}
}

// InFlight returns an upload that this Service runs, as it is now and without its files; false where it runs none of that id.
func (s *Service) InFlight(id int64) (Upload, bool) {
	s.flights.mu.Lock()
	defer s.flights.mu.Unlock()
	shown, ok := s.flights.runs[id]
	if !ok {
		return Upload{}, false
	}
	return shown.now(), true
}

// Phases returns how many uploads are in each phase now.
func (s *Service) Phases() map[Phase]int {
	s.flights.mu.Lock()
	defer s.flights.mu.Unlock()
	phases := make(map[Phase]int)
	for _, shown := range s.flights.runs {
		if !shown.over {
			phases[shown.upload.Phase]++
		}
	}
	return phases
}

// Late returns how many uploads have passed 50 %, and 90 %, of their deadline so far.
func (s *Service) Late() (half, most int64) { return s.flights.half.Load(), s.flights.most.Load() }

// RecordProgress records, until ctx ends, how far the uploads in flight are, several times in Config.Stale. fault is called with the first
// of several errors in a row. It returns nil.
func (s *Service) RecordProgress(ctx context.Context, fault func(error)) error {
	every := s.Stale / progressShare
	next := time.NewTimer(every)
	defer next.Stop()
	for failing := false; ; {
		select {
		case <-next.C:
		case <-s.flights.news:
		case <-ctx.Done():
			return nil
		}
		err := s.recordProgress(ctx, max(every, progressTimeout))
		if err != nil && !failing && ctx.Err() == nil {
			fault(err)
		}
		if failing = err != nil; failing {
			next.Reset(min(every, progressRetry)) // once the database is back, others take silent uploads for lost
		} else {
			next.Reset(every)
		}
	}
}

func (s *Service) recordProgress(ctx context.Context, limit time.Duration) error {
	uploads := s.flights.all()
	if len(uploads) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	return s.Records.Progress(ctx, uploads)
}
