package main

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"tecken-upload/internal/config"
	"tecken-upload/internal/probe"
	"tecken-upload/internal/spool"
	"tecken-upload/internal/telemetry"
	"tecken-upload/internal/telemetry/metricstest"
)

// A disk that hangs holds up neither the heartbeats nor the metrics, and takes no thread for each look. It counts as full.
func TestADiskThatHangsIsNotWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var asked atomic.Int32
		hangs := make(chan struct{})
		in := &instance{config: &config.Server{}, usage: newLook(func(context.Context) (spool.Usage, error) {
			asked.Add(1)
			<-hangs
			return spool.Usage{Budget: 100, Held: 20, Reserved: 5}, nil
		})}
		for range 3 {
			start := time.Now()
			if _, err := in.usage.Ask(t.Context()); !errors.Is(err, probe.ErrNoAnswer) || time.Since(start) > lookTimeout {
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
		<-time.After(lookFresh)
		if ratio := in.spoolRatio(t.Context()); ratio != 0.25 || !in.roomy(t.Context()) || asked.Load() != 2 {
			t.Errorf("afterwards the spool's ratio is %v, asked %d times", ratio, asked.Load())
		}
	})
}

// A scrape looks at the disk for usage and for orphans, and for usage once more where the orphans took long: neither a disk that
// hangs nor one that is slow makes it take as long as Prometheus waits.
func TestAScrapeDoesNotWaitForTheDiskLong(t *testing.T) {
	for _, tc := range []struct {
		name       string
		took       time.Duration
		free, aged string
	}{
		{"a disk that hangs", time.Hour, "-1", "-1"},
		{"a slow disk", lookTimeout - 1, "7", "60"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var looks atomic.Int32
				look := func() { looks.Add(1); <-time.After(tc.took) }
				in := &instance{
					metrics: telemetry.NewMetrics(),
					usage:   newLook(func(context.Context) (spool.Usage, error) { look(); return spool.Usage{Free: 7}, nil }),
					orphan:  newLook(func(context.Context) (time.Duration, error) { look(); return time.Minute, nil }),
				}
				in.spoolGauges(t.Context())
				for range 2 {
					looks.Store(0)
					start := time.Now()
					lines := metricstest.Scrape(t, in.metrics.Handler())
					if took := time.Since(start); took > 3*lookTimeout {
						t.Errorf("a scrape took %v", took)
					}
					for _, want := range []string{"tecken_spool_free_bytes " + tc.free, "tecken_spool_oldest_orphan_seconds " + tc.aged} {
						if !slices.Contains(lines, want) {
							t.Errorf("no %q in %q", want, lines)
						}
					}
					if n := looks.Load(); n > 3 {
						t.Errorf("the disk was looked at %d times", n)
					}
					<-time.After(lookFresh)
				}
				<-time.After(time.Hour)
			})
		})
	}
}
