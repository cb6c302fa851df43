package gate

import (
	"context"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"tecken-upload/internal/upload"
)

// An upload that only has to let another go first is admitted once that one is refused, or is told what that one lacks.
func TestAnUploadThatIsHeldUp(t *testing.T) {
	onSmallDisk(t, func(h *house) {
		first := h.enter(1, 40*mib)
		large := h.try(h.Context(), tenantOf(2, 1), 30*mib)
		synctest.Wait()
		small := h.try(h.Context(), tenantOf(3, 1), mib)
		if r := <-large; !strings.Contains(h.refused(r.err).Reason, "disk") || r.at != 10*time.Second {
			h.Errorf("%v after %v", r.err, r.at)
		}
		(<-small).end()
		// Of a tenant that has its share, none passes the first.
		other := h.enter(2, mib)
		large = h.try(h.Context(), tenantOf(1, 1), 10*mib)
		<-time.After(time.Second)
		small = h.try(h.Context(), tenantOf(1, 1), mib)
		if r := <-large; !strings.Contains(h.refused(r.err).Reason, "disk") {
			h.Error(r.err)
		}
		(<-small).end()
		other.end()
		first.end()
	})
	onSmallDisk(t, func(h *house) {
		first, second := h.enter(1, 30*mib), h.enter(3, mib) // all slots
		small := h.try(h.Context(), tenantOf(3, 1), mib)
		<-time.After(5 * time.Second)
		large := h.try(h.Context(), tenantOf(2, 1), 40*mib) // has less, and so comes first
		synctest.Wait()
		second.Received(mib)
		if r := <-small; !strings.Contains(h.refused(r.err).Reason, "disk") || r.at != 10*time.Second {
			h.Errorf("%v after %v", r.err, r.at)
		}
		first.end()
		(<-large).end()
		second.end()
	}, func(c *Config) { c.ReceivingSlots = 2 })
}

// A large upload at the head gets what comes free; small ones do not take it away.
func TestALargeUploadIsNotStarvedBySmallOnes(t *testing.T) {
	onSmallDisk(t, func(h *house) {
		var small []*admitted
		for i := range int64(6) {
			small = append(small, h.enter(10+i, 10*mib))
		}
		large := h.try(h.Context(), tenantOf(2, 1), 30*mib)
		synctest.Wait()
		more := h.try(h.Context(), tenantOf(3, 1), mib) // there is room for it
		for _, a := range small[:3] {
			<-time.After(time.Second)
			h.pending(large, more)
			a.end()
		}
		r := <-large
		if r.err != nil || r.at != 3*time.Second {
			h.Fatalf("%v after %v", r.err, r.at)
		}
		for _, a := range small[3:] {
			a.end()
		}
		r.end()
		(<-more).end()
	}, func(c *Config) { c.ReceivingSlots = 100 })
}

// A large one that is known not to get its room in time holds up none.
func TestAHopelessUploadIsPassed(t *testing.T) {
	onSmallDisk(t, func(h *house) {
		slow := h.enter(1, 60*mib)
		<-time.After(time.Minute)
		for range 10 { // a mebibyte leaves every ten seconds
			a := h.enter(4, mib)
			<-time.After(10 * time.Second)
			a.end()
		}
		large := h.try(h.Context(), tenantOf(2, 1), 40*mib)
		synctest.Wait()
		small := <-h.try(h.Context(), tenantOf(3, 1), mib)
		if small.err != nil || small.at != 0 {
			h.Fatalf("%v after %v", small.err, small.at)
		}
		small.end()
		h.refused((<-large).err)
		slow.end()
	}, func(c *Config) { c.ReceivingSlots = 100 })
}

func TestTheNextIsOfTheTenantWithTheLeast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, func(c *Config) { c.ReceivingSlots = 2 })
		// Tenant 1 has 30 bytes, tenant 2, of weight 4, has 60: less for its weight.
		one := h.enter(1, 30)
		pass, err := h.gate.Enter(t.Context(), tenantOf(2, 4), 60)
		if err != nil {
			t.Fatal(err)
		}
		two := &admitted{h, pass}
		type waiter struct {
			token upload.Token
			want  int
		}
		var waiting []<-chan result
		for _, w := range []waiter{{tenantOf(1, 1), 4}, {tenantOf(1, 1), 5}, {tenantOf(2, 4), 3}, {tenantOf(3, 1), 1}, {tenantOf(4, 1), 2}} {
			waiting = append(waiting, h.try(t.Context(), w.token, 50))
			synctest.Wait()
		}
		one.Received(30)
		two.Received(60)
		var inside []*admitted
		var order []int
		for len(order) < len(waiting) {
			synctest.Wait()
			for i, out := range waiting {
				select {
				case r := <-out:
					if r.err != nil {
						t.Fatal(r.err)
					}
					order = append(order, i)
					inside = append(inside, r.admitted)
				default:
				}
			}
			for _, a := range inside {
				a.Received(50)
			}
		}
		// The last slot of two is open to those below their share: all of them are.
		if want := []int{3, 4, 0, 2, 1}; !equalSets(order, want) {
			t.Errorf("let in: %v, want %v", order, want)
		}
		for _, a := range append(inside, one, two) {
			a.end()
		}
	})
}

// equalSets reports whether a is b, except for the order of two that come at once.
func equalSets(a, b []int) bool {
	for i := 0; i < len(a); i += 2 {
		one, two := a[i:min(i+2, len(a))], b[i:min(i+2, len(b))]
		if slices.Sort(one); !slices.Equal(one, two) {
			return false
		}
	}
	return len(a) == len(b)
}

// A crowd is refused at once, and leaves room for uploads that come after it.
func TestTheLineIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, func(c *Config) { c.ReceivingSlots, c.TenantUploads = 1, 1000 })
		first := h.enter(1, 1)
		var crowd []<-chan result
		for range 600 {
			crowd = append(crowd, h.try(t.Context(), tenantOf(1, 1), 1))
		}
		synctest.Wait()
		late := h.try(t.Context(), tenantOf(2, 1), 1)
		synctest.Wait()
		if st := h.gate.Stats(); st.Waiting != 513 || st.Tenants != 2 || st.TurnedAway.IsZero() {
			t.Errorf("%+v", st)
		}
		ended := make(chan result)
		for _, out := range append(crowd, late) {
			go func() {
				r := <-out
				if r.err == nil {
					r.end()
					r.at = -1
				}
				ended <- r
			}()
		}
		first.end()
		at := map[time.Duration]int{}
		for range 601 {
			r := <-ended
			if r.err != nil && h.refused(r.err).Lack != upload.LackQueue {
				t.Error(r.err)
			}
			at[r.at]++
		}
		if at[0] != 88 || at[-1] != 513 {
			t.Errorf("let in (-1ns), or refused after: %v", at)
		}
	})
}

func TestACrowdOverItsLimitIsToldSo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, func(c *Config) { c.TenantUploads = 1 })
		first := h.enter(1, 1)
		var crowd []<-chan result
		for range 513 {
			crowd = append(crowd, h.try(t.Context(), tenantOf(1, 1), 1))
		}
		for _, out := range crowd {
			if r := <-out; !h.refused(r.err).OverLimit {
				t.Error(r.err)
			}
		}
		first.end()
	})
}

// slowLeases are across a network.
type slowLeases struct{ *leases }

func (l slowLeases) Take(ctx context.Context, tenant int64, limit int) (func(), error) {
	<-time.After(100 * time.Millisecond)
	return l.leases.Take(ctx, tenant, limit)
}

func TestACrowdWithinItsLimitIsNotToldOfIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, func(c *Config) { c.TenantUploads, c.ReceivingSlots = 1000, 1000 })
		h.gate.config.Leases = slowLeases{h.leases}
		var crowd []<-chan result
		for range 513 {
			crowd = append(crowd, h.try(t.Context(), tenantOf(1, 1), 1))
		}
		refused := 0
		for _, out := range crowd {
			r := <-out
			if r.err == nil {
				r.end()
				continue
			}
			if busy := h.refused(r.err); busy.Lack != upload.LackQueue || busy.OverLimit {
				t.Error(r.err)
			}
			refused++
		}
		if refused != 1 {
			t.Errorf("%d were refused", refused)
		}
	})
}

// Refused uploads leave one by one. One that comes in between is not forgotten with the last of them.
func TestATenantIsNotForgottenWithItsRefusedUploads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, func(c *Config) { c.ReceivingSlots = 1 })
		first := h.enter(1, mib)
		token := tenantOf(2, 1)
		arrive := func() *Pass {
			p, err := h.gate.arrive(&token, mib)
			if err != nil {
				t.Fatal(err)
			}
			return p
		}
		a, b := arrive(), arrive()
		end := func(p *Pass) {
			if err := p.Close(); err != nil {
				t.Error(err)
			}
		}
		end(a)
		late := h.try(t.Context(), token, mib)
		synctest.Wait()
		end(b)
		first.end()
		r := <-late
		if r.err != nil || r.at != 0 {
			t.Fatalf("after %v: %v", r.at, r.err)
		}
		r.end()
	})
}
