package background

import (
	"context"

	"golang.org/x/sync/errgroup"
)

// A Group is goroutines that are waited for together.
type Group struct{ group *errgroup.Group }

// NewGroup makes a Group, and a context that ends when one of its goroutines fails, and when Wait returns.
func NewGroup(ctx context.Context) (*Group, context.Context) {
	group, ctx := errgroup.WithContext(ctx)
	return &Group{group}, ctx
}

// SetLimit has Go wait while n goroutines are there. It is to be called before Go.
func (g *Group) SetLimit(n int) { g.group.SetLimit(n) }

// Go calls f in a goroutine.
func (g *Group) Go(f func() error) {
	g.group.Go(func() error { return Try(f) })
}

// Wait waits for all goroutines, and returns the first error there was; of a panic, a *PanicError.
func (g *Group) Wait() error { return g.group.Wait() }
