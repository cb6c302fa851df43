package upload

import (
	"context"
	"slices"
	"time"
)

const (
	// maxUnsettled bounds the ends that are kept while the database is away. Uploads are refused then, so
	// there are no more than were in flight when it went.
	maxUnsettled = 256
	// settleInterval is the pause before an end is tried again.
	settleInterval = 5 * time.Second
	// settleLast bounds the last try, when the server stops.
	settleLast = 2 * time.Second
)

// unsettle keeps the upload's end for Settle: a record without an end tells that a process died, and this
// one lives.
func (r *run) unsettle() {
	kept := *r.up
	kept.Files = slices.Clone(r.up.Files)
	select {
	case r.unsettled <- kept:
	default: // rather lose an end than memory
	}
}

// Settle records, until ctx ends, the ends that could not be recorded when they came. It returns nil.
func (s *Service) Settle(ctx context.Context) error {
	for ctx.Err() == nil {
		select {
		case u := <-s.unsettled:
			s.settle(ctx, &u)
		case <-ctx.Done():
		}
	}
	s.settleRest(context.WithoutCancel(ctx))
	return nil
}

// settleRest tries once more, for a little while, what is left when the server stops.
func (s *Service) settleRest(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, settleLast)
	defer cancel()
	for {
		select {
		case u := <-s.unsettled:
			_ = s.finish(ctx, &u, settleLast) // lost now, if it fails again
		default:
			return
		}
	}
}

// settle tries to record one end until that has worked, a last time when ctx ends.
func (s *Service) settle(ctx context.Context, u *Upload) {
	tick := time.NewTicker(settleInterval)
	defer tick.Stop()
	for {
		if ctx.Err() == nil && s.finish(ctx, u, finishTimeout) == nil {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			_ = s.finish(context.WithoutCancel(ctx), u, settleLast) // lost now, if it fails again
			return
		}
	}
}

func (s *Service) finish(ctx context.Context, u *Upload, timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	return s.Records.Finish(ctx, u)
}
