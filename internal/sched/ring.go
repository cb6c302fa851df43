package sched

import "container/heap"

// A ring serves flows in rounds, in each of which a flow may spend the quantum times its weight. It decides the order
// alone: what a flow's queue holds is its owner's business.
//
// A flow is ready (something may be served), idle (nothing waits, but what it has spent is remembered), or in neither
// heap: aside, which is for the owner to end. What always holds:
//
//   - 0 < f.deficit: a flow that has overdrawn is at once moved on to the round in which it has something to spend;
//   - f.round >= ring.round for each flow that is ready or idle, so that a flow that leaves and comes back in the
//     same round goes on with what was left, and one in debt waits as long as if it had stayed;
//   - an aside flow whose round has passed comes back as a newcomer does: it has nothing to gain by it.
//
// Where flows are passing, they come once and never again, and newcomers without end would be served before one in debt:
// the rounds go by the flows that are served, and each takes its debt along. There the round is at least what the bytes
// served come to, had the flows that were ready shared them: the virtual time of fair queuing (A. Demers, S. Keshav and
// S. Shenker, "Analysis and Simulation of a Fair Queueing Algorithm", SIGCOMM 1989). A flow that is ready may then be
// in a round that has passed, and is the next.
type ring[Q any] struct {
	quantum int64
	passing bool
	turn    int64 // the latest round of a flow that was served
	round   int64 // the same, or a later one where flows are passing
	clock   int64 // where flows are passing: bytes that each would have been served
	orders  int64 // given out so far
	known   map[int64]*flow[Q]
	ready   flows[Q]
	idle    flows[Q]
}

// A flow is what takes turns in a ring.
type flow[Q any] struct {
	id     int64
	weight int64
	queue  Q

	round   int64 // in which it may be served
	deficit int64 // what it may spend in that round
	fresh   bool  // it is a newcomer, not served before this round: it goes first
	order   int64 // among those of its round that are as fresh
	in      *flows[Q]
	place   int // in that heap
}

func newRing[Q any](quantum int64) *ring[Q] {
	return &ring[Q]{quantum: quantum, known: make(map[int64]*flow[Q])}
}

// flow returns the flow of that id, a new one where none is known. A new one is aside.
func (r *ring[Q]) flow(id, weight int64) *flow[Q] {
	f := r.known[id]
	if f == nil {
		f = &flow[Q]{id: id, round: r.round - 1}
		r.known[id] = f
	}
	f.weight = weight
	return f
}

// next returns the flow to serve, which remains in its place until it has paid, or nil.
func (r *ring[Q]) next() *flow[Q] {
	if len(r.ready) == 0 {
		return nil
	}
	return r.ready[0]
}

// wake makes f ready. A newcomer joins at the front of the next round; others go on in their round, as its last.
func (r *ring[Q]) wake(f *flow[Q]) {
	if f.in == &r.ready {
		return
	}
	r.aside(f)
	if f.round < r.round {
		f.round, f.deficit, f.fresh = r.round+1, r.share(f), true
	}
	// Who was served in this round has had its place at the front.
	f.fresh = f.fresh && f.round > r.round
	f.order = r.order()
	r.push(&r.ready, f)
}

// rest makes f idle, or forgets it when there is nothing to remember.
func (r *ring[Q]) rest(f *flow[Q]) {
	r.aside(f)
	if f.round < r.round {
		delete(r.known, f.id)
		return
	}
	r.push(&r.idle, f)
}

// aside takes f out of its heap; its owner has to wake it or to let it rest.
func (r *ring[Q]) aside(f *flow[Q]) {
	if f.in != nil {
		heap.Remove(f.in, f.place)
		f.in = nil
	}
}

// pay charges f, which is next, for what it was served. It may go into debt, and then waits for the round in
// which that is made up for. What it returns is for refund.
func (r *ring[Q]) pay(f *flow[Q], cost int64) (passed int64) {
	r.turn = max(r.turn, f.round)
	if r.passing {
		passed = cost / int64(len(r.ready))
		r.clock = max(r.clock, r.turn*r.quantum) + passed
	}
	if round := max(r.round, r.turn, r.clock/r.quantum); r.round < round {
		r.round = round
		r.forget()
	}
	f.deficit -= cost
	if f.deficit <= 0 {
		rounds := -f.deficit/r.share(f) + 1
		f.round += rounds
		f.deficit += rounds * r.share(f)
		f.fresh, f.order = false, r.order()
	}
	r.fix(f)
	return passed
}

// refund gives f back what it paid for nothing, as far as its rounds have not passed.
func (r *ring[Q]) refund(f *flow[Q], cost, passed int64) {
	if r.passing {
		r.clock -= passed
		r.round = max(r.turn, r.clock/r.quantum)
	}
	f.deficit += cost
	if earlier := min(f.round-r.round, (f.deficit-1)/r.share(f)); earlier > 0 {
		f.round -= earlier
		f.deficit -= earlier * r.share(f)
	}
	f.deficit = min(f.deficit, r.share(f))
	r.fix(f)
}

// forget drops the idle flows whose round has passed: they owe nothing, and have nothing left.
func (r *ring[Q]) forget() {
	for len(r.idle) > 0 && r.idle[0].round < r.round {
		f := r.idle[0]
		r.aside(f)
		delete(r.known, f.id)
	}
}

// reset forgets all flows; none may be in use.
func (r *ring[Q]) reset() {
	clear(r.known)
	r.ready, r.idle = nil, nil
}

func (r *ring[Q]) share(f *flow[Q]) int64 { return r.quantum * f.weight }

func (r *ring[Q]) order() int64 {
	r.orders++
	return r.orders
}

func (r *ring[Q]) push(h *flows[Q], f *flow[Q]) {
	f.in = h
	heap.Push(h, f)
}

func (r *ring[Q]) fix(f *flow[Q]) {
	if f.in != nil {
		heap.Fix(f.in, f.place)
	}
}

// flows is a heap by round, newcomers first, then by order.
type flows[Q any] []*flow[Q]

func (h flows[Q]) Len() int { return len(h) }

func (h flows[Q]) Less(i, j int) bool {
	a, b := h[i], h[j]
	switch {
	case a.round != b.round:
		return a.round < b.round
	case a.fresh != b.fresh:
		return a.fresh
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
