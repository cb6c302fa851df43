package sched

import (
	"math/rand/v2"
	"testing"
	"time"
)

// TestSimulationOfUploadsThatComeAndGo has a tenant post one upload of many members beside seven of one member each, of
// which a new one comes as soon as one has ended.
func TestSimulationOfUploadsThatComeAndGo(t *testing.T) {
	const others, lasts = 7, 30 * time.Minute
	for name, c := range map[string]struct {
		slots       int
		own, others int64 // bytes of a member
	}{
		"all of 400 MB":            {4, 400e6, 400e6},
		"400 MB beside 50 MB":      {2, 400e6, 50e6},
		"400 MB beside small ones": {4, 400e6, 1e6},
		"small ones beside 400 MB": {4, 1e6, 400e6},
		"one slot":                 {1, 400e6, 400e6},
		"eight slots":              {8, 400e6, 400e6},
	} {
		t.Run(name, func(t *testing.T) {
			h := &hall{backlog: newBacklog(Options{Slots: 1 << 20, PerTenant: c.slots, Queue: 1 << 20}), slots: c.slots, rng: rand.New(rand.NewPCG(1, 9))}
			next, bytes, longest, last := int64(1), [2]int64{}, time.Duration(0), time.Duration(0)
			come := func() { pushAt(t, h.backlog, Task{Upload: next, Cost: c.others}, h.now); next++ }
			for range others {
				come()
			}
			for range 2 * c.slots {
				pushAt(t, h.backlog, Task{Cost: c.own}, h.now)
			}
			for h.now < lasts {
				ended, begun := h.step()
				if ended != nil && ended.task.Upload > 0 {
					come()
				}
				for _, r := range begun {
					bytes[min(r.task.Upload, 1)] += r.task.Cost
					if r.task.Upload == 0 {
						pushAt(t, h.backlog, Task{Cost: c.own}, h.now)
						longest, last = max(longest, h.now-last), h.now
					}
				}
			}
			share := float64(bytes[0]) / float64(bytes[0]+bytes[1])
			t.Logf("figure: an upload beside 7 others that come and go, %s, %d slots: %.1f %% of the bytes; longest wait for a slot %v", name, c.slots, 100*share, longest.Round(time.Second))
			if share < 0.9/(others+1) {
				t.Errorf("an eighth would be 12.5 %%")
			}
			if n := len(h.tenants.known[0].queue.uploads.known); n > 100 {
				t.Errorf("%d uploads are remembered of %d", n, next)
			}
		})
	}
}
