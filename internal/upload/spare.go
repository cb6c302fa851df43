package upload

import "sync"

// A spareMemory is memory for the decoders of archives that still arrive. It is apart from the memory of archives that are there, since a
// slow arrival holds it for long. No archive waits for it: without it, an archive is verified once it is there.
type spareMemory struct {
	mu      sync.Mutex
	used    int64           // bytes
	tenants map[int64]int64 // of these, those of each tenant
}

// take takes some of all bytes for a tenant. A tenant that has some already may have half of all.
func (s *spareMemory) take(all, bytes, tenant int64) (giveBack func(), ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	has := s.tenants[tenant]
	if s.used+bytes > all || has > 0 && has+bytes > all/2 {
		return nil, false
	}
	s.add(bytes, tenant)
	return sync.OnceFunc(func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.add(-bytes, tenant)
	}), true
}

// add changes what a tenant has. s.mu is held.
func (s *spareMemory) add(bytes, tenant int64) {
	if s.tenants == nil {
		s.tenants = make(map[int64]int64)
	}
	s.used += bytes
	s.tenants[tenant] += bytes
	if s.tenants[tenant] == 0 {
		delete(s.tenants, tenant)
	}
}
