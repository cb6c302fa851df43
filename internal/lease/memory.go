package lease

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"
)

// Memory is a table in the memory of one process. It implements [Table].
type Memory struct {
	stale time.Duration // 0: leases live until they are released

	mu      sync.Mutex
	tenants map[int64]map[string]Lease // by tenant and id; no tenant without a lease
}

// NewMemory returns an empty table with a stale cut-off; with 0, leases live until they are released.
func NewMemory(stale time.Duration) *Memory {
	return &Memory{stale: stale, tenants: map[int64]map[string]Lease{}}
}

// Take implements [Table].
func (m *Memory) Take(ctx context.Context, l Lease, limit int) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.reap()
	held := m.tenants[l.Tenant]
	if _, ok := held[l.ID]; !ok && len(held) >= limit {
		return ErrLimit
	}
	m.put(l)
	return nil
}

// Renew implements [Table].
func (m *Memory) Renew(ctx context.Context, leases ...Lease) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, l := range leases {
		m.put(l)
	}
	return nil
}

// Release implements [Table].
func (m *Memory) Release(ctx context.Context, leases ...Lease) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	m.drop(leases...)
	return nil
}

// List returns all leases, by tenant and age.
func (m *Memory) List(ctx context.Context) ([]Lease, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	return m.held(), nil
}

// held returns all leases, by tenant and age.
func (m *Memory) held() []Lease {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.reap()
	var leases []Lease
	for _, held := range m.tenants {
		leases = slices.AppendSeq(leases, maps.Values(held))
	}
	Sort(leases)
	return leases
}

// count returns the number of a tenant's leases.
func (m *Memory) count(tenant int64) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.reap()
	return len(m.tenants[tenant])
}

// has reports whether l is held.
func (m *Memory) has(l Lease) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.reap()
	_, ok := m.tenants[l.Tenant][l.ID]
	return ok
}

// add adds l whatever the limit.
func (m *Memory) add(l Lease) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.put(l)
}

// touch renews all leases.
func (m *Memory) touch() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.reap()
	for _, held := range m.tenants {
		for _, l := range held {
			m.put(l)
		}
	}
}

// drop removes leases.
func (m *Memory) drop(leases ...Lease) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, l := range leases {
		held := m.tenants[l.Tenant]
		delete(held, l.ID)
		if len(held) == 0 {
			delete(m.tenants, l.Tenant)
		}
	}
}

// put adds or renews l. The mutex is held.
func (m *Memory) put(l Lease) {
	l.Renewed = time.Now()
	if m.tenants[l.Tenant] == nil {
		m.tenants[l.Tenant] = map[string]Lease{}
	}
	m.tenants[l.Tenant][l.ID] = l
}

// reap removes stale leases. The mutex is held.
func (m *Memory) reap() {
	if m.stale == 0 {
		return
	}
	for tenant, held := range m.tenants {
		maps.DeleteFunc(held, func(_ string, l Lease) bool { return time.Since(l.Renewed) >= m.stale })
		if len(held) == 0 {
			delete(m.tenants, tenant)
		}
	}
}
