package background_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"tecken-upload/internal/background"
)

func TestBackoffGrowsWithJitterAndStaysInBounds(t *testing.T) {
	const first, last = 100 * time.Millisecond, 2 * time.Second
	for failure, full := range map[int]time.Duration{0: first, 1: 2 * first, 3: 8 * first, 4: 16 * first, 5: last, 1000: last} {
		seen := make(map[time.Duration]bool)
		for range 100 {
			d := background.Backoff(failure, first, last)
			if d < full/2 || d > full {
				t.Errorf("after failure %d: %v", failure, d)
			}
			seen[d] = true
		}
		if len(seen) < 10 {
			t.Errorf("after failure %d all wait the same", failure)
		}
	}
}

func TestSleepEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		if err := background.Sleep(t.Context(), time.Hour); err != nil {
			t.Error(err)
		}
		cause := errors.New("enough")
		ctx, cancel := context.WithTimeoutCause(t.Context(), time.Minute, cause)
		defer cancel()
		began := time.Now()
		if err := background.Sleep(ctx, time.Hour); !errors.Is(err, cause) || time.Since(began) != time.Minute {
			t.Errorf("%v after %v", err, time.Since(began))
		}
	})
}
