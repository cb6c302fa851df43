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

func TestAWaitIsReportedWithASmallError(t *testing.T) {
	if got := longest(bucketOf(time.Millisecond - 1)); got != 0 {
		t.Errorf("less than a millisecond is reported as %v", got)
	}
	for wait := time.Millisecond; wait < 4*time.Hour; wait += wait/7 + 1 {
		if got := longest(bucketOf(wait)); got < wait-1 || float64(got) > 1.2*float64(wait) {
			t.Errorf("%v is reported as %v", wait, got)
		}
	}
	if got := longest(bucketOf(1000 * time.Hour)); got < 4*time.Hour {
		t.Errorf("a long wait is reported as %v", got)
	}
}

func TestWaitsAreOfTheLastMinuteAndOfThoseWhoWait(t *testing.T) {
	w := waits{arrivals: make(map[int64]int)}
	quantiles := func(now time.Duration) (p50, p95 time.Duration) {
		h := w.all(now)
		return h.quantile(0.5), h.quantile(0.95)
	}
	near := func(got, want time.Duration) bool {
		return got >= want && float64(got) <= 1.2*float64(want+arrivalsEvery)
	}
	if p50, p95 := quantiles(0); p50 != 0 || p95 != 0 {
		t.Errorf("without any: %v, %v", p50, p95)
	}
	for i := range 100 {
		w.add(5*time.Second, time.Duration(i)*time.Second)
	}
	if p50, p95 := quantiles(5 * time.Second); !near(p50, 49*time.Second) || !near(p95, 94*time.Second) {
		t.Errorf("of 0 to 99 s: %v, %v", p50, p95)
	}
	for range 300 {
		w.arrive(50 * time.Second)
	}
	if p50, _ := quantiles(55 * time.Second); !near(p50, 5*time.Second) {
		t.Errorf("with 300 that have been waiting for 5 s: %v", p50)
	}
	if p50, p95 := quantiles(110 * time.Second); !near(p50, time.Minute) || !near(p95, time.Minute) {
		t.Errorf("with those alone: %v, %v", p50, p95)
	}
	for range 300 {
		w.leave(50 * time.Second)
	}
	if p50, p95 := quantiles(110 * time.Second); p50 != 0 || p95 != 0 || len(w.arrivals) != 0 {
		t.Errorf("at the end: %v, %v, %v", p50, p95, w.arrivals)
	}
}
