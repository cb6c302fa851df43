package audit

import (
	"context"
	"sync"
	"time"

	"tecken-upload/internal/background"
)

// paceStep is the time for which an unused rate may be made up: timers end late.
const paceStep = 100 * time.Millisecond

// A pace is the common rate of several readers.
type pace struct {
	rate int64 // a second; 0: no limit

	mu   sync.Mutex
	paid time.Time // the rate is used up until then
}

// wait waits for the time that n bytes take, or until ctx ends.
func (p *pace) wait(ctx context.Context, n int) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if p.rate <= 0 || n <= 0 {
		return nil
	}
	p.mu.Lock()
	now := time.Now()
	if unused := now.Add(-paceStep); p.paid.Before(unused) {
		p.paid = unused
	}
	p.paid = p.paid.Add(time.Duration(float64(n) / float64(p.rate) * float64(time.Second)))
	ahead := p.paid.Sub(now)
	p.mu.Unlock()
	if ahead <= 0 {
		return nil
	}
	return background.Sleep(ctx, ahead)
}
