package gate

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"tecken-upload/internal/spool"
	"tecken-upload/internal/upload"
)

func TestASlotIsWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, func(c *Config) { c.ReceivingSlots = 1 })
		first := h.enter(1, 1)
		second := h.try(t.Context(), tenantOf(1, 1), 1)
		<-time.After(9 * time.Second)
		h.pending(second)
		first.end()
		r := <-second
		if r.err != nil || r.at != 9*time.Second {
			t.Fatalf("a slot came free after 9 s: %v after %v", r.err, r.at)
		}
		r.end()
	})
}

func TestASlotIsFreeOnceTheBodyIsThere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, func(c *Config) { c.ReceivingSlots = 1 })
		first := h.enter(1, 100)
		first.Received(90)
		if st := h.gate.Stats(); st.Receiving != 0 || st.Admitted != 1 || st.Unfinished != 90 {
			t.Errorf("%+v", st)
		}
		h.enter(1, 1).end()
		first.end()
		if err := first.Close(); err != nil { // without effect
			t.Error(err)
		}
	})
}

func TestNoSlotInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, func(c *Config) { c.ReceivingSlots = 1 })
		first := h.enter(1, 1)
		r := <-h.try(t.Context(), tenantOf(2, 1), 1)
		busy := h.refused(r.err)
		if busy.OverLimit || r.at != 10*time.Second || busy.Lack != upload.LackReceiving || !strings.Contains(busy.Reason, "receiving") {
			t.Errorf("after %v: %v", r.at, r.err)
		}
		if !first.Contended() {
			t.Error("one was refused for a slot, and the first is not in the way")
		}
		first.end()
		last := h.enter(1, 1) // earlier refusals have no effect
		<-time.After(refusalMemory)
		if last.Contended() {
			t.Error("contended for ever")
		}
		last.end()
	})
}

func TestWithoutWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, func(c *Config) { c.ReceivingSlots, c.TenantUploads, c.Wait = 1, 1, 0 })
		first := h.enter(1, 1)
		if r := <-h.try(t.Context(), tenantOf(1, 1), 1); !h.refused(r.err).OverLimit || r.at != 0 {
			t.Errorf("refused after %v: %v", r.at, r.err)
		}
		if r := <-h.try(t.Context(), tenantOf(2, 1), 1); h.refused(r.err).OverLimit || r.at != 0 {
			t.Errorf("refused after %v", r.at)
		}
		first.end()
		h.enter(2, 1).end()
	})
}

// For an autoscaler: uploads are kept out by what the instance lacks, and not by a tenant's own limit.
func TestUploadsThatAreKeptOutShow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, func(c *Config) { c.TenantUploads = 4 })
		want := func(short bool, turnedAway time.Time, when string) {
			t.Helper()
			if st := h.gate.Stats(); st.Short != short || !st.TurnedAway.Equal(turnedAway) {
				t.Errorf("%s: short is %v, and one was turned away at %v", when, st.Short, st.TurnedAway)
			}
		}
		inside := []*admitted{h.enter(1, 1), h.enter(1, 1), h.enter(1, 1)}
		want(false, time.Time{}, "three of four slots are taken")
		waiter := h.try(t.Context(), tenantOf(1, 1), 1)
		synctest.Wait()
		want(true, time.Time{}, "one waits: its tenant has its share")
		h.refused((<-waiter).err)
		at := time.Now()
		want(false, at, "it was refused")
		<-time.After(time.Minute)
		inside[0].Received(1)
		inside = append(inside, h.enter(1, 1))
		limited := h.try(t.Context(), tenantOf(1, 1), 1)
		synctest.Wait()
		want(false, at, "one waits for its tenant's limit")
		h.refused((<-limited).err)
		want(false, at, "it was refused")
		for _, a := range inside {
			a.end()
		}
	})
}

func TestATenantsLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, func(c *Config) { c.TenantUploads, c.ReceivingSlots = 2, 100 })
		first, second := h.enter(1, 1), h.enter(1, 1)
		r := <-h.try(t.Context(), tenantOf(1, 1), 1)
		busy := h.refused(r.err)
		if !busy.OverLimit || !errors.Is(r.err, upload.ErrOverLimit) || r.at != 10*time.Second || !strings.HasPrefix(busy.Reason, "You have 2 uploads in progress, ") {
			t.Errorf("after %v: %v", r.at, r.err)
		}
		if first.Contended() {
			t.Error("a tenant's own limit makes others be in its way")
		}
		h.enter(2, 1).end() // others are welcome
		waiter := h.try(t.Context(), tenantOf(1, 1), 1)
		<-time.After(time.Second)
		if st := h.gate.Stats(); st.Limited != 1 || st.Leases != 2 {
			t.Errorf("%+v", st)
		}
		first.end()
		r = <-waiter
		if r.err != nil || r.at != time.Second {
			t.Fatalf("%v after %v", r.err, r.at)
		}
		// Weight widens the limit, and is read each time.
		heavy, err := h.gate.Enter(t.Context(), tenantOf(1, 2), 1)
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range []*admitted{second, r.admitted, {h, heavy}} {
			a.end()
		}
	})
}

// The waits for lease and room share one budget.
func TestOneBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, func(c *Config) { c.TenantUploads, c.ReceivingSlots = 1, 1 })
		first := h.enter(1, 1)
		waiter := h.try(t.Context(), tenantOf(1, 1), 1)
		<-time.After(6 * time.Second)
		first.Received(1)
		other := h.enter(2, 1) // has the slot
		first.end()            // gives the lease
		r := <-waiter
		if busy := h.refused(r.err); busy.OverLimit || r.at != 10*time.Second {
			t.Errorf("after %v: %v", r.at, r.err)
		}
		other.end()
	})
}

func TestAnUploadThatGoesWhileItWaitsLeavesNothing(t *testing.T) {
	errGone := errors.New("gone")
	for name, slots := range map[string]int{"for a lease": 2, "for room": 1} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHouse(t, func(c *Config) { c.TenantUploads, c.ReceivingSlots = slots%2+1, slots })
				first := h.enter(1, 1)
				ctx, cancel := context.WithTimeoutCause(t.Context(), time.Second, errGone)
				defer cancel()
				if r := <-h.try(ctx, tenantOf(1, 1), 1); !errors.Is(r.err, errGone) || r.at != time.Second {
					t.Errorf("after %v: %v", r.at, r.err)
				}
				if st := h.gate.Stats(); st.Leases != 1 || st.Waiting+st.Limited != 0 {
					t.Errorf("left behind: %+v", st)
				}
				if _, err := h.gate.Enter(ctx, tenantOf(2, 1), 1); !errors.Is(err, errGone) {
					t.Errorf("one that was gone before: %v", err)
				}
				first.end()
			})
		})
	}
}

// lateLeases give a lease to an upload that has gone.
type lateLeases struct {
	*leases
	cancel context.CancelFunc
}

func (l *lateLeases) Take(ctx context.Context, tenant int64, limit int) (func(), error) {
	l.cancel()
	return l.leases.Take(ctx, tenant, limit)
}

func TestALeaseThatComesTooLateIsGivenBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		ctx, cancel := context.WithCancel(t.Context())
		h.gate.config.Leases = &lateLeases{h.leases, cancel}
		if _, err := h.gate.Enter(ctx, tenantOf(1, 1), 1); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
}

// noLeases can't be counted.
type noLeases struct{}

func (noLeases) Take(context.Context, int64, int) (func(), error) {
	return nil, errors.New("no answer")
}

func TestLeasesThatFail(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, func(c *Config) { c.Leases = noLeases{} })
		if _, err := h.gate.Enter(t.Context(), tenantOf(1, 1), 1); !errors.Is(err, upload.ErrUnavailable) {
			t.Error(err)
		}
	})
}

// brokenSpool fails like a disk or a program.
type brokenSpool struct {
	*spool.Spool
	usage  func(context.Context) (spool.Usage, error)
	create func(context.Context, int64) (*spool.Workspace, error)
}

func (b *brokenSpool) Usage(ctx context.Context) (spool.Usage, error) {
	if b.usage != nil {
		return b.usage(ctx)
	}
	return b.Spool.Usage(ctx)
}

func (b *brokenSpool) Create(ctx context.Context, size int64) (*spool.Workspace, error) {
	if b.create != nil {
		return b.create(ctx, size)
	}
	return b.Spool.Create(ctx, size)
}

func TestASpoolThatFails(t *testing.T) {
	errIO := errors.New("input/output error")
	for name, tc := range map[string]struct {
		err, want   error
		unavailable bool
	}{
		"can't be used":      {errIO, upload.ErrUnavailable, true},
		"full, says kernel":  {&spool.FullError{Err: errIO}, spool.ErrFull, false},
		"full of what grew":  {&spool.FullError{Busy: true}, upload.ErrBusy, false},
		"the client is gone": {upload.ErrClientGone, upload.ErrClientGone, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHouse(t)
				h.gate.config.Spool = &brokenSpool{Spool: h.spool, create: func(context.Context, int64) (*spool.Workspace, error) { return nil, tc.err }}
				_, err := h.gate.Enter(t.Context(), tenantOf(1, 1), 1)
				if !errors.Is(err, tc.want) || !errors.Is(err, tc.err) || errors.Is(err, upload.ErrUnavailable) != tc.unavailable {
					t.Error(err)
				}
			})
		})
	}
	t.Run("panics", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			h := newHouse(t)
			h.gate.config.Spool = &brokenSpool{Spool: h.spool, create: func(context.Context, int64) (*spool.Workspace, error) { panic("boom") }}
			defer func() {
				if v := recover(); v != "boom" {
					t.Errorf("recovered %v", v)
				}
			}()
			_, err := h.gate.Enter(t.Context(), tenantOf(1, 1), 1)
			t.Errorf("came back with %v", err)
		})
	})
	t.Run("can't be measured", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			h := newHouse(t)
			h.gate.config.Spool = &brokenSpool{Spool: h.spool, usage: func(context.Context) (spool.Usage, error) { return spool.Usage{}, errIO }}
			h.enter(1, 1).end() // it is making the workspace that counts
		})
	})
	t.Run("hangs", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			h := newHouse(t)
			release := make(chan struct{})
			h.gate.config.Spool = &brokenSpool{Spool: h.spool, usage: func(ctx context.Context) (spool.Usage, error) {
				<-release
				return h.spool.Usage(ctx)
			}}
			r := <-h.try(t.Context(), tenantOf(1, 1), 1)
			if !errors.Is(r.err, upload.ErrUnavailable) || r.at != 12*time.Second {
				t.Errorf("after %v: %v", r.at, r.err)
			}
			close(release)
			synctest.Wait()
			h.enter(1, 1).end()
		})
	})
}
