package sched

import "time"

// Stats describes a Scheduler at one moment.
type Stats struct {
	Slots    int   // all slots
	Busy     int   // slots in use; may exceed Slots while some are stuck
	Stuck    int   // of these, stuck ones
	Waiting  int   // tasks that wait
	Expired  int64 // slots that expired, so far
	Runaways int   // their tasks that have not ended
	Tripped  bool  // there are so many of them that the scheduler has stopped
	// Stalled is for how long tasks have been waiting with none ended in time or moved; 0 when none waits. After a slot
	// has expired it is for how long there was work, waiting or not.
	Stalled time.Duration
	// Hanging are the tenants that hang, as long as they have any task.
	Hanging []Hang
	// Busyness is the share of slots in use over the last minute, from 0 to 1, without those that others could be in use beside: an
	// integral over time, exact for the last 59 to 60 s, or since New.
	Busyness float64
}

// Stats returns the present state.
func (s *Scheduler) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	return Stats{
		Slots:    s.opts.Slots,
		Busy:     s.backlog.busy,
		Stuck:    s.backlog.stuck,
		Waiting:  s.backlog.waiting,
		Expired:  s.expired,
		Runaways: s.runaways,
		Tripped:  s.broken(),
		Busyness: s.usage.mean(now) / float64(s.opts.Slots),
		Stalled:  s.progress.stalled(now),
		Hanging:  s.backlog.hangs(now),
	}
}

// Waiting returns the number of waiting tasks. It is cheaper than Stats.
func (s *Scheduler) Waiting() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.backlog.waiting
}

// Backlogged reports whether tasks wait for slots. Tasks of tenants that hang do not count: more slots would not help them.
func (s *Scheduler) Backlogged() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	waiting := s.backlog.waiting
	for _, t := range s.backlog.hanging {
		waiting -= t.queue.waiting
	}
	return waiting > 0
}

const (
	usageSpan  = time.Second
	usageSpans = 60
)

// usage is the integral of the slots in use over the last minute, by second, the present one included.
type usage struct {
	busy  int
	last  time.Duration             // summed up until then
	spans [usageSpans]time.Duration // slots x time
}

// set records that busy slots are in use from now on.
func (u *usage) set(now time.Duration, busy int) {
	u.advance(now)
	u.busy = busy
}

func (u *usage) advance(now time.Duration) {
	if now-u.last > usageSpans*usageSpan {
		u.spans = [usageSpans]time.Duration{}
		u.last = (now - usageSpans*usageSpan).Truncate(usageSpan)
	}
	for u.last < now {
		end := min(now, u.last.Truncate(usageSpan)+usageSpan)
		u.spans[u.last/usageSpan%usageSpans] += time.Duration(u.busy) * (end - u.last)
		u.last = end
		if end%usageSpan == 0 {
			u.spans[end/usageSpan%usageSpans] = 0 // it was the second a minute ago
		}
	}
}

// mean returns the average number of slots in use.
func (u *usage) mean(now time.Duration) float64 {
	u.advance(now)
	covered := min(now, (usageSpans-1)*usageSpan+now%usageSpan)
	if covered <= 0 {
		return 0
	}
	var sum time.Duration
	for _, span := range u.spans {
		sum += span
	}
	return float64(sum) / float64(covered)
}
