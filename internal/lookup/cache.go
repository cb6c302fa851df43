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

// For how long an answer is believed. What is found seldom goes. What is missing may come through another instance,
// and debuggers that were told so too often stop asking: rather look once a minute.
const (
	presentTime = 10 * time.Minute
	missingTime = time.Minute
)

// errPanic is wrapped by the error of a lookup that panicked.
var errPanic = errors.New("panic")

// A cache remembers answers, and shares the lookups that are under way. It holds at most max answers, of which it
// forgets those that were not asked for lately: half of them at a time.
type cache[V any] struct {
	max  int
	tell func(cached bool, elapsed time.Duration, err error)

	mu         sync.Mutex // guards all below, and the calls'
	young, old map[string]answer[V]
	calls      map[string]*call[V] // the answers will be remembered
}

// An answer is what was found, or that it is missing.
type answer[V any] struct {
	value   V
	missing bool
	until   time.Time
}

// A call is a lookup under way.
type call[V any] struct {
	cancel  context.CancelFunc
	waiting int
	stale   bool          // what it finds is not to be remembered
	done    chan struct{} // closed when value and err are there
	value   V
	err     error
}

func newCache[V any](most int, tell func(cached bool, elapsed time.Duration, err error)) *cache[V] {
	return &cache[V]{max: most, tell: tell, young: make(map[string]answer[V]), old: make(map[string]answer[V]), calls: make(map[string]*call[V])}
}

// get returns what is remembered of key, unless refresh, or what load finds. It fails with upload.ErrNotFound, the
// cause of ctx, or load's error. The key must not be a part of a larger string: it would keep that in memory.
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

// recall returns the answer that is remembered of key, if it still counts.
func (c *cache[V]) recall(key string, now time.Time) (answer[V], bool) {
	a, ok := c.young[key]
	if !ok {
		if a, ok = c.old[key]; ok {
			c.remember(key, a)
		}
	}
	return a, ok && now.Before(a.until)
}

// remember keeps an answer. The younger half takes it; once that is full it becomes the older, and what was not asked
// for since it was the younger is forgotten.
func (c *cache[V]) remember(key string, a answer[V]) {
	delete(c.old, key)
	if _, known := c.young[key]; !known && len(c.young) >= c.max/2 {
		c.old, c.young = c.young, make(map[string]answer[V])
	}
	c.young[key] = a
}

// begin starts a lookup. It ends with the last caller that waits for it, not with the first one.
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

// end remembers what a lookup found, unless something may have changed since it began.
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

// disown keeps a lookup from being remembered, or joined.
func (c *cache[V]) disown(key string, shared *call[V]) {
	shared.stale = true
	if c.calls[key] == shared {
		delete(c.calls, key)
	}
}

// forget forgets what is known of key, and what lookups that have begun will find.
func (c *cache[V]) forget(key string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.young, key)
	delete(c.old, key)
	if shared := c.calls[key]; shared != nil {
		c.disown(key, shared)
	}
}

// clear forgets everything.
func (c *cache[V]) clear() {
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.young)
	clear(c.old)
	for key, shared := range c.calls {
		c.disown(key, shared)
	}
}

// len returns how many answers are held, those that no longer count included.
func (c *cache[V]) len() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.young) + len(c.old)
}
