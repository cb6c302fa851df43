package main

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"tecken-upload/internal/config"
	"tecken-upload/internal/spool"
)

// A disk that hangs holds up neither the heartbeats nor the metrics, and not one thread for each who asks. It counts as full.
func TestADiskThatHangsIsNotWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var asked atomic.Int32
		hangs := make(chan struct{})
		in := &instance{config: &config.Server{}, usage: newUsageMeter(func(context.Context) (spool.Usage, error) {
			asked.Add(1)
			<-hangs
			return spool.Usage{Budget: 100, Held: 20, Reserved: 5}, nil
		})}
		for range 3 {
			start := time.Now()
			if _, err := in.usage.measure(t.Context()); !errors.Is(err, errMeasuring) || time.Since(start) > usageTimeout {
				t.Errorf("after %v: %v", time.Since(start), err)
			}
		}
		if ratio := in.spoolRatio(t.Context()); ratio != 1 || in.roomy(t.Context()) {
			t.Errorf("the spool's ratio is %v", ratio)
		}
		if asked.Load() != 1 {
			t.Errorf("asked %d times", asked.Load())
		}
		close(hangs)
		synctest.Wait()
		if ratio := in.spoolRatio(t.Context()); ratio != 0.25 || !in.roomy(t.Context()) || asked.Load() != 3 {
			t.Errorf("afterwards the spool's ratio is %v, asked %d times", ratio, asked.Load())
		}
	})
}
