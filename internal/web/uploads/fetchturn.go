package uploads

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"tecken-upload/internal/sched"
	"tecken-upload/internal/upload"
)

const (
	// leastFetchWait is what an upload by URL has at least to find a turn that is free: its time may have passed at the
	// gate.
	leastFetchWait = 100 * time.Millisecond
	// fetchRefusalMemory is for how long a refusal keeps the turns contended, as one at the gate does.
	fetchRefusalMemory = 10 * time.Second
)

// fetchTurns share the downloads in progress among tenants. A source elsewhere is as slow as it likes, so no tenant gets more
// than half of the turns, nor more than half of the places to wait for one. Who has a turn, or waits for one, has been admitted
// and holds a receiving place; of those there is a bound in all, so that the rest is left to bodies (docs/adr/0012). The last
// quarter of that is for tenants that have nothing of it, or else two tenants could keep a third from waiting.
type fetchTurns struct {
	*sched.Scheduler
	// who may have a turn or wait for one: in all, in all with another of their tenant, of one tenant
	most, open, own int
	refused         atomic.Int64 // when one was last refused that would have had any turn, in Unix nanoseconds

	mu      sync.Mutex    // guards what follows
	holders int           // who has a turn or waits for one
	tenants map[int64]int // the same by tenant; no zeros
}

func newFetchTurns(turns, queue int) *fetchTurns {
	most, ownTurns, ownQueue := turns+queue, (turns+1)/2, max(1, queue/2)
	return &fetchTurns{
		most:    most,
		open:    most - min(queue, max(1, most/4)),
		own:     ownTurns + ownQueue,
		tenants: make(map[int64]int),
		// No lease: downloads have time-outs of their own.
		Scheduler: sched.New(sched.Options{
			Slots: turns, PerTenant: ownTurns, Queue: ownQueue,
		}),
	}
}

// join gives one of a tenant the right to wait for a turn and to have it, until leave is called.
func (t *fetchTurns) join(tenant int64) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	own := t.tenants[tenant]
	if t.holders >= t.most || t.holders >= t.open && own > 0 || own >= t.own {
		return false
	}
	t.holders++
	t.tenants[tenant]++
	return true
}

func (t *fetchTurns) leave(tenant int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.holders--
	if t.tenants[tenant]--; t.tenants[tenant] == 0 {
		delete(t.tenants, tenant)
	}
}

// full reports whether every turn is taken. Who waits else waits for one of its own tenant.
func (t *fetchTurns) full() bool {
	s := t.Stats()
	return s.Busy >= s.Slots
}

// contended reports whether somebody waits, or was refused a moment ago, for a turn that others hold.
func (t *fetchTurns) contended() bool {
	return time.Since(time.Unix(0, t.refused.Load())) < fetchRefusalMemory || t.Waiting() > 0 && t.full()
}

// enterFetch waits for a turn to download, until the given time. The function it returns ends the turn, and may be called
// again.
func (s *Server) enterFetch(ctx context.Context, token upload.Token, until time.Time) (leave func(), err error) {
	t := s.fetches
	if !t.join(token.ID) {
		return nil, s.refuseFetch()
	}
	slot, err := s.waitToFetch(ctx, token, until)
	if err != nil {
		t.leave(token.ID)
		return nil, err
	}
	ended := s.Gate.Fetching()
	return sync.OnceFunc(func() {
		ended()
		t.leave(token.ID) // before the turn: who finds that free finds a place to wait in as well
		slot.Release()
	}), nil
}

func (s *Server) waitToFetch(ctx context.Context, token upload.Token, until time.Time) (slot *sched.Slot, err error) {
	wait := max(time.Until(until), leastFetchWait)
	err = s.whileTaking(ctx, func(ctx context.Context) (err error) {
		waiting, cancel := context.WithTimeout(ctx, wait)
		defer cancel()
		slot, err = s.fetches.Acquire(waiting, sched.Task{Tenant: token.ID, Weight: token.Weight, Cost: 1})
		return err
	})
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, sched.ErrQueueFull) {
		return nil, s.refuseFetch()
	}
	return slot, err
}

// refuseFetch makes the error of an upload that gets no turn.
func (s *Server) refuseFetch() error {
	full := s.fetches.full()
	if full {
		s.fetches.refused.Store(time.Now().UnixNano())
	}
	return s.Gate.RefuseFetch(s.fetches.Waiting(), !full)
}

// fetchContended reports whether a download holds what others want: room, or its turn.
func (s *Server) fetchContended() bool { return s.Gate.Contended() || s.fetches.contended() }
