package gate

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"tecken-upload/internal/spool"
	"tecken-upload/internal/upload"
)

// Whatever comes, in whatever order: the bounds hold, no upload waits that there is room for, and in the end nothing is held.
func TestAnyDay(t *testing.T) {
	for seed := range uint64(4) {
		onSmallDisk(t, func(h *house) {
			d := &day{house: h, rand: rand.New(rand.NewPCG(seed, 1))}
			d.pass()
		}, func(c *Config) { c.ReceivingSlots, c.TenantUploads, c.Timeout = 6, 3, 40*time.Second })
	}
}

// day is many uploads, and their results.
type day struct {
	*house
	rand *rand.Rand
	wg   sync.WaitGroup

	mu                            sync.Mutex // guards the fields below
	in, busy, limited, full, left int
}

func (d *day) pass() {
	d.gate.config.Saturated = func() bool { return d.gate.inWork() > 2 }
	for range 500 {
		d.wg.Add(1)
		go d.upload(&plan{
			token:  tenantOf(1+d.rand.Int64N(5), 1+d.rand.IntN(3)),
			size:   d.rand.Int64N(1<<(10+d.rand.IntN(17))) - 1, // up to 64 MiB, mostly much less
			give:   time.Duration(d.rand.Int64N(int64(20 * time.Second))),
			gone:   d.rand.IntN(10) == 0,
			steps:  d.rand.IntN(5),
			step:   time.Duration(d.rand.Int64N(int64(3 * time.Second))),
			failed: d.rand.IntN(10) == 0,
		})
		<-time.After(time.Duration(d.rand.Int64N(int64(500 * time.Millisecond))))
		synctest.Wait()
		d.notForgotten(d.check())
	}
	d.wg.Wait()
	synctest.Wait()
	if d.in < 100 || d.busy == 0 || d.limited == 0 || d.left == 0 {
		d.Errorf("a quiet day: %d were let in, %d found no room, %d were over their limit, %d too large, %d left", d.in, d.busy, d.limited, d.full, d.left)
	}
}

// notForgotten fails the test where an upload that there is room for still waits after some ticks: hope and rates fade without an event.
func (d *day) notForgotten(p *Pass) {
	d.Helper()
	for range 4 {
		if p == nil {
			return
		}
		<-time.After(tick)
		synctest.Wait()
		if d.check() != p {
			return
		}
	}
	d.Errorf("an upload waits that there is room for: %d bytes of tenant %d", p.size, p.tenant.id)
}

// inWork counts the uploads with a complete body.
func (g *Gate) inWork() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.in[inside]) - len(g.in[receiving])
}

// check looks at a moment in which nothing moves. It returns an upload that waits though there is room for it, or nil.
func (d *day) check() *Pass {
	d.Helper()
	g := d.gate
	usage, saturated := g.measure(d.Context()), g.config.Saturated()
	g.mu.Lock()
	defer g.mu.Unlock()
	g.work.advance(time.Now(), saturated)
	var count [states]int
	g.refresh()
	var bytes, left int64
	for p := range g.in[inside] {
		bytes += p.size
		left += p.left
	}
	for _, t := range g.tenants {
		if t.count[leased] > 3*g.config.TenantUploads || t.bytes < 0 {
			d.Errorf("a tenant has %d leases, %d bytes", t.count[leased], t.bytes)
		}
		for s, n := range t.count {
			count[s] += n
		}
	}
	for s := range count {
		if count[s] != len(g.in[s]) {
			d.Errorf("tenants have %d in state %d, the gate %d", count[s], s, len(g.in[s]))
		}
	}
	if len(g.in[receiving]) > g.config.ReceivingSlots || bytes != g.bytes || left != g.unfinished || g.promised != 0 || usage.Live+usage.Waiting != len(g.in[inside]) {
		d.Errorf("%d bytes, %d to do; the gate says %d, %d, %d promised; the spool %+v", bytes, left, g.bytes, g.unfinished, g.promised, usage)
	}
	p, _ := g.next(g.look(usage, g.promised), waiting)
	return p
}

// plan is an upload's plan.
type plan struct {
	token  upload.Token
	size   int64
	give   time.Duration // the client's patience
	gone   bool          // it is limited
	steps  int           // of the work
	step   time.Duration // of the body, and of each of them
	failed bool          // the body does not arrive
}

func (d *day) upload(p *plan) {
	defer d.wg.Done()
	ctx := d.Context()
	if p.gone {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, p.give, upload.ErrClientGone)
		defer cancel()
	}
	pass, err := d.gate.Enter(ctx, p.token, p.size)
	d.count(err)
	if err != nil {
		return
	}
	a := &admitted{d.house, pass}
	defer a.end()
	<-time.After(p.step)
	if p.failed {
		return
	}
	size := max(0, p.size-100)
	a.Received(size)
	for range p.steps {
		<-time.After(p.step)
		a.Done(size / int64(p.steps))
	}
}

func (d *day) count(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	full := (*spool.FullError)(nil)
	switch {
	case err == nil:
		d.in++
	case errors.Is(err, upload.ErrOverLimit):
		d.limited++
	case errors.Is(err, upload.ErrBusy):
		d.busy++
	case errors.As(err, &full):
		d.full++
	case errors.Is(err, upload.ErrClientGone):
		d.left++
	default:
		d.Errorf("ended with %v", err)
	}
}
