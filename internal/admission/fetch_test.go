package admission

import (
	"testing"
	"testing/synctest"
	"time"
)

// Each turn to be fetched takes 20 s.
func TestRetryAfterOfTurnsToBeFetched(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		if busy := h.gate.RefuseFetch(0); busy.RetryAfter != unknownRetry || busy.OverLimit {
			t.Errorf("where nothing was measured: %+v", busy)
		}
		for range 10 {
			ended := h.gate.Fetching()
			<-time.After(20 * time.Second)
			ended()
		}
		defer h.gate.Fetching()()
		h.near(h.gate.RefuseFetch(0).RetryAfter, 20*time.Second)
		h.near(h.gate.RefuseFetch(2).RetryAfter, time.Minute)
		if n := h.gate.Stats().Refused["fetch"]; n != 3 || h.gate.Contended() {
			t.Errorf("%d counted; contended %t", n, h.gate.Contended())
		}
	})
}

// What an archive has counts from when it is known.
func TestSizesThatBecomeKnown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		a := h.enter(1, -1)
		for _, step := range []struct {
			tell   func(int64)
			size   int64
			want   int64
			places int
		}{{func(int64) {}, 0, unknownSize, 1}, {a.Sized, 100 * mib, 100 * mib, 1}, {a.Arrived, 99 * mib, 99 * mib, 0}, {a.Sized, 7, 99 * mib, 0}} {
			step.tell(step.size)
			if st := h.gate.Stats(); st.Unfinished != step.want || st.PlacesUsed != step.places {
				t.Errorf("told of %d: counts as %d, with %d places", step.size, st.Unfinished, st.PlacesUsed)
			}
		}
		a.end()
	})
}
