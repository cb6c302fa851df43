package sched

import (
	"math"
	"time"
)

const (
	shortestWait  = time.Millisecond // less is reported as 0
	waitSteps     = 4                // buckets for each doubling: a wait is reported at most 19 % too long
	waitBuckets   = 24*waitSteps + 1 // up to 4.6 hours; the last is for all longer ones
	waitSpans     = 6                // of waitSpan make the last minute
	waitSpan      = 10 * time.Second
	arrivalsEvery = 100 * time.Millisecond
)

// A histogram counts waits: bucket 0 those shorter than shortestWait, bucket i those of up to
// shortestWait x 2^(i/waitSteps).
type histogram [waitBuckets]int

func bucketOf(wait time.Duration) int {
	if wait < shortestWait {
		return 0
	}
	i := math.Ceil(waitSteps * math.Log2(float64(wait)/float64(shortestWait)))
	return min(max(int(i), 1), waitBuckets-1)
}

// longest returns the upper bound of a bucket.
func longest(bucket int) time.Duration {
	if bucket == 0 {
		return 0
	}
	return time.Duration(float64(shortestWait) * math.Exp2(float64(bucket)/waitSteps))
}

// quantile returns what the given share of the waits took at most; 0 without any.
func (h *histogram) quantile(share float64) time.Duration {
	total := 0
	for _, n := range h {
		total += n
	}
	need := max(int(math.Ceil(share*float64(total))), 1)
	for i, n := range h {
		if need -= n; need <= 0 {
			return longest(i)
		}
	}
	return 0
}

// waits knows how long tasks waited that began in the last 50 to 60 s, and how long those have waited that wait
// still. The first are exact to 19 %, the others to 19 % and 0.1 s.
type waits struct {
	spans    [waitSpans]histogram
	span     int64         // the number of the present one
	arrivals map[int64]int // how many wait that came in each tenth of a second; no zeros
}

func (w *waits) arrive(now time.Duration) { w.arrivals[int64(now/arrivalsEvery)]++ }

// leave is for a task that came at since and waits no longer.
func (w *waits) leave(since time.Duration) {
	tick := int64(since / arrivalsEvery)
	if w.arrivals[tick]--; w.arrivals[tick] == 0 {
		delete(w.arrivals, tick)
	}
}

// add counts a wait that has ended with a slot.
func (w *waits) add(now, wait time.Duration) {
	w.advance(now)
	w.spans[w.span%waitSpans][bucketOf(wait)]++
}

func (w *waits) advance(now time.Duration) {
	span := int64(now / waitSpan)
	for w.span = max(w.span, span-waitSpans); w.span < span; {
		w.span++
		w.spans[w.span%waitSpans] = histogram{}
	}
}

// all returns the waits of the last minute, those that have not ended included.
func (w *waits) all(now time.Duration) histogram {
	w.advance(now)
	var sum histogram
	for i := range w.spans {
		for j, n := range w.spans[i] {
			sum[j] += n
		}
	}
	for tick, n := range w.arrivals {
		sum[bucketOf(now-time.Duration(tick)*arrivalsEvery)] += n
	}
	return sum
}
