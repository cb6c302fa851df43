package sched

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// A crowd takes slots for tenants, and does not wait for them.
type crowd struct {
	*testing.T
	*Scheduler
}

// want asks for n slots for a tenant. What it gets is in the channel; the rest waits until the end of the test.
func (c *crowd) want(tenant int64, n int) chan *Slot {
	c.Helper()
	got := make(chan *Slot, n)
	for range n {
		go func() {
			slot, err := c.Acquire(c.Context(), Task{Tenant: tenant, Upload: tenant})
			if err != nil {
				if !errors.Is(err, context.Canceled) {
					c.Error(err)
				}
				return
			}
			got <- slot
		}()
	}
	synctest.Wait()
	return got
}

// expect says how many slots a tenant should have got.
func (c *crowd) expect(name string, got chan *Slot, want int) {
	c.Helper()
	synctest.Wait()
	if len(got) != want {
		c.Errorf("%s has %d slots, want %d: %+v", name, len(got), want, c.Stats())
	}
}

// end ends all that a tenant has got by now. Others may be begun then.
func (c *crowd) end(got chan *Slot) {
	for n := len(got); n > 0; n-- {
		(<-got).Release()
	}
	synctest.Wait()
}

// inACrowd plays a story with 8 slots that are stuck after 5 s, and ends it.
func inACrowd(t *testing.T, story func(c *crowd)) {
	synctest.Test(t, func(t *testing.T) {
		c := &crowd{t, New(Options{Slots: 8, Stuck: 5 * time.Second})}
		story(c)
	})
}

const short, long = 4 * time.Second, 6 * time.Second // less than it takes to be stuck, and more

func TestOthersWorkBesideWhatIsStuck(t *testing.T) {
	inACrowd(t, func(c *crowd) {
		bad := c.want(1, 20)
		c.expect("a tenant that is alone", bad, 8)
		<-time.After(short)
		good := c.want(2, 20)
		c.expect("another, for a moment", good, 0)
		<-time.After(long - short)
		c.expect("the other then", good, 8)
		if st := c.Stats(); st.Busy != 16 || st.Stuck != 8 || !c.Backlogged() {
			t.Errorf("%+v", st)
		}
		for range 3 {
			c.end(good)
		}
		if c.Backlogged() {
			t.Error("backlogged with nothing but what hangs")
		}
		c.expect("the tenant that hangs, beside its own", bad, 8)
	})
}

func TestASlotThatMovesIsNotStuck(t *testing.T) {
	inACrowd(t, func(c *crowd) {
		slow := c.want(1, 8)
		for range 10 {
			<-time.After(short)
			for range 8 {
				slot := <-slow
				slot.Moved()
				slow <- slot
			}
		}
		if st := c.Stats(); st.Stuck != 0 || st.Hanging != nil {
			t.Errorf("%+v", st)
		}
		<-time.After(long)
		slot := <-slow
		if st := c.Stats(); st.Stuck != 8 || len(st.Hanging) != 1 || st.Hanging[0].Lasts != long || st.Hanging[0].Task.Upload != 1 {
			t.Errorf("%+v", st)
		}
		slot.Moved()
		if st := c.Stats(); st.Stuck != 7 {
			t.Errorf("%+v", st)
		}
		<-time.After(long)
		if st := c.Stats(); st.Stuck != 8 {
			t.Errorf("%+v", st)
		}
		slow <- slot
		c.end(slow)
		expectIdle(t, c.Scheduler)
	})
}

// There is a bound to what may be in use beside what is stuck, and one more for tenants that have nothing.
func TestWhatMayBeInUseBesideWhatIsStuck(t *testing.T) {
	inACrowd(t, func(c *crowd) {
		c.expect("the first that hangs", c.want(1, 20), 8)
		<-time.After(long)
		c.expect("the second", c.want(2, 20), 8)
		<-time.After(long)
		for i := range int64(8) {
			c.expect("one of eight more", c.want(10+i, 20), 1)
			<-time.After(long)
		}
		c.expect("one too many", c.want(20, 1), 0)
		if st := c.Stats(); st.Busy != MostInUse*8 || len(st.Hanging) != 10 {
			t.Errorf("%+v", st)
		}
	})
}

// A tenant that hangs is held to a quarter of the slots beside others, and has all when it is alone.
func TestATenantThatHangs(t *testing.T) {
	inACrowd(t, func(c *crowd) {
		well := c.want(2, 1)
		later := func(d time.Duration) { // one task of the tenant that is well ends, but not before the next has begun
			<-time.After(d)
			next := c.want(2, 1)
			<-time.After(time.Millisecond)
			c.end(well)
			well = next
		}
		bad := c.want(1, 30)
		c.expect("before it hangs", bad, 7)
		later(short)
		later(short)
		for left := 6; left >= 0; left-- {
			slot := <-bad
			slot.cancel(context.Canceled) // is given up, which is no good end
			slot.Release()
			c.expect("while it hangs", bad, max(2, left))
		}
		later(short)
		later(short)
		(<-bad).Release()
		c.expect("while one is still stuck", bad, 2)
		(<-bad).Release()
		c.expect("well again", bad, 7)
		c.end(well)
		c.expect("alone", bad, 8)
		<-time.After(long)
		c.end(c.want(2, 1))
		(<-bad).cancel(context.Canceled)
		c.end(bad)
	})
}

// A tenant hangs until one of its tasks ends well, or it has none; that they lose their slots is not well.
func TestALeaseThatEndsIsNotWell(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(Options{Slots: 8, Stuck: 5 * time.Second})
		for range 16 {
			go func() {
				slot, err := s.Acquire(t.Context(), Task{Tenant: 1, Lease: short})
				if err != nil {
					t.Error(err)
					return
				}
				<-slot.Context().Done()
				slot.Release()
			}()
		}
		<-time.After(long)
		if st := s.Stats(); len(st.Hanging) != 1 || st.Hanging[0].Lasts != long || st.Hanging[0].Stuck != 0 || st.Busy != 8 {
			t.Errorf("%+v", st)
		}
		<-time.After(time.Minute)
		expectIdle(t, s)
	})
}

func TestAFreedSlotGoesToTheTenantThatHoldsTheLeast(t *testing.T) {
	inACrowd(t, func(c *crowd) {
		first := c.want(1, 40)
		<-time.After(time.Second)
		second := c.want(2, 40)
		for n := 1; n <= 4; n++ {
			<-time.After(100 * time.Millisecond)
			(<-first).Release()
			c.expect("the first", first, 8-n)
			c.expect("the second", second, n)
		}
	})
}
