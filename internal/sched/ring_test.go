package sched

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"testing"
)

// A modelRing is a ring of flows that are always ready, with rounds that are stepped through one by one, as the papers
// have it.
type modelRing struct {
	quantum int64
	orders  int64
	flows   []*modelFlow
	round   []*modelFlow // whose turn is yet to come in this round
	turn    *modelFlow
}

type modelFlow struct {
	id, share, deficit, order int64
}

// serve returns whose turn it is, and charges it.
func (m *modelRing) serve(cost int64) int64 {
	for m.turn == nil || m.turn.deficit <= 0 {
		if len(m.round) == 0 {
			m.round = slices.SortedFunc(slices.Values(m.flows), func(a, b *modelFlow) int { return cmp.Compare(a.order, b.order) })
		}
		m.turn, m.round = m.round[0], m.round[1:]
		m.turn.deficit += m.turn.share
	}
	if m.turn.deficit -= cost; m.turn.deficit <= 0 {
		m.orders++
		m.turn.order = m.orders
	}
	return m.turn.id
}

func TestRoundsThatAreSkippedAreAsIfTheyHadBeenStepped(t *testing.T) {
	for seed := range uint64(50) {
		rng := rand.New(rand.NewPCG(seed, 1))
		r := newRing[int](1 + rng.Int64N(100))
		model := &modelRing{quantum: r.quantum}
		for id := range 1 + rng.Int64N(12) {
			f := r.flow(id, 1+rng.Int64N(4))
			r.wake(f)
			model.orders++
			model.flows = append(model.flows, &modelFlow{id: id, share: r.share(f), order: model.orders})
		}
		for n := range 2_000 {
			cost := 1 + rng.Int64N(r.quantum*50)
			f := r.next()
			r.pay(f, cost)
			if want := model.serve(cost); f.id != want {
				t.Fatalf("seed %d: task %d went to flow %d, with steps it goes to %d", seed, n, f.id, want)
			}
		}
	}
}

// order serves n tasks of that cost and returns whose turn it was.
func order[Q any](r *ring[Q], n int, cost int64) []int64 {
	var ids []int64
	for range n {
		f := r.next()
		r.pay(f, cost)
		ids = append(ids, f.id)
	}
	return ids
}

func wakeAll(r *ring[int], ids ...int64) {
	for _, id := range ids {
		r.wake(r.flow(id, 1))
	}
}

func TestFlowsTakeTurnsByBytes(t *testing.T) {
	r := newRing[int](10)
	r.wake(r.flow(1, 1))
	r.wake(r.flow(2, 3))
	want := []int64{1, 1, 2, 2, 2, 2, 2, 2, 1, 1, 2, 2, 2, 2, 2, 2}
	if got := order(r, len(want), 5); !slices.Equal(got, want) {
		t.Errorf("served %v, want %v", got, want)
	}
}

func TestADebtIsSatOut(t *testing.T) {
	r := newRing[int](10)
	wakeAll(r, 1, 2)
	r.pay(r.next(), 35) // a turn of 10, and 25 of debt: two rounds, and it has 5 in the third
	want := []int64{2, 2, 2, 1, 2, 1}
	if got := order(r, len(want), 10); !slices.Equal(got, want) {
		t.Errorf("served %v, want %v", got, want)
	}
}

func TestADebtCostsNothingWhenNobodyElseWaits(t *testing.T) {
	r := newRing[int](1)
	wakeAll(r, 1)
	for range 1_000 {
		r.pay(r.next(), maxCost) // stepping through these rounds would take a year
	}
	if r.round < 999*maxCost || r.next() == nil {
		t.Errorf("round %d", r.round)
	}
}

func TestANewcomerIsFirstInTheNextRound(t *testing.T) {
	r := newRing[int](10)
	wakeAll(r, 1, 2, 3)
	order(r, 3, 5) // flow 1 has had its turn, flow 2 is in the middle of its own
	wakeAll(r, 8, 9)
	want := []int64{2, 3, 3, 8, 8, 9, 9, 1, 1, 2, 2, 3, 3, 8, 8, 9, 9, 1}
	if got := order(r, len(want), 5); !slices.Equal(got, want) {
		t.Errorf("served %v, want %v", got, want)
	}
}

func TestANewcomerIsOneForOneTurn(t *testing.T) {
	r := newRing[int](10)
	wakeAll(r, 1, 2)
	order(r, 4, 5)
	wakeAll(r, 9)
	order(r, 1, 5)
	r.rest(r.flow(9, 1))
	wakeAll(r, 9) // in the middle of its turn: the rest of it comes last
	wakeAll(r, 8)
	want := []int64{1, 1, 2, 2, 9, 8, 8, 1, 1, 2, 2, 9, 9, 8, 8, 1}
	if got := order(r, len(want), 5); !slices.Equal(got, want) {
		t.Errorf("served %v, want %v", got, want)
	}
	r = newRing[int](10)
	wakeAll(r, 1, 2)
	order(r, 3, 10)
	wakeAll(r, 9)
	want = []int64{2, 9, 1, 2, 9, 1, 2, 9}
	if got := order(r, len(want), 10); !slices.Equal(got, want) {
		t.Errorf("served %v, want %v", got, want)
	}
}

func TestLeavingAndComingBackGainsNothing(t *testing.T) {
	r := newRing[int](10)
	wakeAll(r, 1, 2, 3)
	order(r, 1, 5)
	r.rest(r.flow(1, 1))
	wakeAll(r, 1) // with the half of its turn that is left, as the last of its round
	want := []int64{2, 2, 3, 3, 1, 2, 2, 3, 3, 1, 1}
	if got := order(r, len(want), 5); !slices.Equal(got, want) {
		t.Errorf("served %v, want %v", got, want)
	}
	r = newRing[int](10)
	wakeAll(r, 1, 2)
	order(r, 1, 35)
	r.rest(r.flow(1, 1))
	wakeAll(r, 1) // with its debt
	want = []int64{2, 2, 2, 1, 2, 1}
	if got := order(r, len(want), 10); !slices.Equal(got, want) {
		t.Errorf("in debt: served %v, want %v", got, want)
	}
}

func TestANewcomerThatWasNotServedRemainsOne(t *testing.T) {
	r := newRing[int](10)
	wakeAll(r, 1, 2)
	order(r, 1, 5)
	wakeAll(r, 9)
	r.rest(r.flow(9, 1)) // its first task was cancelled
	wakeAll(r, 9)
	want := []int64{1, 2, 2, 9, 9, 1}
	if got := order(r, len(want), 5); !slices.Equal(got, want) {
		t.Errorf("served %v, want %v", got, want)
	}
}

func TestFlowsAreForgottenWhenTheirRoundHasPassed(t *testing.T) {
	r := newRing[int](10)
	wakeAll(r, 1)
	for id := range int64(1_000) {
		wakeAll(r, 100+id)
		r.pay(r.next(), 5)
		r.pay(r.next(), 5)
		if f := r.known[100+id]; f != nil {
			r.rest(f)
		}
	}
	if len(r.known) > 4 {
		t.Errorf("%d flows are known", len(r.known))
	}
}

func TestARefundUndoesAPayment(t *testing.T) {
	for seed := range uint64(200) {
		rng := rand.New(rand.NewPCG(seed, 2))
		r := newRing[int](1 + rng.Int64N(20))
		wakeAll(r, 1, 2, 3)
		order(r, int(rng.Int64N(20)), 1+rng.Int64N(30))
		f := r.next()
		r.pay(f, 1) // moves the ring to the flow's round
		f = r.next()
		if f.round != r.round {
			continue // the refund could not bring it back to where nothing can be paid any more
		}
		round, deficit, cost := f.round, f.deficit, 1+rng.Int64N(500)
		r.pay(f, cost)
		r.refund(f, cost, 0)
		if f.round != round || f.deficit != deficit {
			t.Errorf("seed %d: round %d deficit %d, had been %d and %d", seed, f.round, f.deficit, round, deficit)
		}
	}
}

func TestARefundIsNoMoreThanARoundIsWorth(t *testing.T) {
	r := newRing[int](10)
	wakeAll(r, 1, 2)
	r.pay(r.next(), 45) // flow 1: to be paid in five rounds
	order(r, 3, 10)     // flow 2: three of them have passed
	r.refund(r.flow(1, 1), 45, 0)
	want := []int64{1, 2, 1, 2}
	if got := order(r, len(want), 10); !slices.Equal(got, want) {
		t.Errorf("served %v, want %v", got, want)
	}
}
