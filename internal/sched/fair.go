package sched

import (
	"container/heap"
	"time"
)

const (
	// slotCost is what holding a slot costs, in bytes a second. It is about what one call to storage moves in that time where all is
	// well: there a task pays as much for its time as for its bytes. Were it much less, a tenant whose calls are slow would get most of
	// the slots; much more, and bytes would not count.
	slotCost = 16 << 20
	// mostTime is the most that is charged at once: time that a flow held slots in while no other flow wanted one is not to be paid for
	// later.
	mostTime = 10 * time.Second
)

// A fairQueue is a start-time fair queue (P. Goyal, H. M. Vin and H. Cheng, "Start-time Fair Queuing", SIGCOMM 1996). It serves flows in
// the order of their tags. Work moves a flow's tag on, the less the more it weighs: the bytes of a task when it begins, and time for as
// long as the flow holds slots. Virtual time is the tag of the flow that is next. A flow that comes, or comes back, is due at virtual
// time at the earliest: it gains nothing by having been away, and none that is served meanwhile goes before it again. A task of
// gigabytes costs no more operations than any other: virtual time jumps.
//
// Where flows are passing, they come once and never again, and newcomers without end would be served before one whose tag is ahead.
// There virtual time also goes on with the work that is done, by what each of the ready flows would have got of it: it is that of A. Demers,
// S. Keshav and S. Shenker, "Analysis and Simulation of a Fair Queueing Algorithm", SIGCOMM 1989.
//
// It decides the order alone: what a flow's queue holds is its owner's business. A flow is ready (something may be served), idle
// (nothing waits and it holds nothing, but its tag is ahead of virtual time), or in neither heap: aside.
type fairQueue[Q any] struct {
	passing bool
	virtual float64 // bytes of a flow of weight 1
	orders  int64   // given out so far
	known   map[int64]*flow[Q]
	ready   flows[Q]
	idle    flows[Q]
}

// A flow is what takes turns in a fair queue.
type flow[Q any] struct {
	id     int64
	weight float64 // 1 where flows are passing
	queue  Q

	rank  int           // while it is ready: those of a lower rank go first, whatever their tags
	tag   float64       // the virtual time at which it is due
	order int64         // among those with the same tag
	held  int           // slots
	paid  time.Duration // until when its tag counts the time that it has held them
	in    *flows[Q]
	place int // in that heap
}

func newFairQueue[Q any]() *fairQueue[Q] { return &fairQueue[Q]{known: make(map[int64]*flow[Q])} }

// flow returns the flow of that id, a new one where none is known. A new one is aside.
func (q *fairQueue[Q]) flow(id int64, weight float64) *flow[Q] {
	f := q.known[id]
	if f == nil {
		f = &flow[Q]{id: id}
		q.known[id] = f
	}
	f.weight = weight
	return f
}

// next returns the flow to serve, which remains in its place until it has paid, or nil. Tags only grow with time, so what is first by
// tags that are old is first once its own tag is that of now.
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

// advance moves virtual time on, and forgets the idle flows whose tags it has passed: they are as newcomers.
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

// rest sets f aside, or makes it idle where it holds nothing, or forgets it where there is nothing to remember either.
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

// refund gives f back what it was charged just now.
func (q *fairQueue[Q]) refund(f *flow[Q], work, passed float64) {
	q.virtual -= passed
	f.tag -= work / f.weight
	q.fix(f)
}

// hold changes how many slots f holds, by more.
func (q *fairQueue[Q]) hold(f *flow[Q], more int, now time.Duration) {
	q.settle(f, now)
	f.held += more
}

// settle charges f for the time that it has held its slots.
func (q *fairQueue[Q]) settle(f *flow[Q], now time.Duration) {
	held := min(now-f.paid, mostTime)
	f.paid = now
	if f.held > 0 && held > 0 {
		q.charge(f, float64(f.held)*held.Seconds()*slotCost)
	}
}

// charge charges f for work. What it returns is for refund.
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

// Push is heap.Interface's.
func (h *flows[Q]) Push(x any) {
	f := x.(*flow[Q])
	f.place = len(*h)
	*h = append(*h, f)
}

// Pop is heap.Interface's.
func (h *flows[Q]) Pop() any {
	last := len(*h) - 1
	f := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	return f
}
