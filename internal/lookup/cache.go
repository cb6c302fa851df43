package lookup

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	"tecken-upload/internal/background"
	"tecken-upload/internal/upload"
)

// How long answers are cached. A stored file seldom goes. A missing one may come through another instance, and debuggers that miss too
// often stop asking: so look once a minute.
const (
	presentTime = 10 * time.Minute
	missingTime = time.Minute
)

// errPanic is wrapped by the error of a lookup that panicked.
var errPanic = errors.New("panic")

// A cache keeps answers, and shares simultaneous lookups. It holds at most max answers, and drops the unused half at a time.
type cache[V any] struct {
	max  int
	tell func(cached bool, elapsed time.Duration, err error)

	mu         sync.Mutex // guards the fields below, and the calls'
	young, old map[string]answer[V]
	calls      map[string]*call[V] // those with answers to be cached
}

// An answer is a value, or that it is missing.
type answer[V any] struct {
	value   V
	missing bool
	until   time.Time
}

// A call is a lookup in progress.
type call[V any] struct {
	cancel  context.CancelFunc
	waiting int
	stale   bool          // its answer must not be cached
	done    chan struct{} // closed when value and err are there
	value   V
	err     error
}

func newCache[V any](most int, tell func(cached bool, elapsed time.Duration, err error)) *cache[V] {
	return &cache[V]{max: most, tell: tell, young: make(map[string]answer[V]), old: make(map[string]answer[V]), calls: make(map[string]*call[V])}
}

// get returns the cached answer for key, unless refresh, or load's. It fails with upload.ErrNotFound, the cause of ctx, or load's error.
// The key must not be a part of a larger string: it would keep that in memory.
func (c *cache[V]) get(ctx context.Context, key string, refresh bool, load func(context.Context) (V, error)) (V, error) {
	start := time.Now()
	c.mu.Lock()
	if a, ok := c.recall(key, start); ok && !refresh {
		c.mu.Unlock()
		var err error
		if a.missing {
			err = upload.ErrNotFound
		}
		c.tell(true, time.Since(start), err)
		return a.value, err
	}
	shared := c.calls[key]
	if shared == nil {
		shared = c.begin(ctx, key, load)
	}
	shared.waiting++
	c.mu.Unlock()
	select {
	case <-shared.done:
		c.tell(false, time.Since(start), shared.err)
		return shared.value, shared.err
	case <-ctx.Done():
		c.leave(key, shared)
		var none V
		return none, context.Cause(ctx)
	}
}

// recall returns the cached answer for key, if it is fresh.
func (c *cache[V]) recall(key string, now time.Time) (answer[V], bool) {
	a, ok := c.young[key]
	if !ok {
		if a, ok = c.old[key]; ok {
			c.remember(key, a)
		}
	}
	return a, ok && now.Before(a.until)
}

// remember caches an answer in the younger half. Once that is full it becomes the older, and answers unused since they were young are
// dropped.
func (c *cache[V]) remember(key string, a answer[V]) {
	delete(c.old, key)
	if _, known := c.young[key]; !known && len(c.young) >= c.max/2 {
		c.old, c.young = c.young, make(map[string]answer[V])
	}
	c.young[key] = a
}

// begin starts a lookup. It ends with its last waiting caller, not with the first.
func (c *cache[V]) begin(ctx context.Context, key string, load func(context.Context) (V, error)) *call[V] {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	shared := &call[V]{cancel: cancel, done: make(chan struct{})}
	c.calls[key] = shared
	background.Go("lookup", func() { c.run(ctx, key, shared, load) })
	return shared
}

func (c *cache[V]) run(ctx context.Context, key string, shared *call[V], load func(context.Context) (V, error)) {
	shared.err = fmt.Errorf("%w: the lookup did not return", errPanic)
	defer func() {
		if v := recover(); v != nil {
			shared.err = fmt.Errorf("%w: %v\n%s", errPanic, v, debug.Stack())
		}
		shared.cancel()
		c.end(key, shared)
		close(shared.done)
	}()
	shared.value, shared.err = load(ctx)
}

// end caches a lookup's answer, unless something may have changed since its start.
func (c *cache[V]) end(key string, shared *call[V]) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if shared.stale {
		return
	}
	delete(c.calls, key)
	switch {
	case shared.err == nil:
		c.remember(key, answer[V]{value: shared.value, until: time.Now().Add(presentTime)})
	case errors.Is(shared.err, upload.ErrNotFound):
		c.remember(key, answer[V]{missing: true, until: time.Now().Add(missingTime)})
	}
}

// leave gives up waiting for a lookup.
func (c *cache[V]) leave(key string, shared *call[V]) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if shared.waiting--; shared.waiting == 0 {
		shared.cancel()
		c.disown(key, shared)
	}
}

// disown keeps a lookup from being cached, or joined.
func (c *cache[V]) disown(key string, shared *call[V]) {
	shared.stale = true
	if c.calls[key] == shared {
		delete(c.calls, key)
	}
}

// forget drops the answer for key, and those of lookups in progress.
func (c *cache[V]) forget(key string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.young, key)
	delete(c.old, key)
	if shared := c.calls[key]; shared != nil {
		c.disown(key, shared)
	}
}

// clear drops everything.
func (c *cache[V]) clear() {
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.young)
	clear(c.old)
	for key, shared := range c.calls {
		c.disown(key, shared)
	}
}

// len returns the number of answers held, stale ones included.
func (c *cache[V]) len() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.young) + len(c.old)
}
