package lease

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"
)

const (
	// renewals is the number of renewals within the stale cut-off: three may be lost.
	renewals = 4
	// batchSize is the number of leases renewed or released in one call.
	batchSize = 500
	// maxCalls bounds the simultaneous calls to the shared table, each of which may have to find out that it is away.
	maxCalls = 8
	// firstBackoff is the first pause, more or less, before a table that went away is tried again.
	firstBackoff = 100 * time.Millisecond
	// longestBackoff bounds the later pauses: we would rather have local limits for some seconds than crowd a table that comes back.
	longestBackoff = 5 * time.Second
)

var (
	errAway = errors.New("the shared table is away")
	errSlow = errors.New("the shared table does not answer in time")
)

// An asker makes a call to the shared table: call or probe.
type asker func(ctx context.Context, ask func(context.Context) error) error

// A debt is a lease released here, and perhaps not yet in the shared table.
type debt struct {
	lease Lease
	since time.Time
}

// Away reports whether the shared table is away, so that each process limits for itself. Without a shared table it is false.
func (k *Keeper) Away() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return !k.away.IsZero()
}

// Run renews the leases until ctx ends, and uses a shared table again when it answers again. At its end it gives back the remaining leases,
// which takes up to a second. End everything that uses leases first.
func (k *Keeper) Run(ctx context.Context) {
	k.refresh(ctx) // a table that is away is reported before the first upload
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

// refresh renews all leases, pays debts, and uses a table again that was away.
func (k *Keeper) refresh(ctx context.Context) {
	k.local.touch()
	k.forget()
	if k.shared == nil || !k.renew(ctx, k.local.held()) {
		return
	}
	if k.back() {
		// Leases taken meanwhile are not in the table.
		k.renew(ctx, k.local.held())
	}
}

// renew renews leases in the shared table, and pays debts. It reports whether the table did all of it.
func (k *Keeper) renew(ctx context.Context, leases []Lease) bool {
	for batch := range batches(leases) {
		if k.probe(ctx, func(ctx context.Context) error { return k.shared.Renew(ctx, batch...) }) != nil {
			return false
		}
	}
	for _, l := range leases {
		if !k.local.has(l) {
			k.owe(l) // released meanwhile, perhaps before the renewal
		}
	}
	return k.settle(ctx, k.debts(), k.probe)
}

// owe records that l was released here and must leave the shared table.
func (k *Keeper) owe(l Lease) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.owed[l.ID] = debt{lease: l, since: time.Now()}
}

// forget drops the debts of leases that are stale in the shared table.
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

// settle releases leases in the shared table, and reports whether all are released.
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

// giveBack releases all of this process's leases in the shared table.
func (k *Keeper) giveBack(ctx context.Context) {
	if k.shared == nil || k.Away() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	k.settle(ctx, slices.Concat(k.local.held(), k.debts()), k.probe)
}

// call makes a call to the shared table. It returns errAway if the table is away, or went away while the call waited: not every caller
// should find out by itself.
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

// probe makes a call to the shared table even if it is away. An error other than ErrLimit and ctx's own means that it is away.
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

// lose records that the shared table is away, found by a call made in the given episode.
func (k *Keeper) lose(err error, episode int) {
	k.mu.Lock()
	// If it has come back since the call was made, the call's error is old.
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

// back records that the shared table answers, and reports whether it was away.
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

// batches yields leases in batches, at least one.
func batches(leases []Lease) func(yield func([]Lease) bool) {
	if len(leases) == 0 {
		return slices.Values([][]Lease{nil})
	}
	return slices.Chunk(leases, batchSize)
}
