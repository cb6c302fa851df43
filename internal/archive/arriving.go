package archive

import (
	"context"
	"io"
	"sync"
)

// An arriving is a file that is being written, from its start to its end.
type arriving struct {
	io.ReaderAt
	*growth // of its bytes
}

// await waits until the file has so many bytes, or no more will come, and returns how many there are. turn, if not nil, is given back
// meanwhile, and taken again at the cost of what has come.
func (a *arriving) await(ctx context.Context, turn Turn, size int64, cost func(there int64) int64) (there int64, err error) {
	if turn == nil {
		return a.wait(ctx, size)
	}
	err = turn.Pause(ctx, func() (int64, error) {
		there, err = a.wait(ctx, size)
		return cost(there), err
	})
	return there, err
}

// A growth is a size that grows until it is whole.
type growth struct {
	mu    sync.Mutex // guards what follows
	size  int64      // what is there
	whole bool       // no more will come
	grown chan struct{}
}

func newGrowth() *growth { return &growth{grown: make(chan struct{})} }

// grow notes how much is there.
func (g *growth) grow(size int64) { g.note(func() { g.size = size }) }

// end notes that no more will come.
func (g *growth) end() { g.note(func() { g.whole = true }) }

func (g *growth) note(change func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	change()
	close(g.grown)
	g.grown = make(chan struct{})
}

func (g *growth) now() (size int64, whole bool, grown <-chan struct{}) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.size, g.whole, g.grown
}

// wait waits until so much is there, or no more will come, and returns how much there is.
func (g *growth) wait(ctx context.Context, size int64) (int64, error) {
	for {
		have, whole, grown := g.now()
		if have >= size || whole {
			return have, nil
		}
		select {
		case <-grown:
		case <-ctx.Done():
			return have, context.Cause(ctx)
		}
	}
}
