package main

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"tecken-upload/internal/config"
	"tecken-upload/internal/sched"
	"tecken-upload/internal/upload"
)

// How long a task may hold its slot: we would rather lose a slow task than a slot. An upload's own deadline usually ends it first; these
// are for tasks that ignore it.
const (
	// leaseShare is the part of an upload's deadline for which a task may hold its slot, plus a second for each verifyRate or publishRate
	// bytes. Inflating does hundreds of megabytes a second; a call to storage includes all its attempts.
	leaseShare              = 4
	verifyRate, publishRate = 4 << 20, 256 << 10
	// leastLease is the least of it: a shorter deadline ends slow tasks itself, and its answer says how far the upload came.
	leastLease = 5 * time.Second
	// spareShare is the part of the memory of decoders that is for archives which still arrive, where slow clients hold it. They do without
	// if it is in use.
	spareShare = 4
	// streamSlack is how long a one-stream archive may hold its decoder beyond the upload's deadline.
	streamSlack = 30 * time.Second
	// stuckAfter is the time without movement after which a call to storage is stuck.
	stuckAfter = 5 * time.Second
	// taskGrace is how long a task may take to end once its slot has expired, before that is reported.
	taskGrace = 30 * time.Second
	// watchInterval is the interval of the watchdog's looks.
	watchInterval = time.Second
	// hangShare is the part of TECKEN_STALL_ALARM for which a tenant's calls may hang before an alarm. With others' work going on, the
	// queue is not stalled.
	hangShare = 2
	// maxRunaways bounds a queue's tasks that still run after their slots expired. Each may hold a thread of the operating
	// system, of which a Go program has 10,000.
	maxRunaways = 1000
)

// A queue is one kind of work.
type queue struct {
	name string // in metrics and reports
	*sched.Scheduler
}

// queues are the kinds of uploads' work.
type queues struct {
	verify, publish, stage, stream queue
}

// stageSlots is the number of calls to storage for archives that still arrive: fewer than for those that wait for nothing else.
func stageSlots(c *config.Server) int { return max(1, c.StorageSlots/2) }

func (in *instance) newQueues(ctx context.Context) queues {
	c := in.config
	memory := max(1, int((c.DecoderMemory-c.DecoderMemory/spareShare)/upload.DecoderSlot))
	return queues{
		verify:  in.newQueue(ctx, "verify", sched.Options{Slots: c.CPUSlots, Lease: c.UploadTimeout / leaseShare, MinRate: verifyRate}),
		publish: in.newQueue(ctx, "publish", sched.Options{Slots: c.StorageSlots, Lease: c.UploadTimeout / leaseShare, MinRate: publishRate, Stuck: stuckAfter}),
		stage:   in.newQueue(ctx, "stage", sched.Options{Slots: stageSlots(c), Lease: c.UploadTimeout / leaseShare, MinRate: publishRate, Stuck: stuckAfter}),
		stream: in.newQueue(ctx, "stream", sched.Options{
			Slots: memory, PerTenant: max(1, memory/2), Lease: c.UploadTimeout + streamSlack,
		}),
	}
}

func (in *instance) newQueue(ctx context.Context, name string, o sched.Options) queue {
	o.Lease = max(o.Lease, leastLease)
	o.Grace, o.Runaways = taskGrace, maxRunaways
	o.Lost = func(l sched.Loss) { in.tellLoss(ctx, name, l) }
	waits := prometheus.NewHistogram(prometheus.HistogramOpts{
		Name: "tecken_" + name + "_wait_seconds", Help: "To " + name + ": how long tasks waited for their slots.",
		Buckets: []float64{0.001, 0.01, 0.1, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300},
	})
	in.metrics.Register(waits)
	o.Waited = func(wait time.Duration) { waits.Observe(wait.Seconds()) }
	return queue{name: name, Scheduler: sched.New(o)}
}

// all returns the queues.
func (q *queues) all() []queue { return append(q.needed(), q.stage) }

// needed returns the queues that an upload can't do without.
func (q *queues) needed() []queue { return []queue{q.verify, q.publish, q.stream} }

// backlogged reports whether work waits for slots, and more slots would help.
func (q *queues) backlogged() bool {
	for _, queue := range q.needed() {
		if queue.Backlogged() {
			return true
		}
	}
	return false
}

// tellLoss reports an expired slot.
func (in *instance) tellLoss(ctx context.Context, name string, l sched.Loss) {
	facts := []slog.Attr{
		slog.String("queue", name), slog.Int64("tenant", l.Task.Tenant), slog.Int64("upload", l.Task.Upload),
		slog.Int64("bytes", l.Task.Cost), slog.Duration("elapsed", l.Held),
	}
	what, err := "a slot expired", sched.ErrLeaseExpired
	switch {
	case l.Panic != nil:
		what, err = "an abandoned task panicked", l.Panic
	case l.Again:
		what = "a task whose slot expired has not ended"
	}
	facts = append(facts, slog.Any("err", err))
	in.reporter.Error(name+": "+what, err, facts...)
	in.logger.LogAttrs(ctx, slog.LevelError, what, facts...)
}

// stalled returns an error for a queue in which nothing has ended for too long, or no more work starts; or nil.
func (in *instance) stalled(name string, s sched.Stats) error {
	switch {
	case s.Tripped: // then no task waits: each is refused
		return fmt.Errorf("the %s queue has stopped: %d tasks whose slot expired have not ended", name, s.Runaways)
	case s.Stalled > in.config.StallAlarm:
		return fmt.Errorf("the %s queue is stalled: tasks wait, and none has got on for %v", name, s.Stalled.Round(time.Second))
	}
	return nil
}

// An alarm is a fault of a queue.
type alarm struct {
	what  string
	err   error
	facts []slog.Attr
}

// A subject is a queue, or one tenant in it.
type subject struct {
	queue  string
	tenant int64 // 0: all
}

// alarms returns the faults of some queues.
func (in *instance) alarms(queues []queue) map[subject]alarm {
	alarms := make(map[subject]alarm)
	for _, q := range queues {
		s := q.Stats()
		facts := []slog.Attr{
			slog.String("queue", q.name), slog.Int("slots", s.Slots), slog.Int("busy", s.Busy), slog.Int("stuck", s.Stuck), slog.Int("waiting", s.Waiting),
		}
		if err := in.stalled(q.name, s); err != nil {
			alarms[subject{q.name, 0}] = alarm{"work is stalled", err, append(facts, slog.Duration("elapsed", s.Stalled))}
		}
		for _, h := range s.Hanging {
			if h.Lasts > in.config.StallAlarm/hangShare {
				err := fmt.Errorf("tenant %d: nothing in the %s queue has ended well for %v", h.Task.Tenant, q.name, h.Lasts.Round(time.Second))
				alarms[subject{q.name, h.Task.Tenant}] = alarm{"work of a tenant hangs", err, append(slices.Clone(facts),
					slog.Int64("tenant", h.Task.Tenant), slog.Int64("upload", h.Task.Upload), slog.Duration("elapsed", h.Lasts))}
			}
		}
	}
	return alarms
}

// checkQueue returns an error while a queue that uploads need has a fault.
func (in *instance) checkQueue(context.Context) error {
	for _, a := range in.alarms(in.queues.needed()) {
		return a.err
	}
	return nil
}

// watchQueues reports each fault of a queue, and its end, once each, until ctx ends.
func (in *instance) watchQueues(ctx context.Context) error {
	tick := time.NewTicker(watchInterval)
	defer tick.Stop()
	var told map[subject]alarm
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
		alarms := in.alarms(in.queues.all())
		for of, a := range alarms {
			if _, again := told[of]; !again {
				in.reporter.Error(of.queue+": "+a.what, a.err, a.facts...)
				in.logger.LogAttrs(ctx, slog.LevelError, a.what, append(a.facts, slog.Any("err", a.err))...)
			}
		}
		for of := range told {
			if _, lasts := alarms[of]; !lasts {
				in.logger.InfoContext(ctx, "work gets on again", "queue", of.queue, "tenant", of.tenant)
			}
		}
		told = alarms
	}
}
