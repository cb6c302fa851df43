package gate

import (
	"testing"
	"testing/synctest"
	"time"

	"tecken-upload/internal/upload"
)

// Each turn to be fetched takes 20 s.
func TestRetryAfterOfTurnsToBeFetched(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		if busy := h.gate.RefuseFetch(0, false); busy.RetryAfter != unknownRetry || busy.OverLimit {
			t.Errorf("where nothing was measured: %+v", busy)
		}
		for range 10 {
			ended := h.gate.Fetching()
			<-time.After(20 * time.Second)
			ended()
		}
		defer h.gate.Fetching()()
		h.near(h.gate.RefuseFetch(0, false).RetryAfter, 20*time.Second)
		h.near(h.gate.RefuseFetch(2, false).RetryAfter, time.Minute)
		if h.gate.Contended() {
			t.Error("contended for a turn that is none of the gate's")
		}
	})
}

// A tenant that has its share of the turns is told so, and is no reason for another instance.
func TestTurnsOfATenantsOwn(t *testing.T) {
	h := newHouse(t)
	own := h.gate.RefuseFetch(0, true)
	if at := h.gate.Stats().TurnedAway; !at.IsZero() || own.Lack != upload.LackFetch || !own.OverLimit {
		t.Errorf("%+v, turned away at %v", own, at)
	}
	other := h.gate.RefuseFetch(0, false)
	if h.gate.Stats().TurnedAway.IsZero() || other.OverLimit || other.Reason == own.Reason {
		t.Errorf("%q, like %q", other.Reason, own.Reason)
	}
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
