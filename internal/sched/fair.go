package sched

import (
	"container/heap"
	"time"
)

const (
	// slotCost is the cost of holding a slot, in bytes a second. It is about what one call to storage moves when all is well: then a task
	// pays as much for its time as for its bytes. With much less, a tenant of slow calls would get most of the slots; with much more, bytes
	// would not count.
	slotCost = 16 << 20
	// mostTime bounds a charge: a flow need not pay later for time in which no other flow wanted its slots.
	mostTime = 10 * time.Second
)

// A fairQueue is a start-time fair queue (P. Goyal, H. M. Vin and H. Cheng, "Start-time Fair Queuing", SIGCOMM 1996). It serves flows in
// the order of their tags. Work moves a flow's tag on, the less the greater its weight: the bytes of a task when it begins, and time as
// long as the flow holds slots. Virtual time is the tag of the next flow. A flow that comes, or comes back, is due at virtual time at the
// earliest: it gains nothing by its absence, and none that is served meanwhile passes it again. A task of gigabytes costs no more
// operations than any other: virtual time jumps.
//
// Passing flows come once and never again; with them, endless newcomers would be served before one with a later tag. There virtual time
// also moves with the work done, by each ready flow's share of it: it is that of A. Demers, S. Keshav and S. Shenker, "Analysis and
// Simulation of a Fair Queueing Algorithm", SIGCOMM 1989.
//
// It decides the order alone; the owner fills a flow's queue. A flow is ready (something may be served), idle (nothing waits and it holds
// nothing, but its tag is ahead of virtual time), or aside, in neither heap.
type fairQueue[Q any] struct {
	passing bool
	virtual float64 // bytes of a flow of weight 1
	orders  int64   // given out so far
	known   map[int64]*flow[Q]
	ready   flows[Q]
	idle    flows[Q]
}

// A flow is a member of a fair queue.
type flow[Q any] struct {
	id     int64
	weight float64 // 1 for passing flows
	queue  Q

	rank  int           // while ready: lower ranks go first, whatever their tags
	tag   float64       // the virtual time at which it is due
	order int64         // among equal tags
	held  int           // slots
	paid  time.Duration // its tag includes the time of its slots until then
	in    *flows[Q]
	place int // in that heap
}

func newFairQueue[Q any]() *fairQueue[Q] { return &fairQueue[Q]{known: make(map[int64]*flow[Q])} }

// flow returns the flow of that id. A new one is aside.
func (q *fairQueue[Q]) flow(id int64, weight float64) *flow[Q] {
	f := q.known[id]
	if f == nil {
		f = &flow[Q]{id: id}
		q.known[id] = f
	}
	f.weight = weight
	return f
}

// next returns the flow to serve, or nil. It stays in its heap until it has paid. Tags only grow with time, so the first by old tags is the
// first once its own tag is up to date.
func (q *fairQueue[Q]) next(now time.Duration) *flow[Q] {
	for len(q.ready) > 0 {
		f := q.ready[0]
		if f.held == 0 || f.paid >= now {
			q.advance(f.tag)
			return f
		}
		q.settle(f, now)
	}
	return nil
}

// advance moves virtual time on, and forgets the idle flows with earlier tags: they are newcomers again.
func (q *fairQueue[Q]) advance(to float64) {
	q.virtual = max(q.virtual, to)
	for len(q.idle) > 0 && q.idle[0].tag <= q.virtual {
		f := q.idle[0]
		q.aside(f)
		delete(q.known, f.id)
	}
}

// wake makes f ready, in that rank.
func (q *fairQueue[Q]) wake(f *flow[Q], rank int) {
	if f.in == &q.ready && f.rank == rank {
		return
	}
	q.aside(f)
	q.orders++
	f.rank, f.tag, f.order = rank, max(f.tag, q.virtual), q.orders
	q.push(&q.ready, f)
}

// rest sets f aside, or makes it idle if it holds nothing, or forgets it if it has no debt either.
func (q *fairQueue[Q]) rest(f *flow[Q]) {
	q.aside(f)
	switch {
	case f.held > 0:
	case f.tag <= q.virtual:
		delete(q.known, f.id)
	default:
		f.rank = 0
		q.push(&q.idle, f)
	}
}

// aside takes f out of its heap.
func (q *fairQueue[Q]) aside(f *flow[Q]) {
	if f.in != nil {
		heap.Remove(f.in, f.place)
		f.in = nil
	}
}

// refund returns f's last charge.
func (q *fairQueue[Q]) refund(f *flow[Q], work, passed float64) {
	q.virtual -= passed
	f.tag -= work / f.weight
	q.fix(f)
}

// hold adds to the number of f's slots.
func (q *fairQueue[Q]) hold(f *flow[Q], more int, now time.Duration) {
	q.settle(f, now)
	f.held += more
}

// settle charges f for the time of its slots.
func (q *fairQueue[Q]) settle(f *flow[Q], now time.Duration) {
	held := min(now-f.paid, mostTime)
	f.paid = now
	if f.held > 0 && held > 0 {
		q.charge(f, float64(f.held)*held.Seconds()*slotCost)
	}
}

// charge charges f for work. Its result is for refund.
func (q *fairQueue[Q]) charge(f *flow[Q], work float64) (passed float64) {
	f.tag += work / f.weight
	if q.passing {
		flows := len(q.ready)
		if f.in != &q.ready {
			flows++
		}
		passed = work / float64(flows)
		q.virtual += passed
	}
	q.fix(f)
	return passed
}

// reset forgets all flows; none may be in use.
func (q *fairQueue[Q]) reset() {
	clear(q.known)
	q.ready, q.idle, q.virtual = nil, nil, 0
}

func (q *fairQueue[Q]) push(h *flows[Q], f *flow[Q]) {
	f.in = h
	heap.Push(h, f)
}

func (q *fairQueue[Q]) fix(f *flow[Q]) {
	if f.in != nil {
		heap.Fix(f.in, f.place)
	}
}

// flows is a heap by rank, then by tag, then by order.
type flows[Q any] []*flow[Q]

func (h flows[Q]) Len() int { return len(h) }

func (h flows[Q]) Less(i, j int) bool {
	a, b := h[i], h[j]
	switch {
	case a.rank != b.rank:
		return a.rank < b.rank
	case a.tag != b.tag:
		return a.tag < b.tag
	default:
		return a.order < b.order
	}
}

func (h flows[Q]) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].place, h[j].place = i, j
}

// Push implements heap.Interface.
func (h *flows[Q]) Push(x any) {
	f := x.(*flow[Q])
	f.place = len(*h)
	*h = append(*h, f)
}

// Pop implements heap.Interface.
func (h *flows[Q]) Pop() any {
	last := len(*h) - 1
	f := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	return f
}
