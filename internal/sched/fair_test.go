package sched

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// A modelFlow is a flow with an up-to-date tag.
type modelFlow struct {
	rank, held  int
	weight, tag float64
}

// TestTheNextIsTheFirstOfAll has flows that are always ready begin and end tasks at random moments, in less time than is charged at
// once, and looks for the next among all of them.
func TestTheNextIsTheFirstOfAll(t *testing.T) {
	for seed := range uint64(50) {
		rng := rand.New(rand.NewPCG(seed, 1))
		q, model, now := newFairQueue[int](), []*modelFlow{}, time.Duration(0)
		for id := range 1 + rng.IntN(12) {
			m := &modelFlow{rank: rng.IntN(2), weight: float64(1 + rng.IntN(4))}
			q.wake(q.flow(int64(id), m.weight), m.rank)
			model = append(model, m)
		}
		for n := range 2_000 {
			step := time.Duration(rng.Int64N(int64(mostTime / 2_000)))
			now += step
			first := model[0]
			for _, m := range model {
				m.tag += float64(m.held) * step.Seconds() * slotCost / m.weight
				if m.rank < first.rank || m.rank == first.rank && m.tag < first.tag {
					first = m
				}
			}
			f := q.next(now)
			m := model[f.id]
			if m.rank != first.rank || math.Abs(m.tag-first.tag) > 1 { // byte: sums differ by their rounding
				t.Fatalf("seed %d, task %d: next is %+v, and first of all %+v", seed, n, m, first)
			}
			cost := float64(1 + rng.Int64N(64<<20))
			q.charge(f, cost)
			q.hold(f, 1, now)
			m.tag += cost / m.weight
			m.held++
			if id := rng.IntN(len(model)); model[id].held > 0 {
				q.hold(q.flow(int64(id), model[id].weight), -1, now)
				model[id].held--
			}
		}
	}
}

// serve serves tasks of that cost, and compares their flows.
func serve(t *testing.T, q *fairQueue[int], cost float64, want ...int64) {
	t.Helper()
	var got []int64
	for range want {
		f := q.next(0)
		q.charge(f, cost)
		got = append(got, f.id)
	}
	if !slices.Equal(got, want) {
		t.Errorf("served %v, want %v", got, want)
	}
}

func wakeAll(q *fairQueue[int], ids ...int64) {
	for _, id := range ids {
		q.wake(q.flow(id, 1), 0)
	}
}

func TestFlowsTakeTurnsByBytes(t *testing.T) {
	q := newFairQueue[int]()
	q.wake(q.flow(1, 1), 0)
	q.wake(q.flow(2, 3), 0)
	serve(t, q, 6, 1, 2, 2, 2, 1, 2, 2, 2)
}

func TestADebtIsSatOut(t *testing.T) {
	q := newFairQueue[int]()
	wakeAll(q, 1, 2)
	serve(t, q, 30, 1)
	serve(t, q, 10, 2, 2, 2, 1, 2)
	wakeAll(q, 3)
	for range 1_000 {
		q.charge(q.next(0), maxCost) // virtual time jumps
	}
}

func TestANewcomerIsFirst(t *testing.T) {
	q := newFairQueue[int]()
	wakeAll(q, 1, 2, 3)
	serve(t, q, 5, 1, 2)
	wakeAll(q, 8, 9) // after flow 3, which is due as well and came first
	serve(t, q, 5, 3, 8, 9, 1, 2, 3, 8, 9, 1)
}

func TestLeavingAndComingBackGainsNothing(t *testing.T) {
	q := newFairQueue[int]()
	wakeAll(q, 1, 2, 3)
	serve(t, q, 35, 1)
	q.rest(q.flow(1, 1))
	wakeAll(q, 1) // with what it owes
	serve(t, q, 10, 2, 3, 2, 3, 2, 3, 2, 3, 1)
	q.rest(q.flow(2, 1))
	serve(t, q, 10, 3, 1, 3, 1, 3)
	wakeAll(q, 2) // with nothing saved
	serve(t, q, 10, 2, 1, 3, 2, 1, 3)
}

// A newcomer that left before it was served is one still.
func TestANewcomerThatWasNotServedRemainsOne(t *testing.T) {
	q := newFairQueue[int]()
	wakeAll(q, 1, 2)
	serve(t, q, 5, 1)
	wakeAll(q, 9)
	q.rest(q.flow(9, 1))
	wakeAll(q, 9)
	serve(t, q, 5, 2, 9, 1)
}

func TestTimeIsChargedForSlotsThatAreHeld(t *testing.T) {
	q := newFairQueue[int]()
	wakeAll(q, 1, 2, 3)
	for range 2 {
		q.hold(q.flow(1, 1), 1, 0)
	}
	q.hold(q.flow(2, 1), 1, 0)
	for at, want := range map[time.Duration]int64{time.Second: 3, 2 * time.Second: 3} {
		if f := q.next(at); f.id != want {
			t.Errorf("after %v flow %d is next", at, f.id)
		}
	}
	q.rest(q.flow(3, 1))
	if f := q.next(3 * time.Second); f.id != 2 || f.tag != 3*slotCost {
		t.Errorf("of flows that hold 2 slots and 1, %d is next, with tag %v", f.id, f.tag)
	}
	q.hold(q.flow(1, 1), -2, 3*time.Second)
	q.hold(q.flow(2, 1), 4, 3*time.Second)
	if f := q.next(4 * time.Second); f.id != 1 || f.tag != 6*slotCost {
		t.Errorf("flow %d is next, with tag %v", f.id, f.tag)
	}
	// A flow that held slots for an hour while no other wanted any does not pay for that.
	q.rest(q.flow(1, 1))
	if f := q.next(time.Hour); f.id != 2 || f.tag != (8+5*10)*slotCost {
		t.Errorf("flow %d is next, with tag %v", f.id, f.tag/slotCost)
	}
}

// Where the only flow that waits has held its slots for long, one that comes is not ahead of it by that.
func TestVirtualTimeGoesOnWithTime(t *testing.T) {
	q := newFairQueue[int]()
	wakeAll(q, 1)
	q.hold(q.flow(1, 1), 1, 0)
	for at := range 100 {
		q.next(time.Duration(at) * time.Second)
	}
	wakeAll(q, 2)
	if got := q.flow(2, 1).tag; got != 99*slotCost {
		t.Errorf("it is due at %v", got)
	}
}

func TestLowerRanksGoFirst(t *testing.T) {
	q := newFairQueue[int]()
	wakeAll(q, 1, 2)
	q.wake(q.flow(3, 1), 1)
	serve(t, q, 10, 1, 2, 1, 2)
	q.wake(q.flow(3, 1), 0) // has saved nothing
	serve(t, q, 10, 3, 1, 2, 3, 1, 2)
}

func TestFlowsAreForgottenWhenTheirTagHasPassed(t *testing.T) {
	q := newFairQueue[int]()
	wakeAll(q, 1)
	for id := range int64(1_000) {
		f := q.flow(100+id, 1)
		q.wake(f, 0)
		q.charge(f, 5)
		q.rest(f)
		q.charge(q.next(0), 5)
	}
	if len(q.known) > 4 {
		t.Errorf("%d flows are known", len(q.known))
	}
	held := q.flow(2, 1)
	q.hold(held, 1, 0)
	q.rest(held)
	if q.known[2] != held {
		t.Error("a flow that holds a slot is forgotten")
	}
}

// Where flows are passing, virtual time goes on with the work that is done, and back with work that is not.
func TestNewcomersWithoutEndDoNotKeepOneOut(t *testing.T) {
	q := newFairQueue[int]()
	q.passing = true
	wakeAll(q, 0, 1, 2, 3)
	served := make(map[bool]int)
	for id := int64(4); id < 404; id++ {
		f := q.next(0)
		passed := q.charge(f, 1<<40)
		q.refund(f, 1<<40, passed)
		q.charge(f, 8)
		served[f.id == 0]++
		if f.id != 0 {
			q.rest(f)
			wakeAll(q, id)
		}
	}
	if served[true] < 95 || served[true] > 105 {
		t.Errorf("the one that stays was served %d times of 400, beside three others", served[true])
	}
}
