package uploads

import (
	"testing"
	"time"
)

func TestPace(t *testing.T) {
	const rate = 1000
	for _, tc := range []struct {
		name      string
		min       int64
		contended bool
		bytes     []int // that come in each second
		slowAt    int   // the second in which the body is found too slow; 0: never
	}{
		{"just fast enough", rate, true, repeat(rate, 300), 0},
		{"a little too slow", rate, true, repeat(rate-1, 300), 60},
		{"a little too slow while nobody waits", rate, false, repeat(rate-1, 300), 0},
		{"a little too slow where any rate will do", 0, true, repeat(rate-1, 300), 0},
		{"a hiccup of half a minute", rate, true, append(append(repeat(3*rate, 100), repeat(0, 30)...), repeat(3*rate, 100)...), 0},
		{"fast, then hardly at all", rate, true, append(repeat(10*rate, 100), repeat(1, 100)...), 154},
		{"too slow, but not for a minute yet", rate, true, repeat(1, 59), 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			start := time.Unix(1000, 0)
			p := pace{min: tc.min, contended: func() bool { return tc.contended }}
			got := 0
			for second, n := range tc.bytes {
				if p.tooSlow(start.Add(time.Duration(second)*time.Second), n) {
					got = second
					break
				}
			}
			if got < tc.slowAt || got > tc.slowAt+int(paceStep/time.Second) {
				t.Errorf("too slow in second %d, want %d or up to a step later", got, tc.slowAt)
			}
		})
	}
}

func repeat(n, times int) []int {
	list := make([]int, times)
	for i := range list {
		list[i] = n
	}
	return list
}
