package main

import (
	"context"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"tecken-upload/internal/config"
	"tecken-upload/internal/gate"
	"tecken-upload/internal/health"
	"tecken-upload/internal/sched"
	"tecken-upload/internal/spool"
	"tecken-upload/internal/upload"
)

// premises are an instance's gate, queues and disk, as far as saturation looks at them, on a disk of 3 GiB that nothing is written to.
type premises struct {
	*testing.T
	in    *instance
	spool *spool.Spool // where workspaces are, without a byte

	mu      sync.Mutex // guards what follows
	usage   spool.Usage
	hangs   chan struct{} // nil, or what measuring waits for
	backlog bool          // work waits for slots
}

// newPremises has 4 receiving slots, deadlines of 100 s, a slot in each queue, and two fetch slots. One tenant may have ten uploads.
func newPremises(t *testing.T, wait time.Duration) *premises {
	p := &premises{T: t, usage: spool.Usage{Budget: 3 << 30, Room: 3 << 30}}
	var err error
	if p.spool, err = spool.Open(filepath.Join(t.TempDir(), "spool"), spool.Options{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.spool.Close(); err != nil {
			t.Error(err)
		}
	})
	p.in = &instance{
		config: &config.Server{UploadTimeout: 100 * time.Second, StallAlarm: 5 * time.Second},
		disks: health.NewDisks(health.DisksConfig{Threshold: 1, Window: time.Second, Now: time.Now, Recovered: map[upload.Disk]func() bool{
			upload.DiskSpool: func() bool { return true },
		}}),
		usage: newLook(p.Usage),
		gate: gate.New(gate.Config{
			Leases: tenLeases{}, TenantUploads: 10, Spool: p, ReceivingSlots: 4, FetchSlots: 2, Wait: wait, Timeout: 100 * time.Second,
			Saturated: func() bool { p.mu.Lock(); defer p.mu.Unlock(); return p.backlog },
		}),
	}
	scheduler := func() *sched.Scheduler {
		return sched.New(sched.Options{Slots: 1, Runaways: 1, Lease: 20 * time.Second})
	}
	p.in.queues = queues{
		verify: queue{"verify", scheduler()}, publish: queue{"publish", scheduler()}, stream: queue{"stream", scheduler()},
	}
	return p
}

// tenLeases refuses tenant 10, as one that has reached its limit.
type tenLeases struct{}

func (tenLeases) Take(ctx context.Context, tenant int64, _ int) (func(), error) {
	if tenant == 10 {
		<-ctx.Done()
		return nil, context.Cause(ctx)
	}
	return func() {}, nil
}

func (p *premises) Create(ctx context.Context, size int64) (*spool.Workspace, error) {
	p.change(func() { p.usage.Held += size; p.usage.Room -= size })
	return p.spool.Create(ctx, 0)
}

func (p *premises) Usage(context.Context) (spool.Usage, error) {
	p.mu.Lock()
	hangs, usage := p.hangs, p.usage
	p.mu.Unlock()
	if hangs != nil {
		<-hangs
	}
	return usage, nil
}

func (p *premises) Contended() bool { return false }

func (p *premises) change(f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f()
}

// enter lets an upload in that there is room for. leave ends it.
func (p *premises) enter(tenant, size int64) (pass *gate.Pass, leave func()) {
	p.Helper()
	pass, err := p.in.gate.Enter(p.Context(), upload.Token{ID: tenant}, size)
	if err != nil {
		p.Error(err)
		return pass, func() {}
	}
	return pass, func() {
		p.change(func() { p.usage.Held -= size; p.usage.Room += size })
		if err := pass.Close(); err != nil {
			p.Error(err)
		}
	}
}

// refuse has an upload refused.
func (p *premises) refuse(tenant, size int64) {
	p.Helper()
	if _, err := p.in.gate.Enter(p.Context(), upload.Token{ID: tenant}, size); err == nil {
		p.Error("it was let in")
	}
}

func (p *premises) want(want float64, when string) {
	p.Helper()
	p.within(want, want, when)
}

func (p *premises) within(least, most float64, when string) {
	p.Helper()
	<-time.After(lookFresh)
	if got := p.in.saturation(p.Context()); got < least || got > most {
		p.Errorf("%s: the saturation is %v, want %v to %v", when, got, least, most)
	}
}

// hold takes the one slot of a queue for the first tenant.
func (p *premises) hold(q queue) *sched.Slot {
	p.Helper()
	slot, err := q.Acquire(p.Context(), sched.Task{Tenant: 1})
	if err != nil {
		p.Fatal(err)
	}
	return slot
}

// Incident: instances that had enough looked idle, so the autoscaler slept. Whatever keeps uploads out shows, and is over a minute
// after it is.
func TestSaturationIsOneWhereUploadsAreKeptOut(t *testing.T) {
	play(t, map[string]func(p *premises){
		"receiving slots": func(p *premises) {
			for i := range 3 {
				_, leave := p.enter(1, 1)
				defer leave()
				p.want(float64(i+1)/4, "some slots are taken")
			}
			p.refuse(10, 1)
			p.want(0.75, "a tenant has reached its own limit")
			p.refuse(1, 1)
			p.want(1, "one was refused, with a slot left to other tenants")
		},
		"the spool": func(p *premises) {
			_, leave := p.enter(1, 1800<<20)
			defer leave()
			p.want(1800.0/3072, "one is in the spool")
			p.refuse(2, 1800<<20)
			p.want(1, "there was no room for a second one")
		},
		"an upload that grows": func(p *premises) {
			p.change(func() { p.usage.Waiting = 1 })
			p.want(1, "it waits for room")
			p.change(func() { p.usage.Waiting = 0 })
		},
		"time": func(p *premises) {
			p.change(func() { p.backlog = true })
			p.in.gate.Stats() // observes it
			pass, leave := p.enter(1, 800<<20)
			defer leave()
			for range 30 {
				<-time.After(time.Second)
				pass.Done(10 << 20)
			}
			p.within(0.95, 1, "what is left takes 50 s, the half of a deadline")
			for range 25 {
				<-time.After(time.Second)
				pass.Done(10 << 20)
			}
			p.within(0.45, 0.55, "what is left takes half of that")
			p.refuse(1, 700<<20)
			p.want(1, "another one would not be done in time")
			p.change(func() { p.backlog = false })
		},
	})
}

// The same for what keeps admitted uploads from being done.
func TestSaturationIsOneWhereWorkIsStuck(t *testing.T) {
	play(t, map[string]func(p *premises){
		"a slot in use": func(p *premises) {
			<-time.After(45 * time.Second)
			slot := p.hold(p.in.queues.stream)
			<-time.After(15 * time.Second)
			slot.Release()
			p.within(0.24, 0.26, "for a quarter of the time")
		},
		"a fetch slot": func(p *premises) {
			pass, leave := p.enter(1, 1)
			defer leave()
			if err := pass.FetchSlot(p.Context()); err != nil {
				p.Fatal(err)
			}
			p.want(0.5, "one of two is taken")
		},
		"a queue that has stopped": func(p *premises) {
			slot := p.hold(p.in.queues.publish)
			<-time.After(2 * time.Minute) // its slot expires, and it does not end
			p.want(1, "the queue has stopped")
			slot.Release()
			p.want(0, "it has ended")
		},
		"a full disk": func(p *premises) {
			p.in.disks.Note(syscall.ENOSPC)
			p.want(1, "the heartbeats are red")
		},
		"a disk that hangs": func(p *premises) {
			hangs := make(chan struct{})
			p.change(func() { p.hangs = hangs })
			p.want(1, "it does not say what is on it")
			p.change(func() { p.hangs = nil })
			close(hangs)
		},
	})
}

// play tells stories that each begin, and end two minutes before, with nothing going on.
func play(t *testing.T, stories map[string]func(p *premises)) {
	for name, story := range stories {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newPremises(t, 0)
				p.want(0, "nothing is going on")
				story(p)
				<-time.After(2 * time.Minute)
				p.want(0, "it is over")
			})
		})
	}
}

// Who waits for room shows while it waits, and is nothing to be remembered once it is let in.
func TestSaturationIsOneWhileUploadsWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPremises(t, 10*time.Second)
		var leave [3]func()
		for i := range leave {
			_, leave[i] = p.enter(1, 1)
		}
		let := make(chan func())
		go func() { _, leave := p.enter(1, 1); let <- leave }()
		synctest.Wait()
		p.want(1, "one waits")
		leave[0]()
		last := <-let
		p.want(0.75, "it was let in")
		last()
		leave[1]()
		leave[2]()
		go p.refuse(10, 1)
		synctest.Wait()
		p.want(0, "one waits for its tenant's limit")
		<-time.After(10 * time.Second)
	})
}
