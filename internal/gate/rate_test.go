package gate

import (
	"testing"
	"testing/synctest"
	"time"

	"tecken-upload/internal/upload"
)

// Half of the deadline is 50 s; work is done at 1 MiB/s.
func TestTimeIsShort(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, func(c *Config) { c.ReceivingSlots = 100 })
		first := h.enter(1, 60*mib)
		first.learn(mib, 40)
		second := h.enter(2, 25*mib) // 45 MiB to do
		third := h.try(t.Context(), tenantOf(2, 1), 10*mib)
		for range 5 {
			h.pending(third)
			first.work(mib, 1)
		}
		first.Done(mib)
		r := <-third
		if r.err != nil || r.at > 5*time.Second+tick {
			t.Fatalf("%v after %v", r.err, r.at)
		}
		st := h.gate.Stats()
		if st.Unfinished != 49*mib || st.Rate < 0.99*mib || st.Rate > 1.05*mib || st.Ratio < 0.93 || st.Drain < 46*time.Second {
			t.Errorf("%+v", st)
		}
		fourth := h.try(t.Context(), tenantOf(4, 1), 30*mib)
		first.work(mib, 10)
		if busy := h.refused((<-fourth).err); busy.Lack != upload.LackTime {
			t.Error(busy)
		}
		for _, a := range []*admitted{first, second, r.admitted} {
			a.end()
		}
		// With nothing admitted there is time, at any rate.
		h.enter(1, 100*mib).end()
	})
}

// What others have, and send slowly or never, is no reason to refuse an upload of a tenant below its share of the rate.
func TestWorkOfOthersTakesNoTenantsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, func(c *Config) { c.ReceivingSlots = 100 })
		first := h.enter(1, 60*mib)
		first.learn(mib, 40)
		slow := h.enter(1, 20*mib)
		h.refused((<-h.try(t.Context(), tenantOf(1, 1), 50*mib)).err)
		h.enter(2, 8*mib).end() // of the capacity in time, a third is its own
		h.refused((<-h.try(t.Context(), tenantOf(2, 1), 30*mib)).err)
		slow.end()
		first.end()
	})
}

// A flood of tiny files makes work a matter of calls, not of bytes. It keeps out no other tenant.
func TestAFloodOfTinyFilesKeepsNoneOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, func(c *Config) { c.ReceivingSlots = 100 })
		var flood []*admitted
		for range 8 {
			flood = append(flood, h.enter(1, mib))
		}
		flood[0].busy.Store(true)
		h.gate.Stats() // observes it
		for range 60 * 200 {
			<-time.After(time.Second / 200)
			flood[0].Done(25)
		}
		h.enter(2, 290*mib).end() // in 50 s, 200 pieces of 32 KiB a second
		h.refused((<-h.try(t.Context(), tenantOf(2, 1), 400*mib)).err)
		for _, a := range flood {
			a.end()
		}
	})
}

func TestAnInstanceThatIsNotSaturatedTeachesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		first := h.enter(1, mib)
		first.work(100, 600)
		if st := h.gate.Stats(); st.Rate != 0 || st.Ratio != 0.25 {
			t.Errorf("%+v", st)
		}
		h.enter(2, 100*mib).end()
		first.end()
	})
}

func TestAFewSmallFilesTeachNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		first := h.enter(1, mib)
		first.learn(1000, 29)
		if st := h.gate.Stats(); st.Rate != 0 {
			t.Errorf("%+v", st)
		}
		first.end()
	})
}

func TestStorageThatHangsLowersTheRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		first := h.enter(1, 1000*mib)
		first.learn(10*mib, 60)
		before := h.gate.Stats().Rate
		<-time.After(5 * time.Minute)
		st := h.gate.Stats()
		if before < 9*mib || st.Rate <= 0 || st.Rate > mib {
			t.Errorf("from %v to %v bytes/s", before, st.Rate)
		}
		h.refused((<-h.try(t.Context(), tenantOf(1, 1), 1)).err)
		first.end()
	})
}

func TestTheRateRecovers(t *testing.T) {
	slow := func(t *testing.T) (*house, *admitted) {
		h := newHouse(t)
		first := h.enter(1, 500*mib)
		first.learn(10_000, 300)
		h.refused((<-h.try(t.Context(), tenantOf(2, 1), mib)).err)
		return h, first
	}
	t.Run("by work", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			h, first := slow(t)
			first.work(20*mib, 30)
			if st := h.gate.Stats(); st.Rate < 5*mib {
				t.Errorf("%+v", st)
			}
			h.enter(2, mib).end()
			first.end()
		})
	})
	t.Run("by slack", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			h, first := slow(t)
			h.busy.Store(false)
			<-time.After(30 * time.Second)
			h.enter(2, mib).end()
			first.end()
		})
	})
	t.Run("by the end of what was there", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			h, first := slow(t)
			waiter := h.try(t.Context(), tenantOf(2, 1), 100*mib)
			synctest.Wait()
			first.end()
			r := <-waiter
			if r.err != nil || r.at != 0 {
				t.Fatalf("%v after %v", r.err, r.at)
			}
			r.end()
		})
	})
}

// Work reported for an upload that has left (by a late task) does not count against others.
func TestLateWork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		first, second := h.enter(1, 100), h.enter(1, 100)
		first.end()
		first.Done(50)
		first.Received(70)
		second.Done(1000) // more than there is
		if st := h.gate.Stats(); st.Unfinished != 0 || st.Receiving != 1 {
			t.Errorf("%+v", st)
		}
		second.end()
	})
}
