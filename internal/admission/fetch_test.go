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
