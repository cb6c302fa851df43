package sched

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
)

// BenchmarkTask is the cost of one task, queued, dispatched to a goroutine that waits, and released, while 10,000
// wait for one slot. It should not depend on the number of tenants.
func BenchmarkTask(b *testing.B) {
	for _, tenants := range []int{10, 100, 1_000, 10_000} {
		b.Run(fmt.Sprintf("tenants=%d", tenants), func(b *testing.B) { benchmarkTask(b, tenants, 10_000) })
	}
}

func benchmarkTask(b *testing.B, tenants, queued int) {
	s := New(Options{Slots: 1})
	first, err := s.Acquire(b.Context(), Task{})
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(b.Context())
	var left atomic.Int64
	left.Store(int64(b.N))
	var wg sync.WaitGroup
	for i := range queued {
		task := Task{Tenant: int64(i % tenants), Upload: int64(i / tenants % 3), Cost: int64(i%64) << 16}
		wg.Go(func() {
			for slot, err := s.Acquire(ctx, task); err == nil; slot, err = s.Acquire(ctx, task) {
				if left.Add(-1) == 0 {
					b.StopTimer()
					cancel()
				}
				slot.Release()
			}
		})
	}
	for s.Stats().Waiting < queued {
		runtime.Gosched()
	}
	b.ReportAllocs()
	b.ResetTimer()
	first.Release()
	wg.Wait()
	cancel()
}
