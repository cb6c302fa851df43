package sched

import (
	"container/heap"
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// The simulations run the real Scheduler under a fake clock, unless they say otherwise. A slot moves slotRate bytes a
// second, give or take 30 %. Each prints one line for docs/performance.md:
//
//	go test -v -run Simulation ./internal/sched | grep figure:

const slotRate = 16 << 20

// A world is a simulated scheduler and what it began.
type world struct {
	*Scheduler
	wg sync.WaitGroup

	mu    sync.Mutex
	began []begin
}

// A begin is a task that got a slot.
type begin struct {
	tenant int
	cost   int64
	at     time.Duration
	held   time.Duration // its slot, unless it is stuck
	stuck  bool
}

func (w *world) record(b begin) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.began = append(w.began, b)
}

// serviceTime is how long a slot takes to move cost bytes.
func serviceTime(rng *rand.Rand, cost int64) time.Duration {
	rate := slotRate * (0.7 + 0.6*rng.Float64())
	return time.Duration(float64(max(cost, minCost)) / rate * float64(time.Second))
}

// smallSize is a member of at most 4 MiB.
func smallSize(rng *rand.Rand) int64 { return minCost + rng.Int64N(4<<20-minCost+1) }

// keepPosting has a tenant post files of at most 4 MiB, so many at a time, until ctx ends.
func (w *world) keepPosting(ctx context.Context, tenant, weight, files int) {
	for i := range files {
		rng := rand.New(rand.NewPCG(uint64(tenant), uint64(i)))
		w.wg.Go(func() {
			for ctx.Err() == nil {
				w.post(ctx, Task{Tenant: int64(tenant), Weight: weight, Upload: int64(i % 4), Cost: smallSize(rng)}, rng)
			}
		})
	}
}

// post does one task.
func (w *world) post(ctx context.Context, task Task, rng *rand.Rand) {
	slot, err := w.Acquire(ctx, task)
	if err != nil {
		return
	}
	defer slot.Release()
	held := serviceTime(rng, task.Cost)
	w.record(begin{tenant: int(task.Tenant), cost: max(task.Cost, minCost), at: slot.req.start, held: held})
	<-time.After(held)
}

// simulate has tenants do what they do for so long.
func simulate(t *testing.T, o Options, lasts time.Duration, tenants func(context.Context, *world)) (w *world) {
	synctest.Test(t, func(t *testing.T) {
		w = &world{Scheduler: New(o)}
		ctx, cancel := context.WithTimeout(t.Context(), lasts)
		defer cancel()
		tenants(ctx, w)
		w.wg.Wait()
		expectIdle(t, w.Scheduler)
	})
	return w
}

// jain is Jain's fairness index: 1 when all are equal, 1/n when one has everything.
func jain(bytes []float64) float64 {
	var sum, squares float64
	for _, x := range bytes {
		sum += x
		squares += x * x
	}
	return sum * sum / (float64(len(bytes)) * squares)
}

func TestSimulationOfOneThatPostsAHundredTimesAsMuch(t *testing.T) {
	const tenants, lasts, window = 10, time.Minute, 5 * time.Second
	w := simulate(t, Options{Slots: 8}, lasts, func(ctx context.Context, w *world) {
		w.keepPosting(ctx, 0, 1, 800)
		for i := 1; i < tenants; i++ {
			w.keepPosting(ctx, i, 1, 8)
		}
	})
	worst := 1.0
	for from := time.Second; from+window <= lasts; from += 100 * time.Millisecond {
		bytes := make([]float64, tenants)
		for _, b := range w.began {
			if b.at >= from && b.at < from+window {
				bytes[b.tenant] += float64(b.cost)
			}
		}
		worst = min(worst, jain(bytes))
	}
	t.Logf("figure: Jain index over bytes, 10 tenants, one with 100 x the files, members <= 4 MiB, worst 5 s window: %.4f", worst)
	if worst < 0.98 {
		t.Errorf("Jain index %.4f", worst)
	}
}

// realUpload has the sizes of an upload's members: archives of about 264 MB to 1.28 GB with a median of 529, of about
// 104 members, one to three of which hold 95 % of the bytes.
func realUpload(rng *rand.Rand) []int64 {
	size := min(max(529e6*math.Exp(0.586*rng.NormFloat64()), 200e6), 1281e6)
	large, small := 1+rng.IntN(3), 60+rng.IntN(88)
	var members []int64
	for range large {
		members = append(members, int64(0.95*size)/int64(large))
	}
	for range small {
		members = append(members, int64(0.05*size)/int64(small))
	}
	rng.Shuffle(len(members), func(i, j int) { members[i], members[j] = members[j], members[i] })
	return members
}

// keepUploading has a tenant post whole uploads, so many at a time, all members of each at once.
func (w *world) keepUploading(ctx context.Context, tenant, uploads int) {
	for i := range uploads {
		rng := rand.New(rand.NewPCG(uint64(tenant), uint64(i)))
		w.wg.Go(func() {
			for upload := int64(i); ctx.Err() == nil; upload += int64(uploads) {
				var members sync.WaitGroup
				for _, size := range realUpload(rng) {
					own := rand.New(rand.NewPCG(rng.Uint64(), 0))
					members.Go(func() { w.post(ctx, Task{Tenant: int64(tenant), Upload: upload, Cost: size}, own) })
				}
				members.Wait()
			}
		})
	}
}

func TestSimulationOfRealSizes(t *testing.T) {
	const tenants, lasts = 10, 5 * time.Minute
	w := simulate(t, Options{Slots: 16}, lasts, func(ctx context.Context, w *world) {
		for i := range tenants {
			w.keepUploading(ctx, i, 4)
		}
	})
	got := newShares(slices.Repeat([]int64{1}, tenants)...)
	for _, b := range w.began {
		if b.at > time.Second && b.at < lasts { // from when all had come
			got.add(b.tenant, b.cost)
		}
	}
	worst := got.worst()
	t.Logf("figure: real sizes, 10 tenants, %d members, %d GB, largest %d MB: worst deviation from the share over any interval, "+
		"as a part of 2 x the largest: %.2f", len(w.began), got.total/1e9, got.largest/1e6, worst)
	if worst > 1 {
		t.Errorf("%.2f times what is guaranteed", worst)
	}
}

func TestSimulationOfWeights(t *testing.T) {
	const lasts = time.Minute
	weights := []int{3, 1, 1, 1}
	w := simulate(t, Options{Slots: 8}, lasts, func(ctx context.Context, w *world) {
		for i, weight := range weights {
			w.keepPosting(ctx, i, weight, 32)
		}
	})
	var bytes [4]float64
	for _, b := range w.began {
		if b.at < lasts {
			bytes[b.tenant] += float64(b.cost)
		}
	}
	for i := 1; i < len(weights); i++ {
		ratio := bytes[0] / bytes[i]
		t.Logf("figure: bytes of the tenant of weight 3 to those of tenant %d of weight 1: %.3f", i, ratio)
		if ratio < 3*0.95 || ratio > 3*1.05 {
			t.Errorf("ratio %.3f", ratio)
		}
	}
}

func TestSimulationOfTasksThatAreStuckForEver(t *testing.T) {
	const slots, lasts, alarm = 16, 10 * time.Minute, time.Minute
	never := make(chan struct{})
	opts := Options{Slots: slots, Lease: 10 * time.Second, MinRate: 1 << 20, Patience: time.Second}
	var stalled time.Duration
	var w *world
	synctest.Test(t, func(t *testing.T) {
		never = make(chan struct{})
		w = &world{Scheduler: New(opts)}
		ctx, cancel := context.WithTimeout(t.Context(), lasts)
		defer cancel()
		for i := range 80 {
			w.wg.Go(func() { w.halfStuck(ctx, i, never) })
		}
		for ctx.Err() == nil {
			<-time.After(time.Second)
			stalled = max(stalled, w.Stats().Stalled)
		}
		w.wg.Wait()
		close(never)
		synctest.Wait()
		expectIdle(t, w.Scheduler)
	})
	left, good, stuck := float64(slots)*lasts.Seconds(), 0.0, 0
	for _, b := range w.began {
		if b.stuck {
			stuck++
			left -= max(min(opts.lease(Task{Cost: b.cost}), lasts-b.at).Seconds(), 0)
		} else {
			good += max(min(b.held, lasts-b.at).Seconds(), 0)
		}
	}
	t.Logf("figure: %d of %d tasks stuck for ever: the rest used %.1f %% of the slot time that leases in force left; longest time without one ending %v",
		stuck, len(w.began), 100*good/left, stalled)
	if good < 0.95*left || stalled >= alarm {
		t.Errorf("the rest used %.1f of %.1f s of slots, stalled for %v", good, left, stalled)
	}
}

// halfStuck posts tasks, half of which never end.
func (w *world) halfStuck(ctx context.Context, i int, never <-chan struct{}) {
	rng := rand.New(rand.NewPCG(uint64(i), 5))
	for ctx.Err() == nil {
		task := Task{Tenant: int64(i % 4), Upload: int64(i), Cost: smallSize(rng)}
		b := begin{tenant: int(task.Tenant), cost: task.Cost, held: serviceTime(rng, task.Cost), stuck: rng.IntN(2) == 0}
		_ = w.Run(ctx, task, func(_ context.Context, slot *Slot) error {
			b.at = slot.req.start
			w.record(b)
			if b.stuck {
				<-never
			} else {
				<-time.After(b.held)
			}
			return nil
		})
	}
}

// A hall is a backlog and its slots without goroutines, for more tasks than a bubble can hold: time is that of the
// next event.
type hall struct {
	*backlog
	slots   int
	now     time.Duration
	running ends
	rng     *rand.Rand
}

type end struct {
	at time.Duration
	r  *request
}

// step ends the task that ends next, and returns those that are then begun.
func (h *hall) step() (ended *request, begun []*request) {
	if len(h.running) > 0 && h.busy == h.slots {
		e := heap.Pop(&h.running).(end)
		h.now, ended = e.at, e.r
		h.done(e.r, true, h.now)
	}
	for h.busy < h.slots {
		r := h.pop(h.now)
		if r == nil {
			break
		}
		heap.Push(&h.running, end{at: h.now + serviceTime(h.rng, r.task.Cost), r: r})
		begun = append(begun, r)
	}
	return ended, begun
}

// TestSimulationOfANewcomer drives the queue alone: 100,000 goroutines would measure the machine.
func TestSimulationOfANewcomer(t *testing.T) {
	t.Run("members of at most 4 MiB", func(t *testing.T) { simulateNewcomers(t, "members <= 4 MiB", smallSize) })
	var sizes []int64
	for rng := rand.New(rand.NewPCG(2, 6)); len(sizes) < 10_000; {
		sizes = append(sizes, realUpload(rng)...)
	}
	t.Run("real sizes", func(t *testing.T) {
		simulateNewcomers(t, "real sizes", func(rng *rand.Rand) int64 { return sizes[rng.IntN(len(sizes))] })
	})
}

func simulateNewcomers(t *testing.T, name string, size func(*rand.Rand) int64) {
	const tenants, backlogged, newcomers = 5, 100_000, 1_000
	rng := rand.New(rand.NewPCG(1, 6))
	h := &hall{backlog: newBacklog(Options{Slots: 1 << 20, PerTenant: 8, Queue: backlogged}), slots: 8, rng: rng}
	queue := func() {
		pushAt(t, h.backlog, Task{Tenant: rng.Int64N(tenants), Upload: rng.Int64N(4), Cost: size(rng)}, h.now)
	}
	for range backlogged {
		queue()
	}
	var waits []time.Duration
	for i := range newcomers {
		for range rng.IntN(40) {
			if _, begun := h.step(); len(begun) > 0 {
				queue()
			}
		}
		arrived, id := h.now, int64(1_000+i)
		pushAt(t, h.backlog, Task{Tenant: id, Cost: size(rng)}, h.now)
		waits = append(waits, untilServed(t, h, id, queue)-arrived)
	}
	slices.Sort(waits)
	if n := len(h.tenants.known); n > newcomers/4 {
		t.Errorf("%d tenants are known, of %d that had one task each", n, newcomers)
	}
	t.Logf("figure: wait of a newcomer for its first slot of 8, against 100,000 files of 5 tenants, %s: p50 %v, p99 %v, worst %v",
		name, waits[len(waits)/2].Round(time.Millisecond), waits[len(waits)*99/100].Round(time.Millisecond), waits[len(waits)-1].Round(time.Millisecond))
}

// untilServed returns when the newcomer got its slot. Until then others may be served that are due as well, and came first: once each.
func untilServed(t *testing.T, h *hall, id int64, queue func()) time.Duration {
	t.Helper()
	due := make(map[int64]bool)
	for _, f := range h.tenants.known {
		due[f.id] = f.tag <= h.tenants.virtual
	}
	for {
		_, begun := h.step()
		for _, r := range begun {
			queue()
			if r.task.Tenant == id {
				return h.now
			}
			if !due[r.task.Tenant] {
				t.Fatalf("tenant %d had its turn, and was served before newcomer %d", r.task.Tenant, id)
			}
			due[r.task.Tenant] = false
		}
	}
}

// ends is a heap by time.
type ends []end

func (h ends) Len() int           { return len(h) }
func (h ends) Less(i, j int) bool { return h[i].at < h[j].at }
func (h ends) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *ends) Push(x any)        { *h = append(*h, x.(end)) }
func (h *ends) Pop() any {
	e := (*h)[len(*h)-1]
	*h = (*h)[:len(*h)-1]
	return e
}

// TestSimulationOfTheCost measures the queue alone, by the real clock; BenchmarkTask has the whole way of a task.
func TestSimulationOfTheCost(t *testing.T) {
	const queued, turns = 10_000, 20_000
	line := "figure: queue, choose and free a task, 10,000 queued:"
	for _, tenants := range []int{10, 100, 1_000, 10_000} {
		b := newBacklog(Options{Slots: 1 << 20, PerTenant: 1, Queue: queued})
		for i := range queued {
			push(t, b, Task{Tenant: int64(i % tenants), Cost: int64(i%64) << 16})
		}
		start := time.Now()
		for range turns {
			push(t, b, popped(b).task)
		}
		line += fmt.Sprintf(" %d tenants %v;", tenants, (time.Since(start) / turns).Round(10*time.Nanosecond))
	}
	t.Log(line)
}
