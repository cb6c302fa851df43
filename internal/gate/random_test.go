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

// Whatever comes, in whatever order: the bounds hold, nobody is left waiting for whom there is room, and in the end nothing is held.
func TestAnyDay(t *testing.T) {
	for seed := range uint64(4) {
		onSmallDisk(t, func(h *house) {
			d := &day{house: h, rand: rand.New(rand.NewPCG(seed, 1))}
			d.pass()
		}, func(c *Config) { c.Places, c.TenantUploads, c.Timeout = 6, 3, 40*time.Second })
	}
}

// day is many uploads. Its counts are what became of them.
type day struct {
	*house
	rand *rand.Rand
	wg   sync.WaitGroup

	mu                            sync.Mutex // guards what follows
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

// notForgotten fails the test where one who waits, though there is room, still does so after some ticks: hope and rates fade
// without telling anybody.
func (d *day) notForgotten(v *visit) {
	d.Helper()
	for range 4 {
		if v == nil {
			return
		}
		<-time.After(tick)
		synctest.Wait()
		if d.check() != v {
			return
		}
	}
	d.Errorf("one waits for whom there is room: %d bytes of tenant %d", v.size, v.tenant.id)
}

// inWork counts the uploads whose body has arrived.
func (g *Gate) inWork() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return int(g.inside.held - g.places.held)
}

// check looks at a moment in which nothing moves. It returns one who waits for whom there is room, or nil.
func (d *day) check() *visit {
	d.Helper()
	g := d.gate
	usage, saturated := g.measure(d.Context()), g.config.Saturated()
	g.mu.Lock()
	defer g.mu.Unlock()
	g.work.advance(time.Now(), saturated)
	var places, inside, leases int
	var bytes, left int64
	for _, t := range g.tenants {
		places += t.places
		inside += len(t.inside)
		leases += t.leases
		for v := range t.inside {
			bytes += v.size
			left += v.left
		}
		if t.leases > 3*g.config.TenantUploads || t.bytes < 0 {
			d.Errorf("a tenant has %d leases, %d bytes", t.leases, t.bytes)
		}
	}
	if places > g.config.Places || places != int(g.places.held) || inside != int(g.inside.held) || bytes != int64(g.bytes.held) ||
		left != g.unfinished || leases != g.leases || (g.promised == 0) != (usage.Waiting == 0) || usage.Live+usage.Waiting != inside {
		d.Errorf("%d places, %d uploads, %d bytes, %d to do, %d leases; the gate says %v, %v, %v, %d, %d, %d promised; the spool %+v",
			places, inside, bytes, left, leases, g.places.held, g.inside.held, g.bytes.held, g.unfinished, g.leases, g.promised, usage)
	}
	v, _ := g.next(g.look(usage, g.promised))
	return v
}

// plan is what an upload is going to do.
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
	place, err := d.gate.Enter(ctx, p.token, p.size)
	d.count(err)
	if err != nil {
		return
	}
	a := &admitted{d.house, place}
	defer a.end()
	<-time.After(p.step)
	if p.failed {
		return
	}
	size := max(0, p.size-100)
	a.Arrived(size)
	for range p.steps {
		<-time.After(p.step)
		a.Worked(size / int64(p.steps))
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
