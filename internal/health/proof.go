package health

import (
	"context"
	"sync"
	"time"
)

// proofInterval is the least time between two writes of a check's own.
const proofInterval = 30 * time.Second

// A Proof knows whether a service that uploads need can be written to. It is safe for concurrent use.
type Proof struct {
	threshold int
	window    time.Duration
	write     func(ctx context.Context) error
	now       func() time.Time

	mu      sync.Mutex // guards what follows; not held while write runs
	proven  time.Time  // when a write succeeded last
	tried   time.Time  // when one of the check's own was begun last
	doubted bool       // something failed since then
	row     []time.Time
	red     error // why the check is red; nil while it is green
}

// NewProof makes a Proof of a service, that threshold uploads in a row turn red which fail inside of window for want of it. write
// writes a little to it, and returns within seconds. now is the clock, time.Now outside of tests.
func NewProof(threshold int, window time.Duration, write func(ctx context.Context) error, now func() time.Time) *Proof {
	return &Proof{threshold: threshold, window: window, write: write, now: now}
}

// Served counts a write of an upload that succeeded.
func (p *Proof) Served() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.prove()
}

// prove is called with mu held.
func (p *Proof) prove() { p.proven, p.doubted, p.row, p.red = p.now(), false, p.row[:0], nil }

// Doubt notes that something failed that may have another reason than the service.
func (p *Proof) Doubt() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.doubted = true
}

// Failed counts an upload that failed for want of the service, and for err.
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

// Check returns why the service can't be written to, or nil. Where nothing was written for proofInterval, or in doubt, it writes
// something itself, that often at most.
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

// due reports whether it is time for a write of the check's own, and takes it for begun.
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
