// Package lease bounds what one tenant does at once, on one instance or on a fleet of them.
//
// A lease is one place out of a tenant's limit, held for as long as an upload lives. A [Keeper] takes the
// leases of one process, renews them while they are held, and releases them. Where several instances share
// limits, the leases stand in a [Table] they share as well; else in memory alone.
//
// It is guaranteed that
//
//   - a tenant never holds more leases than its limit, fleet-wide, while the shared table answers and
//     remembers what it was told;
//   - a lease lives no longer than its process, and in the shared table no longer than the stale cut-off after
//     the process's last renewal: a process that is killed gives back what it held, within that time;
//   - a shared table that is away delays a caller by about a second, once. From then on limits are each
//     process's own, and leases taken before count; which is told, and ends by itself;
//   - a shared table that lost its memory is told again by every holder, within a quarter of the cut-off.
//
// It is not guaranteed that instances come to their turn in order: a process serves its own callers in the
// order they came, but where a place comes free on an instance, that instance's next caller sees it first.
// Nor is a limit kept fleet-wide while the shared table is away or has lost its memory, nor
// for a process that was stopped for longer than the cut-off and comes back with what it holds.
package lease

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"
)

// ErrLimit is returned where a tenant holds as many leases as it may.
var ErrLimit = errors.New("the tenant is at its limit")

// A Lease is one place out of a tenant's limit.
type Lease struct {
	Tenant   int64     `json:"tenant"`   // the id of its token
	ID       string    `json:"id"`       // unique, without spaces
	Instance string    `json:"instance"` // who holds it
	Since    time.Time `json:"since"`    // by the holder's clock, in whole milliseconds
	Renewed  time.Time `json:"renewed"`  // by the table's clock; set by the table
}

// Sort orders leases by tenant and age.
func Sort(leases []Lease) {
	slices.SortFunc(leases, func(a, b Lease) int {
		return cmp.Or(cmp.Compare(a.Tenant, b.Tenant), a.Since.Compare(b.Since), cmp.Compare(a.ID, b.ID))
	})
}

// A Table is a place where several instances see each other's leases. A lease that was not renewed for the
// table's stale cut-off is not in it any more, by the table's own clock.
//
// It is safe for concurrent use, by any number of processes. Each call ends soon after its context's deadline.
// An error other than ErrLimit means that the table is away: what was asked of it may have been done, or not.
type Table interface {
	// Take adds l, unless limit leases of its tenant are held: then it returns ErrLimit. One that is held
	// already is renewed.
	Take(ctx context.Context, l Lease, limit int) error

	// Renew says that leases are alive. It adds those that the table does not know, whatever the limit. Of no
	// leases it asks only whether the table is there.
	Renew(ctx context.Context, leases ...Lease) error

	// Release removes leases. Those that the table does not know are no error.
	Release(ctx context.Context, leases ...Lease) error
}
