package lease_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"tecken-upload/internal/lease"
	"tecken-upload/internal/lease/leasetest"
)

// A table that lost its memory gets all leases back within a quarter of the cut-off, at any time.
func TestATableThatForgets(t *testing.T) {
	for _, when := range []time.Duration{0, time.Second, stale/4 - 1, stale / 4, 10*stale + 7*time.Second} {
		synctest.Test(t, func(t *testing.T) {
			table := lease.NewMemory(stale)
			k := lease.NewKeeper(lease.Options{Shared: table, Stale: stale})
			run(t, k)
			for tenant := range int64(2) {
				defer mustTake(t, k, tenant+1, 1)()
			}
			<-time.After(when)
			synctest.Wait()
			if err := table.Release(t.Context(), k.Held()...); err != nil {
				t.Fatal(err)
			}
			<-time.After(stale / 4)
			synctest.Wait()
			if n := leasetest.Count(t, table, 1) + leasetest.Count(t, table, 2); n != 2 {
				t.Errorf("forgotten after %v, told of %d leases within %v", when, n, stale/4)
			}
		})
	}
}

// hangs is a table that can hang. It counts calls.
type hangs struct {
	*lease.Memory
	hang  atomic.Bool
	asked atomic.Int64
}

func (h *hangs) answer(ctx context.Context) error {
	h.asked.Add(1)
	if !h.hang.Load() {
		return nil
	}
	<-ctx.Done()
	return ctx.Err() // as from drivers, which drop causes
}

func (h *hangs) Take(ctx context.Context, l lease.Lease, limit int) error {
	if err := h.answer(ctx); err != nil {
		return err
	}
	return h.Memory.Take(ctx, l, limit)
}

func (h *hangs) Renew(ctx context.Context, leases ...lease.Lease) error {
	if err := h.answer(ctx); err != nil {
		return err
	}
	return h.Memory.Renew(ctx, leases...)
}

func (h *hangs) Release(ctx context.Context, leases ...lease.Lease) error {
	if err := h.answer(ctx); err != nil {
		return err
	}
	return h.Memory.Release(ctx, leases...)
}

func newHanging(t *testing.T) (*hangs, *lease.Keeper) {
	h := &hangs{Memory: lease.NewMemory(stale)}
	k := lease.NewKeeper(lease.Options{Shared: h, Stale: stale})
	run(t, k)
	synctest.Wait()
	return h, k
}

// However short its callers' patience, a hung table is noticed, and its caller served.
func TestATableThatHangsIsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, k := newHanging(t)
		h.hang.Store(true)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		defer cancel()
		start := time.Now()
		release, err := k.Take(ctx, 1, 1)
		if took := time.Since(start); err != nil || took != time.Second || !k.Away() {
			t.Fatalf("after %v: %v, away: %v", took, err, k.Away())
		}
		release()
	})
}

// times are the times of events.
type times struct {
	mu sync.Mutex
	at []time.Time
}

func (l *times) add() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.at = append(l.at, time.Now())
}

// take returns the times added since the last call.
func (l *times) take() []time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	at := l.at
	l.at = nil
	return at
}

// A table that is away is asked ever less, down to every seven and a half seconds. If it comes back and goes away again, it is first asked
// as soon as before.
func TestHowATableThatIsAwayIsAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		table := &sick{Memory: lease.NewMemory(stale)}
		var log times
		table.renewing = log.add
		k := lease.NewKeeper(lease.Options{Shared: table, Stale: stale})
		run(t, k)
		synctest.Wait()
		for range 2 {
			table.fail(errors.New("on purpose"))
			release := mustTake(t, k, 1, 1)
			synctest.Wait()
			lost := time.Now()
			log.take()
			<-time.After(time.Hour)
			asked := log.take()
			if len(asked) < 3600/8 || len(asked) > 2*3600/5 {
				t.Fatalf("asked %d times in an hour", len(asked))
			}
			if first := asked[0].Sub(lost); first > 150*time.Millisecond {
				t.Errorf("asked first after %v", first)
			}
			for i := range len(asked) - 1 {
				if pause := asked[i+1].Sub(asked[i]); pause > 7500*time.Millisecond || i > 10 && pause < 2500*time.Millisecond {
					t.Errorf("asked again after %v", pause)
				}
			}
			release()
			table.fail(nil)
			<-time.After(stale)
			if k.Away() {
				t.Fatal("it is not back")
			}
		}
	})
}

// Debts of a time when the table was away are paid in the end; debts of leases that became stale end too.
func TestDebtsEnd(t *testing.T) {
	broken := errors.New("on purpose")
	t.Run("when the process does", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			table := &sick{Memory: lease.NewMemory(time.Hour)}
			k := lease.NewKeeper(lease.Options{Shared: table, Stale: time.Hour})
			stop := run(t, k)
			var calls atomic.Int64
			release := mustTake(t, k, 1, 1)
			synctest.Wait()
			table.releasing = func() {
				if calls.Add(1) == 1 {
					<-time.After(900 * time.Millisecond) // and with it the process
				}
			}
			release()
			synctest.Wait()
			stop()
			if n := leasetest.Count(t, table, 1); n != 0 {
				t.Errorf("%d leases are left", n)
			}
			<-time.After(time.Second)
		})
	})
	t.Run("after twice the cut-off", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			table := &sick{Memory: lease.NewMemory(stale)}
			k := lease.NewKeeper(lease.Options{Shared: table, Stale: stale})
			run(t, k)
			release := mustTake(t, k, 1, 1)
			table.fail(broken)
			release()
			<-time.After(2*stale + 10*time.Second)
			var released atomic.Int64
			table.releasing = func() { released.Add(1) }
			table.fail(nil)
			<-time.After(stale)
			synctest.Wait()
			if n := released.Load(); k.Away() || n != 0 {
				t.Errorf("away: %v; %d times asked to forget what it has forgotten", k.Away(), n)
			}
		})
	})
}
