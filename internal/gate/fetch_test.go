package gate

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"tecken-upload/internal/upload"
)

// An archive counts as its size once that is known.
func TestSizesThatBecomeKnown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		a := h.enter(1, -1)
		for _, step := range []struct {
			tell  func(int64)
			size  int64
			want  int64
			slots int
		}{{func(int64) {}, 0, unknownSize, 1}, {a.Grow, mib, mib, 1}, {a.Grow, 100 * mib, 100 * mib, 1}, {a.Received, 99 * mib, 99 * mib, 0}, {a.Grow, 7, 99 * mib, 0}} {
			step.tell(step.size)
			if st := h.gate.Stats(); st.Unfinished != step.want || st.Receiving != step.slots {
				t.Errorf("told of %d: counts as %d, with %d receiving slots", step.size, st.Unfinished, st.Receiving)
			}
		}
		a.end()
	})
}

// withFetches makes a gate with that many fetch slots, slots to wait for one, and much of everything else.
func withFetches(slots, line int) func(*Config) {
	return func(c *Config) { c.ReceivingSlots, c.FetchSlots, c.FetchLine = 100, slots, line }
}

// fetched is the result of a wait for a fetch slot.
type fetched struct {
	*admitted
	err error
	at  time.Duration
}

// fetch has a tenant's upload wait for a fetch slot, in the background. It closes the upload if it gets none.
func (h *house) fetch(ctx context.Context, tenant int64) <-chan fetched {
	h.Helper()
	a := h.enter(tenant, -1)
	out := make(chan fetched, 1)
	start := time.Now()
	go func() {
		err := a.FetchSlot(ctx)
		if err != nil {
			a.end()
		}
		out <- fetched{a, err, time.Since(start)}
	}()
	synctest.Wait()
	return out
}

// got returns an upload that must have its fetch slot by now.
func (h *house) got(out <-chan fetched) *admitted {
	h.Helper()
	select {
	case f := <-out:
		if f.err != nil {
			h.Fatal(f.err)
		}
		return f.admitted
	default:
		h.Fatal("it waits for a fetch slot that is free")
		return nil
	}
}

// A fetch slot is given back with the last byte received; an upload that waits for one holds up no body.
func TestAFetchSlotIsWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, withFetches(1, 1))
		first := h.got(h.fetch(t.Context(), 1))
		if first.Contended() {
			t.Error("none waits, and the first is in the way")
		}
		second := h.fetch(t.Context(), 2)
		body := h.enter(2, 1)
		if !first.Contended() || body.Contended() {
			t.Errorf("one waits for a fetch slot: in the way are the one that has it (%t), and a body (%t)", first.Contended(), body.Contended())
		}
		if st := h.gate.Stats(); st.Fetching != 1 || st.FetchWaiting != 1 || st.Short || st.Ratio != 1 {
			t.Errorf("%+v", st)
		}
		first.Received(1)
		synctest.Wait()
		h.got(second).end()
		body.end()
		first.end()
	})
}

// An upload waits for a fetch slot until its time at the gate is over, and has at least a moment to find a free one.
func TestNoFetchSlotInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, withFetches(1, 1))
		first := h.got(h.fetch(t.Context(), 1))
		second := <-h.fetch(t.Context(), 2)
		if busy := h.refused(second.err); second.at != 10*time.Second || busy.Lack != upload.LackFetch || busy.OverLimit {
			t.Errorf("after %v: %v", second.at, second.err)
		}
		if !first.Contended() || h.gate.Stats().TurnedAway.IsZero() {
			t.Error("one was refused for a fetch slot, and the first is not in the way")
		}
		late := h.enter(2, -1)
		<-time.After(time.Minute)
		if first.Contended() {
			t.Error("contended for ever")
		}
		start := time.Now()
		err := late.FetchSlot(t.Context())
		if waited := time.Since(start); waited != leastFetch || h.refused(err).Lack != upload.LackFetch {
			t.Errorf("after %v: %v", waited, err)
		}
		first.end()
		if err := late.FetchSlot(t.Context()); err != nil {
			t.Error(err)
		}
		late.end()
	})
}

// A tenant with its share of the fetch slots is refused for its own limit.
func TestFetchSlotsOfATenantsOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, withFetches(4, 4))
		inside := []*admitted{h.got(h.fetch(t.Context(), 1)), h.got(h.fetch(t.Context(), 1))}
		third, fourth := h.fetch(t.Context(), 1), h.fetch(t.Context(), 1)
		fifth := <-h.fetch(t.Context(), 1)
		for _, f := range []fetched{fifth, <-third, <-fourth} {
			if busy := h.refused(f.err); !busy.OverLimit || busy.Lack != upload.LackFetch || f != fifth && f.at != 10*time.Second {
				t.Errorf("after %v: %+v", f.at, busy)
			}
		}
		if st := h.gate.Stats(); fifth.at != 0 || !st.TurnedAway.IsZero() || inside[0].Contended() {
			t.Errorf("refused after %v, %+v, contended %t", fifth.at, st, inside[0].Contended())
		}
		for _, a := range inside {
			a.end()
		}
	})
}

// Two greedy tenants take no fetch slot from a third: it has a slot to wait in, and gets the next one that comes free, though it has more
// bytes here.
func TestFetchSlotsAreNotForTwoTenants(t *testing.T) {
	for _, c := range []struct{ slots, line, others int }{{8, 8, 2}, {8, 8, 3}, {2, 2, 2}, {1, 1, 1}} {
		synctest.Test(t, func(t *testing.T) {
			h := newHouse(t, withFetches(c.slots, c.line), func(c *Config) { c.Wait = time.Hour })
			var others sync.WaitGroup
			for tenant := range c.others {
				for range c.slots + c.line {
					out := h.fetch(t.Context(), int64(tenant)+1)
					others.Go(func() {
						if f := <-out; f.err == nil {
							<-time.After(time.Minute)
							f.end()
						}
					})
				}
			}
			synctest.Wait()
			if st := h.gate.Stats(); st.Fetching != c.slots || st.Ratio != 1 {
				t.Fatalf("%+v: %+v", c, st)
			}
			large := h.enter(99, 1<<30)
			f := <-h.fetch(t.Context(), 99)
			if f.err != nil || f.at != time.Minute {
				t.Fatalf("%+v: %v after %v", c, f.err, f.at)
			}
			f.end()
			large.end()
			others.Wait()
		})
	}
}

// An upload that leaves while it waits for a fetch slot leaves nothing behind, and one that gets its slot at its end gives it back.
func TestGoingWhileWaitingForAFetchSlot(t *testing.T) {
	errGone := errors.New("gone")
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, withFetches(1, 1))
		for _, after := range []time.Duration{time.Second, 2 * time.Second} {
			first := h.got(h.fetch(t.Context(), 1))
			time.AfterFunc(2*time.Second, func() { first.Received(1) })
			ctx, cancel := context.WithTimeoutCause(t.Context(), after, errGone)
			defer cancel()
			if f := <-h.fetch(ctx, 2); f.err == nil {
				f.end()
			} else if !errors.Is(f.err, errGone) || f.at != after {
				t.Errorf("after %v: %v", f.at, f.err)
			}
			a := h.enter(3, 1)
			if err := a.FetchSlot(ctx); !errors.Is(err, errGone) {
				t.Errorf("one that was gone before: %v", err)
			}
			a.end()
			<-time.After(2 * time.Second)
			if st := h.gate.Stats(); st.Fetching+st.FetchWaiting != 0 {
				t.Errorf("%+v", st)
			}
			first.end()
		}
	})
}

// A client that obeys Retry-After waits twice as long after each refusal in a row, though it is admitted each time before it asks for its slot.
func TestRefusalsOfAFetchSlotDouble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, withFetches(1, 1), func(c *Config) { c.Wait = 0 })
		hold := func(d time.Duration) {
			a := h.got(h.fetch(t.Context(), 1))
			<-time.After(d)
			a.end()
		}
		for range recentHolds {
			hold(8 * time.Second)
		}
		refused := func(want time.Duration) {
			t.Helper()
			a := h.got(h.fetch(t.Context(), 1))
			out := h.fetch(t.Context(), 2)
			<-time.After(leastFetch)
			if got := h.refused((<-out).err).RetryAfter; got != want {
				t.Errorf("told to come again after %v, want %v", got, want)
			}
			a.end()
			<-time.After(want)
		}
		refused(8 * time.Second)
		refused(16 * time.Second)
		refused(32 * time.Second)
		h.got(h.fetch(t.Context(), 2)).end()
		for range recentHolds {
			hold(8 * time.Second)
		}
		refused(8 * time.Second)
	})
}
