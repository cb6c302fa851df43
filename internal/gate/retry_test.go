package gate

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"tecken-upload/internal/spool"
)

func TestRetryAfterWhereNothingWasMeasured(t *testing.T) {
	for jitter, want := range map[float64]time.Duration{0: 11250 * time.Millisecond, 0.5: 15 * time.Second, 1: 18750 * time.Millisecond} {
		synctest.Test(t, func(t *testing.T) {
			h := newHouse(t, func(c *Config) {
				c.Places = 1
				c.Jitter = func() float64 { return jitter }
			})
			first := h.enter(1, 1)
			if busy := h.refused((<-h.try(t.Context(), tenantOf(2, 1), 1)).err); busy.RetryAfter != want {
				t.Errorf("told to wait %v, want %v", busy.RetryAfter, want)
			}
			first.end()
		})
	}
}

func TestRetryAfterIsBounded(t *testing.T) {
	g := NewGate(Config{})
	for range 1000 {
		for wait, want := range map[time.Duration][2]time.Duration{
			1: {time.Second, time.Second}, 1 << 62: {2 * time.Minute, 2 * time.Minute}, 100 * time.Second: {75 * time.Second, 2 * time.Minute},
			0: {11 * time.Second, 19 * time.Second},
		} {
			if got := g.retryAfter(wait); got < want[0] || got > want[1] {
				t.Fatalf("%v became %v, want %v", wait, got, want)
			}
		}
	}
}

// Each upload has its place, its bytes and its lease for 20 s.
func TestRetryAfterIsWhatWasMeasured(t *testing.T) {
	turns := func(h *house, size int64) *admitted {
		for range 10 {
			a := h.enter(1, size)
			<-time.After(20 * time.Second)
			a.end()
		}
		return h.enter(1, size)
	}
	t.Run("places", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			h := newHouse(t, func(c *Config) { c.Places = 1 })
			last := turns(h, 1)
			alone := h.refused((<-h.try(t.Context(), tenantOf(2, 1), 1)).err)
			h.near(alone.RetryAfter, 21*time.Second) // for ten more seconds none came back
			first := h.try(t.Context(), tenantOf(2, 1), 1)
			<-time.After(time.Second)
			others := []<-chan result{h.try(t.Context(), tenantOf(2, 1), 1), h.try(t.Context(), tenantOf(3, 1), 1)}
			h.near(h.refused((<-first).err).RetryAfter, 66*time.Second) // two have a place before it
			for _, out := range others {
				<-out
			}
			last.end()
		})
	})
	t.Run("the spool", func(t *testing.T) {
		onSmallDisk(t, func(h *house) {
			last := turns(h, 40*mib)
			busy := h.refused((<-h.try(h.Context(), tenantOf(1, 1), 34*mib)).err)
			h.near(busy.RetryAfter, 6*time.Second) // 10 MiB at 40 MiB in 21 s
			last.end()
		})
	})
	t.Run("a spool whose workspaces grow", func(t *testing.T) {
		onSmallDisk(t, func(h *house) {
			last := turns(h, 20*mib)
			h.gate.config.Spool = &brokenSpool{Spool: h.spool, usage: func(ctx context.Context) (spool.Usage, error) {
				usage, err := h.spool.Usage(ctx)
				usage.Waiting++
				return usage, err
			}}
			busy := h.refused((<-h.try(h.Context(), tenantOf(1, 1), 10*mib)).err)
			h.near(busy.RetryAfter, 11*time.Second) // 10 MiB at 20 MiB in 21 s
			last.end()
		})
	})
	t.Run("the tenant", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			h := newHouse(t, func(c *Config) { c.TenantUploads = 2 })
			other := h.enter(1, 1) // so that the tenant stays known
			last := turns(h, 1)
			busy := h.refused((<-h.try(t.Context(), tenantOf(1, 1), 1)).err)
			h.near(busy.RetryAfter, 21*time.Second) // of two uploads one ends in 20 s
			last.end()
			other.end()
		})
	})
	t.Run("the tenant's work", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			h := newHouse(t, func(c *Config) { c.TenantUploads = 1 })
			last := h.enter(1, 100*mib)
			last.learn(mib, 60)
			waiter := h.try(t.Context(), tenantOf(1, 1), 1)
			last.work(mib, 10)
			h.near(h.refused((<-waiter).err).RetryAfter, 30*time.Second)
			last.end()
		})
	})
}

// A tenant whose uploads have its leases, and wait with them, has nothing too much: it is the instance that has no room.
func TestALimitReachedByThoseWhoWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, func(c *Config) { c.Places, c.TenantUploads = 1, 2 })
		first := h.enter(1, 1)
		var burst []<-chan result
		for range 520 { // of which 8 find no place in line
			burst = append(burst, h.try(t.Context(), tenantOf(2, 1), 1))
			synctest.Wait()
		}
		queue := 0
		for _, out := range burst {
			r := <-out
			if busy := h.refused(r.err); busy.OverLimit || r.at != 0 && !strings.Contains(busy.Reason, "receiving") {
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
