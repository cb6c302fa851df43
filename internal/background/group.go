package background

import (
	"context"

	"golang.org/x/sync/errgroup"
)

// A Group is a set of goroutines with one Wait.
type Group struct{ group *errgroup.Group }

// NewGroup makes a Group, and a context that ends when one of its goroutines fails or Wait returns.
func NewGroup(ctx context.Context) (*Group, context.Context) {
	group, ctx := errgroup.WithContext(ctx)
	return &Group{group}, ctx
}

// SetLimit makes Go wait while n goroutines run. Call it before Go.
func (g *Group) SetLimit(n int) { g.group.SetLimit(n) }

// Go calls f in a goroutine.
func (g *Group) Go(f func() error) {
	g.group.Go(func() error { return Try(f) })
}

// Wait waits for all goroutines, and returns the first error or *PanicError.
func (g *Group) Wait() error { return g.group.Wait() }
