package gate

import (
	"testing"
	"testing/synctest"
	"time"

	"tecken-upload/internal/upload"
)

// told fails the test unless a refusal has that reason and that Retry-After.
func (r result) told(what upload.Lack, after time.Duration) {
	r.Helper()
	if busy := r.refused(r.err); busy.Lack != what || busy.RetryAfter != after {
		r.Errorf("refused for want of %s, to come again after %v; want %s, %v", busy.Lack, busy.RetryAfter, what, after)
	}
}

func TestRetryAfterWhereNothingWasGivenBackYet(t *testing.T) {
	for jitter, want := range map[float64]time.Duration{0: 15 * time.Second, 0.75: 18750 * time.Millisecond, 1: 20 * time.Second} {
		synctest.Test(t, func(t *testing.T) {
			h := newHouse(t, func(c *Config) {
				c.ReceivingSlots, c.Wait = 1, 0
				c.Jitter = func() float64 { return jitter }
			})
			first := h.enter(1, 1)
			(<-h.try(t.Context(), tenantOf(2, 1), 1)).told(upload.LackReceiving, want)
			first.end()
		})
	}
}

// Retry-After is how long the last holders kept what is lacking: each upload has its slot, its bytes and its lease for 20 s.
func TestRetryAfterIsHowLongOthersKeptIt(t *testing.T) {
	fill := func(h *house, size int64) *admitted {
		for range recentHolds {
			a := h.enter(1, size)
			<-time.After(20 * time.Second)
			a.end()
		}
		return h.enter(1, size)
	}
	t.Run("a receiving slot", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			h := newHouse(t, func(c *Config) { c.ReceivingSlots, c.Wait = 1, 0 })
			last := fill(h, 1)
			(<-h.try(t.Context(), tenantOf(2, 1), 1)).told(upload.LackReceiving, 20*time.Second)
			<-time.After(25 * time.Second) // the last has kept it for longer than the others, and is half way at best
			(<-h.try(t.Context(), tenantOf(3, 1), 1)).told(upload.LackReceiving, 50*time.Second)
			last.end()
		})
	})
	t.Run("the spool", func(t *testing.T) {
		onSmallDisk(t, func(h *house) {
			last := fill(h, 40*mib)
			(<-h.try(h.Context(), tenantOf(1, 1), 34*mib)).told(upload.LackSpool, 20*time.Second)
			last.end()
		}, func(c *Config) { c.Wait = 0 })
	})
	t.Run("the tenant", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			h := newHouse(t, func(c *Config) { c.TenantUploads, c.Wait = 2, 0 })
			for range recentHolds { // of others
				h.enter(2, 1).end()
			}
			other := h.enter(1, 1) // so that the tenant stays known
			last := fill(h, 1)
			<-time.After(time.Second)
			other.end()
			other = h.enter(1, 1)
			(<-h.try(t.Context(), tenantOf(1, 1), 1)).told(upload.LackLimit, 20*time.Second)
			last.end()
			other.end()
		})
	})
}

func TestRetryAfterIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, func(c *Config) {
			c.ReceivingSlots, c.Wait = 1, 0
			c.Jitter = nil
		})
		h.enter(1, 1).end()
		first := h.enter(1, 1)
		for range 100 {
			for range 10 {
				r := <-h.try(t.Context(), tenantOf(2, 1), 1)
				if after := h.refused(r.err).RetryAfter; after < leastRetry || after > mostRetry {
					t.Fatalf("told to wait %v", after)
				}
			}
			<-time.After(mostRetry)
		}
		first.end()
	})
}

// Simultaneous refusals of a tenant count as one, and an admission ends the row.
func TestRetryAfterDoubles(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, func(c *Config) { c.ReceivingSlots, c.Wait = 1, 0 })
		var first *admitted
		hold := func() {
			for range recentHolds {
				a := h.enter(1, 1)
				<-time.After(8 * time.Second)
				a.end()
			}
			first = h.enter(1, 1)
		}
		hold()
		refused := func(want time.Duration) {
			t.Helper()
			for range 3 {
				(<-h.try(t.Context(), tenantOf(2, 1), 1)).told(upload.LackReceiving, want)
			}
			<-time.After(want)
		}
		refused(8 * time.Second)
		first.end()
		first = h.enter(1, 1)
		refused(16 * time.Second)
		(<-h.try(t.Context(), tenantOf(3, 1), 1)).told(upload.LackReceiving, 32*time.Second) // another tenant's first: twice 16 s
		first.end()
		first = h.enter(1, 1)
		refused(32 * time.Second)
		first.end()
		h.enter(2, 1).end()
		hold()
		refused(8 * time.Second)
		<-time.After(2 * mostRetry) // a row is forgotten after a while
		first.end()
		hold()
		refused(8 * time.Second)
		first.end()
	})
}

// A client that obeys Retry-After, while all slots are kept for 98 s, is refused at most three times, whatever went before.
func TestAClientThatHeedsRetryAfterIsRefusedThreeTimesAtMost(t *testing.T) {
	for name, before := range map[string]time.Duration{"after nothing": -1, "after quick uploads": 0, "after slow ones": 98 * time.Second} {
		for _, wait := range []time.Duration{0, 10 * time.Second} {
			for _, jitter := range []float64{0, 0.5, 1} {
				synctest.Test(t, func(t *testing.T) {
					h := newHouse(t, func(c *Config) {
						c.Wait = wait
						c.Jitter = func() float64 { return jitter }
					})
					if before >= 0 {
						for range recentHolds {
							a := h.enter(1, 1)
							<-time.After(before)
							a.end()
						}
					}
					for tenant := range int64(4) {
						a := h.enter(1+tenant, 1)
						time.AfterFunc(98*time.Second, a.end)
					}
					start, refusals := time.Now(), 0
					for r := range h.attempts(tenantOf(9, 1)) {
						if r.err == nil {
							r.end()
							break
						}
						refusals++
						<-time.After(h.refused(r.err).RetryAfter)
					}
					if took := time.Since(start); refusals > 3 || took > 98*time.Second+mostRetry {
						t.Errorf("%s, with %v of waiting and jitter %v: refused %d times, admitted after %v", name, wait, jitter, refusals, took)
					}
				})
			}
		}
	}
}

// attempts yields the result of one attempt after the other.
func (h *house) attempts(token upload.Token) func(yield func(result) bool) {
	return func(yield func(result) bool) {
		for yield(<-h.try(h.Context(), token, 1)) {
			continue
		}
	}
}

// A tenant with its leases in uploads that wait is not at its limit: the instance has no room.
func TestALimitReachedByThoseThatWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, func(c *Config) { c.ReceivingSlots, c.TenantUploads = 1, 2 })
		first := h.enter(1, 1)
		var burst []<-chan result
		for range 520 { // 8 of them find no slot in line
			burst = append(burst, h.try(t.Context(), tenantOf(2, 1), 1))
			synctest.Wait()
		}
		queue := 0
		for _, out := range burst {
			r := <-out
			if h.refused(r.err).OverLimit {
				t.Fatalf("after %v: %v", r.at, r.err)
			}
			if r.at == 0 {
				queue++
			}
		}
		if queue != 8 {
			t.Errorf("%d were refused at once", queue)
		}
		first.end()
	})
}
