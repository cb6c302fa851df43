// Package leasetest is the suite that every table of leases passes. It is lease.Table's contract in code, with List.
package leasetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tecken-upload/internal/lease"
	"tecken-upload/internal/testenv"
)

const (
	// Patience bounds every wait.
	Patience = testenv.Patience
	// short is a stale cut-off that a test can wait for on a quiet machine; long never passes in a test.
	short, long = 2 * time.Second, time.Hour
	// poll is the interval between looks at a condition.
	poll = 10 * time.Millisecond
)

// A Table is the subject of the suite.
type Table interface {
	lease.Table
	// List returns all leases, by tenant and age.
	List(ctx context.Context) ([]lease.Lease, error)
}

// Run runs the suite, each test with its own empty table of the given stale cut-off.
func Run(t *testing.T, open func(t *testing.T, stale time.Duration) Table) {
	for name, test := range map[string]func(*testing.T, Table){
		"limit":       testLimit,
		"take twice":  testTakeTwice,
		"release":     testRelease,
		"renew":       testRenew,
		"list":        testList,
		"many":        testMany,
		"takers race": testRace,
		"cancelled":   testCancelled,
	} {
		t.Run(name, func(t *testing.T) { test(t, open(t, long)) })
	}
	t.Run("stale", func(t *testing.T) {
		stale := testenv.Slack(t, short)
		testStale(t, open(t, stale), stale)
	})
}

// New returns the n-th lease of a tenant.
func New(tenant int64, n int) lease.Lease {
	return lease.Lease{
		Tenant:   tenant,
		ID:       fmt.Sprintf("lease-%d-%d", tenant, n),
		Instance: "here",
		Since:    time.UnixMilli(1_500_000_000_000 + int64(n)),
	}
}

// Count returns the number of a tenant's leases, once the table answers.
func Count(t testing.TB, table Table, tenant int64) int {
	t.Helper()
	var leases []lease.Lease
	Eventually(t, "list", func() bool {
		var err error
		leases, err = table.List(t.Context())
		return err == nil
	})
	n := 0
	for _, l := range leases {
		if l.Tenant == tenant {
			n++
		}
	}
	return n
}

// Eventually waits until a condition holds.
func Eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	tick := time.NewTicker(poll)
	defer tick.Stop()
	deadline := time.After(Patience)
	for !holds() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("in vain: %s", what)
		}
	}
}

func take(t *testing.T, table Table, l lease.Lease, limit int) {
	t.Helper()
	if err := table.Take(t.Context(), l, limit); err != nil {
		t.Fatalf("take %s of %d: %v", l.ID, limit, err)
	}
}

func refused(t *testing.T, table Table, l lease.Lease, limit int) {
	t.Helper()
	if err := table.Take(t.Context(), l, limit); !errors.Is(err, lease.ErrLimit) {
		t.Fatalf("take %s of %d: %v; want ErrLimit", l.ID, limit, err)
	}
}

func held(t *testing.T, table Table, tenant int64, want int) {
	t.Helper()
	if got := Count(t, table, tenant); got != want {
		t.Fatalf("tenant %d holds %d leases; want %d", tenant, got, want)
	}
}

func testLimit(t *testing.T, table Table) {
	take(t, table, New(1, 1), 2)
	take(t, table, New(1, 2), 2)
	refused(t, table, New(1, 3), 2)
	refused(t, table, New(1, 3), 1)
	held(t, table, 1, 2)
	take(t, table, New(2, 1), 2)
	take(t, table, New(1, 3), 3)
	held(t, table, 1, 3)
	held(t, table, 2, 1)
}

func testTakeTwice(t *testing.T, table Table) {
	take(t, table, New(1, 1), 1)
	take(t, table, New(1, 1), 1)
	held(t, table, 1, 1)
	refused(t, table, New(1, 2), 1)
}

func testRelease(t *testing.T, table Table) {
	for _, leases := range [][]lease.Lease{nil, {New(1, 1)}} {
		if err := table.Release(t.Context(), leases...); err != nil {
			t.Fatalf("release %d unknown leases: %v", len(leases), err)
		}
	}
	take(t, table, New(1, 1), 2)
	take(t, table, New(1, 2), 2)
	take(t, table, New(2, 1), 1)
	for range 2 {
		if err := table.Release(t.Context(), New(1, 1), New(2, 1)); err != nil {
			t.Fatal(err)
		}
		held(t, table, 1, 1)
		held(t, table, 2, 0)
	}
	take(t, table, New(1, 3), 2)
	refused(t, table, New(1, 4), 2)
}

func testRenew(t *testing.T, table Table) {
	if err := table.Renew(t.Context()); err != nil {
		t.Fatalf("renew nothing: %v", err)
	}
	if leases, err := table.List(t.Context()); err != nil || len(leases) != 0 {
		t.Fatalf("after renewing nothing there are %v, %v", leases, err)
	}
	take(t, table, New(1, 1), 1)
	for range 2 {
		if err := table.Renew(t.Context(), New(1, 1), New(1, 2), New(2, 1)); err != nil {
			t.Fatal(err)
		}
		held(t, table, 1, 2) // whatever the limit
		held(t, table, 2, 1)
	}
	refused(t, table, New(1, 3), 2)
}

func testList(t *testing.T, table Table) {
	if leases, err := table.List(t.Context()); err != nil || len(leases) != 0 {
		t.Fatalf("an empty table holds %v, %v", leases, err)
	}
	var want []lease.Lease
	for i, instance := range []string{"host-1", "", " a b  c ", "ätsch {1}|\n\x00\xff"} {
		for _, tenant := range []int64{1, 1 << 40} {
			l := New(tenant, i)
			l.Instance = instance
			take(t, table, l, 10)
			want = append(want, l)
		}
	}
	lease.Sort(want)
	got, err := table.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for i := range got {
		if age := time.Since(got[i].Renewed).Abs(); age > Patience {
			t.Errorf("%s was renewed %v ago", got[i].ID, age)
		}
		got[i].Renewed = time.Time{}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// testMany has more tenants and leases than any implementation reads at once.
func testMany(t *testing.T, table Table) {
	var leases []lease.Lease
	for tenant := range int64(700) {
		leases = append(leases, New(tenant+1, 1))
	}
	for n := range 5000 {
		leases = append(leases, New(1, n+2))
	}
	for some := range slices.Chunk(leases, 500) {
		if err := table.Renew(t.Context(), some...); err != nil {
			t.Fatal(err)
		}
	}
	held(t, table, 1, 5001)
	if got, err := table.List(t.Context()); err != nil || len(got) != len(leases) {
		t.Errorf("%d of %d leases are there, %v", len(got), len(leases), err)
	}
	for some := range slices.Chunk(leases, 500) {
		if err := table.Release(t.Context(), some...); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := table.List(t.Context()); err != nil || len(got) != 0 {
		t.Errorf("%d leases are left, %v", len(got), err)
	}
}

func testRace(t *testing.T, table Table) {
	const takers, turns, limit = 16, 50, 3
	var now, most, taken atomic.Int64
	var wg sync.WaitGroup
	for i := range takers {
		wg.Go(func() {
			for j := range turns {
				l := New(1, i*turns+j)
				err := table.Take(t.Context(), l, limit)
				if errors.Is(err, lease.ErrLimit) {
					continue
				}
				if err != nil {
					t.Errorf("take: %v", err)
					return
				}
				taken.Add(1)
				n := now.Add(1)
				for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
				}
				now.Add(-1)
				if err := table.Release(t.Context(), l); err != nil {
					t.Errorf("release: %v", err)
				}
			}
		})
	}
	wg.Wait()
	if taken.Load() == 0 || most.Load() > limit {
		t.Errorf("%d takes, %d at once; the limit is %d", taken.Load(), most.Load(), limit)
	}
	held(t, table, 1, 0)
	var granted atomic.Int64
	for i := range takers {
		wg.Go(func() {
			if table.Take(t.Context(), New(2, i), limit) == nil {
				granted.Add(1)
			}
		})
	}
	wg.Wait()
	if granted.Load() != limit {
		t.Errorf("%d of %d at once got a lease; the limit is %d", granted.Load(), takers, limit)
	}
}

func testCancelled(t *testing.T, table Table) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := table.Take(ctx, New(1, 1), 1); err == nil || errors.Is(err, lease.ErrLimit) {
		t.Errorf("take: %v", err)
	}
	if err := table.Renew(ctx, New(1, 1)); err == nil {
		t.Error("renew: no error")
	}
	if err := table.Release(ctx, New(1, 1)); err == nil {
		t.Error("release: no error")
	}
	held(t, table, 1, 0)
}

// testStale keeps one lease alive and lets another die.
func testStale(t *testing.T, table Table, stale time.Duration) {
	alive, dead := New(1, 1), New(1, 2)
	take(t, table, alive, 2)
	before := time.Now()
	take(t, table, dead, 2)
	after := time.Now()
	newcomer := New(1, 3)
	Eventually(t, "a stale lease gives way", func() bool {
		if err := table.Renew(t.Context(), alive); err != nil {
			t.Fatal(err)
		}
		switch err := table.Take(t.Context(), newcomer, 2); {
		case err == nil:
			return true
		case !errors.Is(err, lease.ErrLimit):
			t.Fatal(err)
		}
		if n := Count(t, table, 1); n != 2 && time.Since(after) < stale-poll {
			t.Fatalf("%d leases are listed after %v; the cut-off is %v", n, time.Since(after), stale)
		}
		return false
	})
	// A table may count in whole milliseconds.
	if took := time.Since(before); took < stale-2*time.Millisecond {
		t.Errorf("the lease was stale after %v; the cut-off is %v", took, stale)
	}
	leases, err := table.List(t.Context())
	if err != nil || len(leases) != 2 || leases[0].ID != alive.ID || leases[1].ID != newcomer.ID {
		t.Errorf("held are %v, %v; want the one that was renewed and the new one", leases, err)
	}
}
