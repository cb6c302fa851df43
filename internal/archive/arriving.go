package archive

import (
	"context"
	"io"
	"sync"
)

// An arriving is a file that is being written, from its start to its end.
type arriving struct {
	io.ReaderAt

	mu    sync.Mutex // guards what follows
	size  int64      // bytes that are there
	whole bool       // no more will come
	grown chan struct{}
}

func newArriving(f io.ReaderAt) *arriving {
	return &arriving{ReaderAt: f, grown: make(chan struct{})}
}

// grow notes that size bytes are there.
func (a *arriving) grow(size int64) { a.note(func() { a.size = size }) }

// end notes that no more will come.
func (a *arriving) end() { a.note(func() { a.whole = true }) }

func (a *arriving) note(change func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	change()
	close(a.grown)
	a.grown = make(chan struct{})
}

func (a *arriving) now() (size int64, whole bool, grown <-chan struct{}) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.size, a.whole, a.grown
}

// wait waits until so many bytes are there, or no more will come, and returns how many there are.
func (a *arriving) wait(ctx context.Context, size int64) (int64, error) {
	for {
		have, whole, grown := a.now()
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
