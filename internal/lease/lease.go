// Package lease bounds the simultaneous uploads of a tenant, on one instance or a fleet.
//
// A lease is one unit of a tenant's limit, held while an upload lives. A [Keeper] takes, renews and releases the leases of one process.
// Instances share limits through a [Table]; without one, leases are in memory alone.
//
// Guaranteed:
//
//   - a tenant never holds more leases than its limit, fleet-wide, while the shared table answers and
//     keeps its memory;
//   - a lease ends with its process: in the shared table at most the stale cut-off after the process's
//     last renewal, so a killed process's leases come back in that time;
//   - a shared table that is away delays a caller by about a second, once. From then on each process
//     limits for itself, and leases taken before count. That is reported once, and ends by itself;
//   - a shared table that lost its memory gets all leases back within a quarter of the cut-off.
//
// Not guaranteed:
//
//   - order among instances: a process serves its callers in order, but the instance where a lease is freed
//     sees it first;
//   - a fleet-wide limit while the shared table is away or has lost its memory, or for a process that was
//     stopped for longer than the cut-off and resumes with its leases.
package lease

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"
)

// ErrLimit is returned for a tenant at its limit.
var ErrLimit = errors.New("the tenant is at its limit")

// A Lease is one unit of a tenant's limit.
type Lease struct {
	Tenant   int64     `json:"tenant"`   // the id of its token
	ID       string    `json:"id"`       // unique, without spaces
	Instance string    `json:"instance"` // its holder
	Since    time.Time `json:"since"`    // by the holder's clock, in whole milliseconds
	Renewed  time.Time `json:"renewed"`  // by the table's clock; set by the table
}

// Sort orders leases by tenant and age.
func Sort(leases []Lease) {
	slices.SortFunc(leases, func(a, b Lease) int {
		return cmp.Or(cmp.Compare(a.Tenant, b.Tenant), a.Since.Compare(b.Since), cmp.Compare(a.ID, b.ID))
	})
}

// A Table holds the leases of several instances. A lease that was not renewed for the table's stale cut-off, by the table's own clock, is
// gone.
//
// It is safe for concurrent use, by any number of processes. Each call ends soon after its context's deadline. An error other than ErrLimit
// means that the table is away: the call may have had its effect or not.
type Table interface {
	// Take adds l, or renews it if it is there. It returns ErrLimit if the tenant holds limit other leases.
	Take(ctx context.Context, l Lease, limit int) error

	// Renew renews leases, and adds those the table does not know, whatever the limit. Without leases it only asks whether the table
	// answers.
	Renew(ctx context.Context, leases ...Lease) error

	// Release removes leases. Unknown leases are no error.
	Release(ctx context.Context, leases ...Lease) error
}
