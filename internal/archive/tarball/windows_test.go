package tarball

import (
	"testing"
	"testing/synctest"
	"time"
)

// The memory of dead windows is given back when there is much of it, and a few seconds after the last.
func TestWindowsAreGivenBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		freed := 0
		w := discarded{free: func() { freed++ }}
		expect := func(want int) {
			t.Helper()
			synctest.Wait()
			if freed != want {
				t.Errorf("given back %d times, want %d", freed, want)
			}
		}
		w.discard(0)
		<-time.After(time.Hour)
		expect(0)
		w.discard(maxDiscarded - 1)
		expect(0)
		w.discard(1)
		expect(1)
		<-time.After(time.Hour)
		expect(1)
		w.discard(1)
		<-time.After(discardedFor / 2)
		w.discard(1)
		<-time.After(discardedFor / 2)
		expect(2)
		<-time.After(time.Hour)
		expect(2)
	})
}
