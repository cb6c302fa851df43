package lease_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"tecken-upload/internal/lease"
	"tecken-upload/internal/lease/leasetest"
)

const stale = time.Minute

// run runs k until the end of the test, or until stop, which waits for it.
func run(t *testing.T, k *lease.Keeper) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		k.Run(ctx)
	}()
	stop = func() { cancel(); <-ended }
	t.Cleanup(stop)
	return stop
}

func mustTake(t *testing.T, k *lease.Keeper, tenant int64, limit int) (release func()) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), leasetest.Patience)
	defer cancel()
	release, err := k.Take(ctx, tenant, limit)
	if err != nil {
		t.Fatalf("take of %d: %v", limit, err)
	}
	return release
}

// noPlace takes within a moment of the bubble's time, and fails the test if that works.
func noPlace(t *testing.T, k *lease.Keeper, tenant int64, limit int) {
	t.Helper()
	gone := errors.New("gone")
	ctx, cancel := context.WithTimeoutCause(t.Context(), 2*time.Second, gone)
	defer cancel()
	if _, err := k.Take(ctx, tenant, limit); !errors.Is(err, gone) {
		t.Fatalf("take of %d: %v; want the cause of the context's end", limit, err)
	}
}

func TestKeeperAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := lease.NewKeeper(lease.Options{Instance: "me"})
		run(t, k)
		first, second := mustTake(t, k, 1, 2), mustTake(t, k, 1, 2)
		noPlace(t, k, 1, 2)
		other := mustTake(t, k, 2, 1)
		held := k.Held()
		if len(held) != 3 || held[0].Tenant != 1 || held[2].Tenant != 2 || held[0].Instance != "me" {
			t.Errorf("held are %+v", held)
		}
		<-time.After(time.Hour) // only a release ends a lease
		noPlace(t, k, 1, 2)
		if age := time.Since(k.Held()[0].Renewed); age > stale {
			t.Errorf("last renewed %v ago", age)
		}
		first()
		first()
		mustTake(t, k, 1, 2)()
		third := mustTake(t, k, 1, 2)
		noPlace(t, k, 1, 2)
		for _, release := range []func(){second, third, other} {
			release()
		}
		if held := k.Held(); len(held) != 0 || k.Away() {
			t.Errorf("held are %v; away: %v", held, k.Away())
		}
	})
}

// queue makes callers wait, one after another. Each reports its lease, and gives it back on demand.
func queue(t *testing.T, k *lease.Keeper, callers int) (served chan int, give chan struct{}) {
	served, give = make(chan int), make(chan struct{})
	for i := range callers {
		go func() {
			release, err := k.Take(t.Context(), 1, 1)
			if err != nil {
				t.Errorf("caller %d: %v", i, err)
				return
			}
			served <- i
			<-give
			release()
		}()
		synctest.Wait()
	}
	return served, give
}

func TestKeeperServesInOrderAndAtOnce(t *testing.T) {
	for name, shared := range map[string]lease.Table{"alone": nil, "shared": lease.NewMemory(0)} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				k := lease.NewKeeper(lease.Options{Shared: shared})
				release := mustTake(t, k, 1, 1)
				const callers = 20
				served, give := queue(t, k, callers)
				start := time.Now()
				release()
				for want := range callers {
					if got := <-served; got != want {
						t.Fatalf("caller %d is served; it is the turn of %d", got, want)
					}
					give <- struct{}{}
				}
				if took := time.Since(start); took != 0 {
					t.Errorf("it took %v", took)
				}
			})
		})
	}
}

func TestKeeperForgetsWhoLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := lease.NewKeeper(lease.Options{})
		release := mustTake(t, k, 1, 1)
		gone := errors.New("gone")
		for _, patience := range []time.Duration{0, 3 * time.Second, time.Second, 2 * time.Second} {
			go func() {
				ctx, cancel := context.WithTimeoutCause(t.Context(), patience, gone)
				defer cancel()
				if _, err := k.Take(ctx, 1, 1); !errors.Is(err, gone) {
					t.Errorf("the wait of %v ended with %v", patience, err)
				}
			}()
			synctest.Wait()
		}
		served, give := queue(t, k, 2)
		<-time.After(time.Minute)
		release()
		for want := range 2 {
			if got := <-served; got != want {
				t.Errorf("caller %d is served before %d", got, want)
			}
			give <- struct{}{}
		}
		synctest.Wait()
		if held := k.Held(); len(held) != 0 {
			t.Errorf("held are %v", held)
		}
	})
}

// Two keepers with one table are a fleet.
func TestKeepersShareLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		table := lease.NewMemory(stale)
		a := lease.NewKeeper(lease.Options{Shared: table, Instance: "a", Stale: stale})
		b := lease.NewKeeper(lease.Options{Shared: table, Instance: "b", Stale: stale})
		run(t, a)
		run(t, b)
		first, second := mustTake(t, a, 1, 3), mustTake(t, a, 1, 3)
		third := mustTake(t, b, 1, 3)
		<-time.After(time.Hour)
		noPlace(t, a, 1, 3)
		noPlace(t, b, 1, 3)
		time.AfterFunc(time.Second, first)
		start := time.Now()
		fourth := mustTake(t, b, 1, 3)
		if took := time.Since(start); took < time.Second || took > 1400*time.Millisecond {
			t.Errorf("a place that another instance gave back a second later was taken after %v", took)
		}
		if len(a.Held()) != 1 || len(b.Held()) != 2 {
			t.Errorf("a holds %v, b holds %v", a.Held(), b.Held())
		}
		for _, release := range []func(){second, third, fourth} {
			release()
		}
		synctest.Wait()
		if n := leasetest.Count(t, table, 1); n != 0 {
			t.Errorf("%d leases are left", n)
		}
	})
}

func TestKeeperGivesBackInTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		table := lease.NewMemory(stale)
		k := lease.NewKeeper(lease.Options{Shared: table, Stale: stale})
		stop := run(t, k)
		for range 5 {
			mustTake(t, k, 1, 5)
		}
		stop()
		if n := leasetest.Count(t, table, 1); n != 0 {
			t.Errorf("%d leases are left", n)
		}
	})
}

// A stopped process is dead to others, until it resumes.
func TestKeeperPutsBackWhatItStillHolds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		table := lease.NewMemory(stale)
		k := lease.NewKeeper(lease.Options{Shared: table, Stale: stale})
		release := mustTake(t, k, 1, 1)
		<-time.After(stale)
		if n := leasetest.Count(t, table, 1); n != 0 {
			t.Errorf("%d leases outlive the cut-off", n)
		}
		noPlace(t, k, 1, 1)
		run(t, k)
		<-time.After(stale/4 + time.Second)
		if n := leasetest.Count(t, table, 1); n != 1 {
			t.Errorf("%d leases are there; want the one that is held", n)
		}
		release()
	})
}

// A sick table fails at given moments, as no healthy server can be made to.
type sick struct {
	*lease.Memory
	renewing  func()                    // called by Renew first
	taking    func(l lease.Lease) error // called by Take first; its error is returned
	releasing func()                    // called by Release first

	mu  sync.Mutex
	err error
}

// fail makes calls have their effect, and return err.
func (s *sick) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err = err
}

func (s *sick) failure() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

func (s *sick) Take(ctx context.Context, l lease.Lease, limit int) error {
	if s.taking != nil {
		if err := s.taking(l); err != nil {
			return err
		}
	}
	return errors.Join(s.Memory.Take(ctx, l, limit), s.failure())
}

func (s *sick) Renew(ctx context.Context, leases ...lease.Lease) error {
	if s.renewing != nil {
		s.renewing()
	}
	return errors.Join(s.Memory.Renew(ctx, leases...), s.failure())
}

func (s *sick) Release(ctx context.Context, leases ...lease.Lease) error {
	if s.releasing != nil {
		s.releasing()
	}
	return errors.Join(s.Memory.Release(ctx, leases...), s.failure())
}

func TestARenewalThatComesAfterARelease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		table := &sick{Memory: lease.NewMemory(stale)}
		k := lease.NewKeeper(lease.Options{Shared: table, Stale: stale})
		release := mustTake(t, k, 1, 1)
		table.renewing = func() {
			release()
			<-time.After(time.Millisecond) // until the table knows
		}
		run(t, k)
		<-time.After(stale/4 + time.Second)
		if n := leasetest.Count(t, table, 1); n != 0 {
			t.Errorf("%d leases are left", n)
		}
	})
}

func TestATableThatFailsIsToldOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var told []error
		var log bytes.Buffer
		table := &sick{Memory: lease.NewMemory(stale)}
		k := lease.NewKeeper(lease.Options{
			Shared: table, Stale: stale, Told: func(err error) { told = append(told, err) },
			Logger: slog.New(slog.NewTextHandler(&log, nil)),
		})
		run(t, k)
		kept, before := mustTake(t, k, 1, 2), mustTake(t, k, 1, 2)
		broken := errors.New("on purpose")
		table.fail(broken)
		before() // the table does it, and returns an error
		synctest.Wait()
		for range 10 {
			mustTake(t, k, 1, 2)() // the one held before counts
		}
		during := mustTake(t, k, 1, 2)
		noPlace(t, k, 1, 2)
		<-time.After(time.Hour)
		if len(told) != 1 || !errors.Is(told[0], broken) || !k.Away() {
			t.Errorf("told: %v; away: %v", told, k.Away())
		}
		table.fail(nil)
		<-time.After(10 * time.Second)
		if n := leasetest.Count(t, table, 1); n != 2 || k.Away() {
			t.Errorf("%d leases are in the table that came back; want 2; away: %v", n, k.Away())
		}
		kept()
		during()
		synctest.Wait()
		if n := leasetest.Count(t, table, 1); n != 0 {
			t.Errorf("%d leases are left", n)
		}
		if text := log.String(); strings.Count(text, "level=WARN") != 1 || strings.Count(text, "level=INFO") != 1 {
			t.Errorf("the log:\n%s", text)
		}
		table.fail(broken)
		<-time.After(stale)
		if len(told) != 2 {
			t.Errorf("a second time it is told %d times", len(told)-1)
		}
	})
}

// The failure of a call from before the table went away means nothing now.
func TestALateFailureIsNoNews(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broken := errors.New("on purpose")
		told := 0
		table := &sick{Memory: lease.NewMemory(stale), taking: func(l lease.Lease) error {
			if l.Tenant != 9 {
				return nil
			}
			<-time.After(900 * time.Millisecond)
			return broken
		}}
		k := lease.NewKeeper(lease.Options{Shared: table, Stale: stale, Told: func(error) { told++ }})
		run(t, k)
		late := make(chan func())
		go func() { late <- mustTake(t, k, 9, 1) }()
		synctest.Wait()
		table.fail(broken)
		mustTake(t, k, 1, 1)()
		table.fail(nil)
		<-time.After(500 * time.Millisecond)
		if k.Away() || told != 1 {
			t.Fatalf("away: %v, told %d times", k.Away(), told)
		}
		release := <-late
		if k.Away() || told != 1 {
			t.Errorf("after the late failure: away: %v, told %d times", k.Away(), told)
		}
		release()
	})
}

// A lease taken during the renewal of all others is added to the table too.
func TestWhatIsTakenMeanwhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		table := &sick{Memory: lease.NewMemory(time.Hour)}
		k := lease.NewKeeper(lease.Options{Shared: table, Stale: time.Hour})
		taken := false
		table.renewing = func() {
			if k.Away() && !taken {
				taken = true
				mustTake(t, k, 2, 1)
			}
		}
		run(t, k)
		synctest.Wait()
		table.fail(errors.New("on purpose"))
		mustTake(t, k, 1, 1)
		table.fail(nil)
		<-time.After(10 * time.Second)
		if n := leasetest.Count(t, table, 2); n != 1 || k.Away() {
			t.Errorf("%d leases; away: %v", n, k.Away())
		}
	})
}

// A lease released while the table was away leaves the table when it is back, though it remembers it.
func TestDebtsArePaid(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		memory := lease.NewMemory(time.Hour)
		table := &sick{Memory: memory}
		k := lease.NewKeeper(lease.Options{Shared: table, Stale: time.Hour})
		run(t, k)
		var releases []func()
		for tenant := range int64(600) {
			releases = append(releases, mustTake(t, k, tenant+1, 1))
		}
		table.fail(errors.New("on purpose"))
		mustTake(t, k, 1, 2)() // now it is known to be away
		for _, release := range releases {
			release()
		}
		synctest.Wait()
		left, err := memory.List(t.Context())
		if err != nil || len(left) < len(releases) {
			t.Fatalf("the table remembers %d leases, %v", len(left), err)
		}
		table.fail(nil)
		<-time.After(10 * time.Second)
		if left, err = memory.List(t.Context()); err != nil || len(left) != 0 {
			t.Errorf("%d leases are left, %v", len(left), err)
		}
	})
}

func TestManyTenantsDoNotWaitForEachOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := lease.NewKeeper(lease.Options{})
		release := mustTake(t, k, 1, 1)
		served, give := queue(t, k, 3)
		start := time.Now()
		for tenant := range int64(100) {
			defer mustTake(t, k, tenant+2, 1)()
		}
		if took := time.Since(start); took != 0 {
			t.Errorf("others wait for %v", took)
		}
		release()
		var order []string
		for range 3 {
			order = append(order, fmt.Sprint(<-served))
			give <- struct{}{}
		}
		if !slices.IsSorted(order) {
			t.Errorf("served as %v", order)
		}
	})
}

// A call without waiting gets a free lease, or an error at once.
func TestKeeperWithoutWaiting(t *testing.T) {
	for name, tc := range map[string]struct {
		shared lease.Table
		took   time.Duration // with others before it, that ask
	}{
		"alone":  {nil, 0},
		"shared": {&sick{Memory: lease.NewMemory(0), taking: func(lease.Lease) error { <-time.After(100 * time.Millisecond); return nil }}, 500 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				k := lease.NewKeeper(lease.Options{Shared: tc.shared})
				errNow := errors.New("does not wait")
				ctx, cancel := context.WithCancelCause(t.Context())
				cancel(errNow)
				const limit = 5
				start := time.Now()
				taken := make(chan func())
				for range limit {
					go func() {
						release, err := k.Take(ctx, 1, limit)
						if err != nil {
							t.Error(err)
						}
						taken <- release
					}()
				}
				var releases []func()
				for range limit {
					releases = append(releases, <-taken)
				}
				if took := time.Since(start); took != tc.took {
					t.Errorf("%d leases took %v, want %v", limit, took, tc.took)
				}
				start = time.Now()
				if _, err := k.Take(ctx, 1, limit); !errors.Is(err, errNow) || time.Since(start) != 0 {
					t.Errorf("over the limit: %v after %v", err, time.Since(start))
				}
				for _, release := range releases {
					release()
				}
				synctest.Wait()
			})
		})
	}
}
