package sched

import (
	"context"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// likePublishing are the options of a queue of calls to storage, as the server has them by default.
var likePublishing = Options{Slots: 16, Lease: 75 * time.Second, MinRate: 256 << 10, Stuck: 5 * time.Second}

// A site is a simulated queue of calls to storage, some of which hang for ever.
type site struct {
	*Scheduler
	wg sync.WaitGroup

	mu      sync.Mutex
	took    []time.Duration // of the uploads of tenants with working storage
	longest time.Duration   // for which a tenant was hanging
}

// call is one call to storage; where it hangs it ends with its slot, as calls do that heed their context.
func (s *site) call(ctx context.Context, task Task, takes time.Duration, hangs bool) error {
	return s.Run(ctx, task, func(ctx context.Context, _ *Slot) error {
		if hangs {
			<-ctx.Done()
			return context.Cause(ctx)
		}
		<-time.After(takes)
		return nil
	})
}

// upload looks up and stores so many small files, 32 of them at once, until one fails. hangs says which calls never end.
func (s *site) upload(ctx context.Context, task Task, files int, rng *rand.Rand, hangs func(lookup bool) bool) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	parallel := make(chan struct{}, 2*s.opts.Slots)
	var wg sync.WaitGroup
	for range files {
		parallel <- struct{}{}
		takes, lookupHangs, putHangs := time.Duration(10+rng.IntN(90))*time.Millisecond, hangs(true), hangs(false)
		wg.Go(func() {
			defer func() { <-parallel }()
			lookup, put := task, task
			lookup.Lease, put.Cost = 20*time.Second, 3000
			err := s.call(ctx, lookup, takes, lookupHangs)
			if err == nil {
				err = s.call(ctx, put, takes, putHangs)
			}
			if err != nil {
				fail(err)
			}
		})
	}
	wg.Wait()
	return context.Cause(ctx)
}

// keepHanging has a tenant post uploads of 40 files, four at a time, and again ten seconds after one has failed.
func (s *site) keepHanging(ctx context.Context, tenant int64, hangs func(rng *rand.Rand, lookup bool) bool) {
	for i := range int64(4) {
		rng := rand.New(rand.NewPCG(uint64(tenant), uint64(i)))
		s.wg.Go(func() {
			for upload := i; ctx.Err() == nil; upload += 4 {
				_ = s.upload(ctx, Task{Tenant: tenant, Upload: upload}, 40, rng, func(lookup bool) bool { return hangs(rng, lookup) })
				<-time.After(10 * time.Second)
			}
		})
	}
}

// keepWell has a tenant post uploads of four files, one after the other, about every two seconds.
func (s *site) keepWell(ctx context.Context, t *testing.T, tenant int64) {
	rng := rand.New(rand.NewPCG(uint64(tenant), 7))
	s.wg.Go(func() {
		for upload := int64(0); ctx.Err() == nil; upload++ {
			start := time.Now()
			err := s.upload(ctx, Task{Tenant: tenant, Upload: upload}, 4, rng, func(bool) bool { return false })
			if err != nil && ctx.Err() == nil {
				t.Errorf("upload %d of tenant %d: %v", upload, tenant, err)
			}
			s.mu.Lock()
			s.took = append(s.took, time.Since(start))
			s.mu.Unlock()
			<-time.After(time.Duration(rng.IntN(4000)) * time.Millisecond)
		}
	})
}

// watch looks at the bound of slots, and at how long tenants hang.
func (s *site) watch(ctx context.Context, t *testing.T) {
	for ctx.Err() == nil {
		st := s.Stats()
		if st.Busy > MostInUse*st.Slots {
			t.Errorf("%d slots are in use", st.Busy)
		}
		for _, h := range st.Hanging {
			s.longest = max(s.longest, h.Lasts)
		}
		<-time.After(time.Second)
	}
}

// TestSimulationOfCallsThatHang has the calls of one tenant hang for ever, and of ten at once, beside as many others.
func TestSimulationOfCallsThatHang(t *testing.T) {
	const lasts, target = 5 * time.Minute, 10 * time.Second
	for name, hangs := range map[string]func(rng *rand.Rand, lookup bool) bool{
		"lookups":           func(_ *rand.Rand, lookup bool) bool { return lookup },
		"PUTs":              func(_ *rand.Rand, lookup bool) bool { return !lookup },
		"half of the calls": func(rng *rand.Rand, _ bool) bool { return rng.IntN(2) == 0 },
	} {
		for _, tenants := range []int64{1, 10} {
			for when, apart := range map[string]time.Duration{"at once": 0, "7 s after each other": 7 * time.Second} {
				if tenants == 1 && apart > 0 {
					continue
				}
				synctest.Test(t, func(t *testing.T) {
					s := &site{Scheduler: New(likePublishing)}
					ctx, cancel := context.WithTimeout(t.Context(), lasts)
					defer cancel()
					s.wg.Go(func() { s.watch(ctx, t) })
					for i := range tenants {
						s.keepWell(ctx, t, 100+i)
					}
					for i := range tenants {
						s.keepHanging(ctx, i, hangs)
						<-time.After(apart)
					}
					s.wg.Wait()
					expectIdle(t, s.Scheduler)
					worst, late := time.Duration(0), 0
					for _, took := range s.took {
						worst = max(worst, took)
						if took > time.Second {
							late++
						}
					}
					t.Logf("figure: %s of %d tenants hang for ever, begun %s, beside as many others: the slowest of the others' %d small uploads took %v, %d more than a second; "+
						"a tenant was hanging for %v", name, tenants, when, len(s.took), worst.Round(10*time.Millisecond), late, s.longest.Round(time.Second))
					if worst > target {
						t.Errorf("%v", worst)
					}
				})
			}
		}
	}
}

// TestSimulationOfABulkBesideCallsThatHang has a tenant post files of at most 4 MiB all the time, alone and beside a tenant with hanging calls.
func TestSimulationOfABulkBesideCallsThatHang(t *testing.T) {
	const lasts = 5 * time.Minute
	bytes := make(map[string]float64)
	for name, hangs := range map[string]func(lookup bool) bool{
		"alone": nil, "lookups": func(lookup bool) bool { return lookup }, "PUTs": func(lookup bool) bool { return !lookup },
	} {
		w := simulate(t, likePublishing, lasts, func(ctx context.Context, w *world) {
			s := &site{Scheduler: w.Scheduler}
			if hangs != nil {
				s.keepHanging(ctx, 1, func(_ *rand.Rand, lookup bool) bool { return hangs(lookup) })
				<-time.After(10 * time.Second)
			}
			w.keepPosting(ctx, 2, 1, 32)
			w.wg.Go(s.wg.Wait)
		})
		for _, b := range w.began {
			bytes[name] += float64(b.cost)
		}
	}
	for _, name := range []string{"lookups", "PUTs"} {
		part := bytes[name] / bytes["alone"]
		t.Logf("figure: a tenant that posts files all the time, beside one whose %s hang for ever: %.0f %% of the bytes it stores alone", name, 100*part)
		if part < 0.7 {
			t.Errorf("%.2f", part)
		}
	}
}

// TestSimulationOfSlowCalls has two tenants post small files all the time, one of which has its calls take 200 times as long.
func TestSimulationOfSlowCalls(t *testing.T) {
	const lasts = 5 * time.Minute
	var slots [2]time.Duration
	takes := [2]time.Duration{4 * time.Second, 20 * time.Millisecond}
	w := simulate(t, likePublishing, lasts, func(ctx context.Context, w *world) {
		for tenant := range takes {
			for i := range int64(64) {
				w.wg.Go(func() {
					for ctx.Err() == nil {
						err := w.Run(ctx, Task{Tenant: int64(tenant), Upload: i, Cost: 3000}, func(context.Context, *Slot) error {
							<-time.After(takes[tenant])
							return nil
						})
						if err == nil {
							w.record(begin{tenant: tenant, held: takes[tenant]})
						}
					}
				})
			}
		}
	})
	for _, b := range w.began {
		slots[b.tenant] += b.held
	}
	part := float64(slots[1]) / float64(slots[0]+slots[1])
	t.Logf("figure: small files that take 20 ms beside another tenant's that take 4 s: %.1f %% of the slot time", 100*part)
	if part < 0.4 || part > 0.6 {
		t.Errorf("%.3f", part)
	}
}
