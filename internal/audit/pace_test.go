package audit

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// Readers that share a pace have its rate together, and what paceStep lets through at once.
func TestPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := pace{rate: 1000}
		start := time.Now()
		var readers sync.WaitGroup
		for range 4 {
			readers.Go(func() {
				for range 25 {
					if err := p.wait(t.Context(), 100); err != nil {
						t.Error(err)
					}
				}
			})
		}
		readers.Wait()
		if took, want := time.Since(start), 10*time.Second-paceStep; took != want {
			t.Errorf("10,000 at 1,000 a second took %v; want %v", took, want)
		}
		<-time.After(time.Hour) // never read
		start = time.Now()
		for range 10 {
			if err := p.wait(t.Context(), 100); err != nil {
				t.Error(err)
			}
		}
		if took, want := time.Since(start), time.Second-paceStep; took != want {
			t.Errorf("1,000 after an hour took %v; want %v", took, want)
		}
	})
}

func TestPaceEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cause := errors.New("the reason")
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(time.Second, func() { cancel(cause) })
		p, start := pace{rate: 1}, time.Now()
		if err := p.wait(ctx, 1<<20); !errors.Is(err, cause) || time.Since(start) != time.Second {
			t.Errorf("wait: %v after %v", err, time.Since(start))
		}
		unlimited := pace{}
		if err := unlimited.wait(ctx, 1); !errors.Is(err, cause) {
			t.Errorf("wait: %v; want the context's cause", err)
		}
		if err := unlimited.wait(t.Context(), 1<<40); err != nil || time.Since(start) != time.Second {
			t.Errorf("wait without a rate: %v after %v", err, time.Since(start))
		}
	})
}
