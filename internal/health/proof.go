package health

import (
	"context"
	"sync"
	"time"
)

// proofInterval is the least time between two writes of the check's own.
const proofInterval = 30 * time.Second

// A Proof checks whether a service that uploads need can be written to. It is safe for concurrent use.
type Proof struct {
	threshold int
	window    time.Duration
	write     func(ctx context.Context) error
	now       func() time.Time

	mu      sync.Mutex // guards the fields below; not held while write runs
	proven  time.Time  // time of the last successful write
	tried   time.Time  // start of the check's own last write
	doubted bool       // something failed since then
	row     []time.Time
	red     error // nil while green
}

// NewProof makes a Proof of a service. It turns red after threshold uploads in a row that fail inside window for want of the service. write
// writes a little to it, and returns within seconds. now is the clock, time.Now outside of tests.
func NewProof(threshold int, window time.Duration, write func(ctx context.Context) error, now func() time.Time) *Proof {
	return &Proof{threshold: threshold, window: window, write: write, now: now}
}

// Served counts an upload's successful write.
func (p *Proof) Served() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.prove()
}

// prove records a successful write. mu is held.
func (p *Proof) prove() { p.proven, p.doubted, p.row, p.red = p.now(), false, p.row[:0], nil }

// Doubt records a failure that may have another reason than the service.
func (p *Proof) Doubt() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.doubted = true
}

// Failed counts an upload that failed with err for want of the service.
func (p *Proof) Failed(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.doubted = true
	if len(p.row) == p.threshold {
		p.row = append(p.row[:0], p.row[1:]...)
	}
	p.row = append(p.row, p.now())
	if len(p.row) == p.threshold && p.now().Sub(p.row[0]) < p.window {
		p.red = err
	}
}

// Check returns why the service can't be written to, or nil. In doubt, or after proofInterval without a write, it writes itself, at most
// once per proofInterval.
func (p *Proof) Check(ctx context.Context) error {
	if !p.due() {
		p.mu.Lock()
		defer p.mu.Unlock()
		return p.red
	}
	err := p.write(ctx)
	p.mu.Lock()
	defer p.mu.Unlock()
	if err == nil {
		p.prove()
	} else {
		p.red = err
	}
	return p.red
}

// due reports whether the check must write itself, and records that it begins.
func (p *Proof) due() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.now()
	trusted := !p.doubted && p.red == nil && !p.proven.IsZero() && now.Sub(p.proven) < proofInterval
	if trusted || !p.tried.IsZero() && now.Sub(p.tried) < proofInterval {
		return false
	}
	p.tried = now
	return true
}
