package gate

import (
	"context"
	"errors"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"tecken-upload/internal/spool"
	"tecken-upload/internal/spool/spooltest"
	"tecken-upload/internal/upload"
)

const mib = 1 << 20

// leases are those of one process. They fail the test if one is given back twice.
type leases struct {
	*testing.T
	mu      sync.Mutex
	held    map[int64]int
	changed chan struct{} // closed, and replaced, with every release
}

func newLeases(t *testing.T) *leases {
	return &leases{T: t, held: make(map[int64]int), changed: make(chan struct{})}
}

func (l *leases) Take(ctx context.Context, tenant int64, limit int) (func(), error) {
	for {
		l.mu.Lock()
		if l.held[tenant] < limit {
			l.held[tenant]++
			l.mu.Unlock()
			return l.release(tenant), nil
		}
		changed := l.changed
		l.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

func (l *leases) release(tenant int64) func() {
	var released atomic.Bool
	return func() {
		if released.Swap(true) {
			l.Errorf("a lease of tenant %d was given back twice", tenant)
			return
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		l.held[tenant]--
		close(l.changed)
		l.changed = make(chan struct{})
	}
}

// all counts the leases held.
func (l *leases) all() (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, held := range l.held {
		n += held
	}
	return n
}

// house is a gate with its parts.
type house struct {
	*testing.T
	gate   *Gate
	leases *leases
	spool  *spool.Spool
	dir    string      // the spool's
	busy   atomic.Bool // work waits for slots
}

// newHouse makes a gate with a spool on a disk that is large enough, 4 receiving slots, 10 s of waiting and no jitter; change may alter
// that.
func newHouse(t *testing.T, change ...func(*Config)) *house {
	t.Helper()
	return houseIn(t, filepath.Join(t.TempDir(), "spool"), change...)
}

// onSmallDisk runs a story with a spool that has room for 64 MiB.
func onSmallDisk(t *testing.T, story func(*house), change ...func(*Config)) {
	t.Helper()
	dir := spooltest.Tmpfs(t, "size=65m") // outside of the bubble: unmounting comes last
	synctest.Test(t, func(t *testing.T) { story(houseIn(t, filepath.Join(dir, "spool"), change...)) })
}

func houseIn(t *testing.T, dir string, change ...func(*Config)) *house {
	t.Helper()
	s, err := spool.Open(dir, spool.Options{Headroom: mib, Wait: 10 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	h := &house{T: t, leases: newLeases(t), spool: s, dir: dir}
	c := Config{
		Leases: h.leases, TenantUploads: 100, Spool: s, ReceivingSlots: 4, Wait: 10 * time.Second, Timeout: 100 * time.Second,
		Saturated: h.busy.Load, Jitter: func() float64 { return 0 },
	}
	for _, f := range change {
		f(&c)
	}
	h.gate = New(c)
	t.Cleanup(func() {
		h.empty()
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return h
}

// empty fails the test if anything is left.
func (h *house) empty() {
	h.Helper()
	g := h.gate
	st := g.Stats()
	if st.Receiving+st.Fetching+st.FetchWaiting+st.Waiting+st.Limited+st.Admitted+st.Tenants+st.Leases != 0 || st.Unfinished != 0 {
		h.Errorf("left behind: %+v", st)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.bytes != 0 || g.promised != 0 || len(g.tenants) != 0 {
		h.Errorf("left behind: %d bytes, %d promised, %d tenants", g.bytes, g.promised, len(g.tenants))
	}
	if n := h.leases.all(); n != 0 {
		h.Errorf("%d leases are left", n)
	}
	usage, err := h.spool.Usage(context.Background())
	if err != nil || usage.Live+usage.Waiting != 0 || usage.Held+usage.Reserved != 0 {
		h.Errorf("the spool holds %+v, %v", usage, err)
	}
}

func tenantOf(id int64, weight int) upload.Token { return upload.Token{ID: id, Weight: weight} }

// admitted is an admitted upload.
type admitted struct {
	*house
	*Pass
}

// enter admits an upload, for which there must be room at once.
func (h *house) enter(tenant int64, size int64) *admitted {
	h.Helper()
	start := time.Now()
	pass, err := h.gate.Enter(h.Context(), tenantOf(tenant, 1), size)
	if err != nil {
		h.Fatal(err)
	}
	if waited := time.Since(start); waited > 0 {
		h.Errorf("waited %v", waited)
	}
	return &admitted{h, pass}
}

// end closes the workspace, as an upload does, and the pass.
func (a *admitted) end() {
	a.Helper()
	if err := errors.Join(a.Workspace().Close(), a.Close()); err != nil {
		a.Error(err)
	}
}

// result is what became of an upload that waited.
type result struct {
	*admitted
	err error
	at  time.Duration // since the wait began
}

// end ends the upload, which must have been admitted.
func (r result) end() {
	r.Helper()
	if r.err != nil {
		r.Fatalf("refused after %v: %v", r.at, r.err)
	}
	r.admitted.end()
}

// try enters in the background.
func (h *house) try(ctx context.Context, token upload.Token, size int64) <-chan result {
	out := make(chan result, 1)
	start := time.Now()
	go func() {
		pass, err := h.gate.Enter(ctx, token, size)
		out <- result{&admitted{h, pass}, err, time.Since(start)}
	}()
	return out
}

// refused returns an Enter's BusyError.
func (h *house) refused(err error) upload.BusyError {
	h.Helper()
	busy, ok := errors.AsType[*upload.BusyError](err)
	if !ok {
		h.Fatalf("not a BusyError: %v", err)
	}
	return *busy
}

// pending fails the test where an upload that is to wait does not.
func (h *house) pending(waiters ...<-chan result) {
	h.Helper()
	for i, out := range waiters {
		select {
		case r := <-out:
			h.Fatalf("waiter %d does not wait: %v", i, r.err)
		default:
		}
	}
}

// learn lets the gate measure a rate of work: it is saturated, and a is worked on at rate bytes a second.
func (a *admitted) learn(rate int64, seconds int) {
	a.busy.Store(true)
	a.house.gate.Stats() // observes it
	a.work(rate, seconds)
}

func (a *admitted) work(rate int64, seconds int) {
	for range seconds {
		<-time.After(time.Second)
		a.Done(rate)
	}
}
