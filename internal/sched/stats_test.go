package sched

import (
	"math"
	"testing"
	"testing/synctest"
	"time"
)

func TestBusynessIsAnIntegralOverTheLastMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(Options{Slots: 4})
		expect := func(want, slack float64) {
			t.Helper()
			if got := s.Stats().Busyness; math.Abs(got-want) > slack {
				t.Errorf("after %v: busyness %.4f, want %.4f", s.now(), got, want)
			}
		}
		expect(0, 0)
		<-time.After(10 * time.Second)
		first := acquire(t, s, Task{})
		second := acquire(t, s, Task{})
		<-time.After(2500 * time.Millisecond)
		expect(2*2.5/4/12.5, 1e-9)
		second.Release()
		<-time.After(17500 * time.Millisecond) // 30 s: 2 slots for 2.5 s, 1 for 17.5
		expect(22.5/4/30, 1e-9)
		<-time.After(2 * time.Minute)
		expect(0.25, 1e-9)
		first.Release()
		<-time.After(30 * time.Second)
		expect(0.125, 0.25/60)
		<-time.After(30 * time.Second)
		expect(0, 0.25/60)
		<-time.After(24 * time.Hour)
		expect(0, 0)
	})
}
