package lease

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"
)

const (
	// renewals is how often a lease is renewed within the stale cut-off: three may be lost.
	renewals = 4
	// batchSize is how many leases are renewed or released in one call.
	batchSize = 500
	// maxCalls bounds the callers that ask the shared table at once, each of which may find out by itself that
	// it is away.
	maxCalls = 8
	// firstBackoff is the first pause, more or less, before a table that went away is asked again.
	firstBackoff = 100 * time.Millisecond
	// longestBackoff bounds the pauses after it: rather limits that stay local for some seconds than a table that comes back
	// into a crowd.
	longestBackoff = 5 * time.Second
)

var (
	errAway = errors.New("the shared table is away")
	errSlow = errors.New("the shared table does not answer in time")
)

// An asker is how the shared table is asked: call or probe.
type asker func(ctx context.Context, ask func(context.Context) error) error

// A debt is a lease that is given back here, and perhaps not yet in the shared table.
type debt struct {
	lease Lease
	since time.Time
}

// Away reports whether the shared table is away, so that limits are this process's own for now. Without a
// shared table it is always false.
func (k *Keeper) Away() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return !k.away.IsZero()
}

// Run renews what is held until ctx ends, and takes a shared table that went away back into use when it
// answers. In the end it gives back what is still held, which takes up to a second. Whatever uses
// leases is to have ended by then.
func (k *Keeper) Run(ctx context.Context) {
	k.refresh(ctx) // a table that is away is told of before the first upload comes
	backoff := firstBackoff
	for {
		pause := k.stale / renewals
		if k.Away() {
			pause = jitter(min(backoff, pause))
			backoff = min(2*backoff, longestBackoff)
		} else {
			backoff = firstBackoff
		}
		select {
		case <-time.After(pause):
			k.refresh(ctx)
		case <-k.left:
		case <-ctx.Done():
			k.giveBack(context.WithoutCancel(ctx))
			return
		}
	}
}

// refresh renews all that is held, pays what is owed, and takes a table that was away back into use.
func (k *Keeper) refresh(ctx context.Context) {
	k.local.touch()
	k.forget()
	if k.shared == nil || !k.renew(ctx, k.local.held()) {
		return
	}
	if k.back() {
		// What was taken meanwhile, without the table, is not in it.
		k.renew(ctx, k.local.held())
	}
}

// renew renews leases in the shared table, and pays what is owed to it. It reports whether the table did all of it.
func (k *Keeper) renew(ctx context.Context, leases []Lease) bool {
	for batch := range batches(leases) {
		if k.probe(ctx, func(ctx context.Context) error { return k.shared.Renew(ctx, batch...) }) != nil {
			return false
		}
	}
	for _, l := range leases {
		if !k.local.has(l) {
			k.owe(l) // it was released meanwhile, and perhaps the renewal came after that
		}
	}
	return k.settle(ctx, k.debts(), k.probe)
}

// owe notes that l is given back here and is to leave the shared table.
func (k *Keeper) owe(l Lease) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.owed[l.ID] = debt{lease: l, since: time.Now()}
}

// forget drops the debts that the shared table has forgotten by itself.
func (k *Keeper) forget() {
	k.mu.Lock()
	defer k.mu.Unlock()
	maps.DeleteFunc(k.owed, func(_ string, d debt) bool { return time.Since(d.since) > 2*k.stale })
}

// debts returns the leases that are owed.
func (k *Keeper) debts() []Lease {
	k.mu.Lock()
	defer k.mu.Unlock()
	var leases []Lease
	for _, d := range k.owed {
		leases = append(leases, d.lease)
	}
	return leases
}

// settle releases leases in the shared table. It reports whether all are released.
func (k *Keeper) settle(ctx context.Context, leases []Lease, ask asker) bool {
	if len(leases) == 0 {
		return true
	}
	for batch := range batches(leases) {
		if ask(ctx, func(ctx context.Context) error { return k.shared.Release(ctx, batch...) }) != nil {
			return false
		}
		k.mu.Lock()
		for _, l := range batch {
			delete(k.owed, l.ID)
		}
		k.mu.Unlock()
	}
	return true
}

// giveBack releases whatever this process may have in the shared table.
func (k *Keeper) giveBack(ctx context.Context) {
	if k.shared == nil || k.Away() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	k.settle(ctx, slices.Concat(k.local.held(), k.debts()), k.probe)
}

// call asks the shared table. Where that is away, or has gone away before the call's turn came, it returns
// errAway: a table that goes away is not asked by every caller of the moment.
func (k *Keeper) call(ctx context.Context, ask func(context.Context) error) error {
	return k.probe(ctx, func(ctx context.Context) error {
		select {
		case k.turns <- struct{}{}:
			defer func() { <-k.turns }()
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		if k.Away() {
			return errAway
		}
		return ask(ctx)
	})
}

// probe asks the shared table whether it is away or not. An error other than ErrLimit, and none of ctx's own,
// means that it is.
func (k *Keeper) probe(ctx context.Context, ask func(context.Context) error) error {
	k.mu.Lock()
	episode := k.episode
	k.mu.Unlock()
	bounded, cancel := context.WithTimeoutCause(ctx, callTimeout, errSlow)
	defer cancel()
	err := ask(bounded)
	if err != nil && ctx.Err() == nil && !errors.Is(err, ErrLimit) && !errors.Is(err, errAway) {
		k.lose(err, episode)
	}
	return err
}

// lose notes that the shared table is away, found by a call that was made in the given episode.
func (k *Keeper) lose(err error, episode int) {
	k.mu.Lock()
	// One that came back since the call was made is not away because of that.
	news := k.away.IsZero() && k.episode == episode
	if news {
		k.away = time.Now()
	}
	k.mu.Unlock()
	if !news {
		return
	}
	select {
	case k.left <- struct{}{}:
	default: // Run has not seen the last one yet
	}
	k.log.Warn("tenant limits are local, the shared leases are away", "err", err)
	k.told(err)
}

// back notes that the shared table answers, and reports whether it was away before.
func (k *Keeper) back() bool {
	k.mu.Lock()
	away := k.away
	k.away = time.Time{}
	if !away.IsZero() {
		k.episode++
	}
	k.mu.Unlock()
	if away.IsZero() {
		return false
	}
	k.log.Info("tenant limits are shared again", "elapsed", time.Since(away))
	return true
}

// batches yields leases in parts that one call can take, at least one part.
func batches(leases []Lease) func(yield func([]Lease) bool) {
	if len(leases) == 0 {
		return slices.Values([][]Lease{nil})
	}
	return slices.Chunk(leases, batchSize)
}
