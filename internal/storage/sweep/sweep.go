// Package sweep discards what uploads have left in storage where no reader sees it.
//
// A server aborts what it has staged at the end of an upload. What a dead server has left, or what could not be aborted, is found in two ways:
//
//   - by the records: each id is recorded before its first byte is sent, and forgotten at the upload's end. Ids of uploads that have ended,
//     are lost or have no record any more are swept.
//   - by storage's own listing, where storage has one, of what was staged before a time. It needs no records, and can't tell what is left
//     from what is in progress: the time must be longer ago than any upload takes.
//
// To discard something twice does no harm, so any number of programs may sweep at once.
package sweep

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"time"

	"tecken-upload/internal/background"
	"tecken-upload/internal/storage"
)

// maxFaults is the number of failures in a row that end a sweep: storage is down, or refuses us.
const maxFaults = 10

// batch is the number of ids that are looked up, and forgotten, at once.
const batch = 100

// Storage holds what is swept.
type Storage interface {
	// Discard throws away what is staged under an id, and returns nil where nothing is.
	Discard(ctx context.Context, id string) error
	// Leftovers yields what was staged before a time and is neither committed nor aborted, as far as storage lists it.
	Leftovers(ctx context.Context, before time.Time) iter.Seq2[storage.Leftover, error]
}

// Records know what uploads have staged.
type Records interface {
	// AbandonedStaged returns the first ids, in their order behind one, of uploads that have ended, are lost or have no record.
	AbandonedStaged(ctx context.Context, after string, limit int) (ids []string, err error)
	// ForgetStaged forgets ids.
	ForgetStaged(ctx context.Context, ids []string) error
}

// A Sweep is one pass, or several that are counted together.
type Sweep struct {
	Storage Storage
	DryRun  bool                       // only report
	Report  func(id string, err error) // receives each id once it is discarded, or is to be in a dry run, or can't be; may be nil

	Discarded int   // or to be discarded, in a dry run
	Left      int   // what could not be discarded
	Reason    error // why the last of them could not

	seen   map[string]struct{}
	faults int // in a row
}

// Recorded sweeps what the records know. An error means that the sweep is incomplete.
func (s *Sweep) Recorded(ctx context.Context, records Records) error {
	for after := ""; ; {
		ids, err := records.AbandonedStaged(ctx, after, batch)
		if err != nil || len(ids) == 0 {
			return err
		}
		after = ids[len(ids)-1]
		var gone []string
		for _, id := range ids {
			left := s.Left
			if err = s.discard(ctx, id); err != nil {
				break
			}
			if s.Left == left && !s.DryRun {
				gone = append(gone, id)
			}
		}
		if err := errors.Join(err, records.ForgetStaged(ctx, gone)); err != nil {
			return err
		}
	}
}

// Listed sweeps what storage lists as staged before a time. An error means that the sweep is incomplete.
func (s *Sweep) Listed(ctx context.Context, before time.Time) error {
	for found, err := range s.Storage.Leftovers(ctx, before) {
		if err == nil {
			err = s.discard(ctx, found.ID)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// discard discards an id, unless it was seen before. It returns an error if it is of no use to go on.
func (s *Sweep) discard(ctx context.Context, id string) error {
	if _, again := s.seen[id]; again {
		return nil
	}
	if s.seen == nil {
		s.seen = make(map[string]struct{})
	}
	s.seen[id] = struct{}{}
	var err error
	if !s.DryRun {
		err = s.Storage.Discard(ctx, id)
	}
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case err == nil:
		s.Discarded++
		s.faults = 0
	default:
		s.Left, s.Reason = s.Left+1, err
		s.faults++
	}
	if s.Report != nil {
		s.Report(id, err)
	}
	if s.faults >= maxFaults {
		return fmt.Errorf("%d in a row could not be discarded: %w", s.faults, err)
	}
	return nil
}

// A Task sweeps regularly.
type Task struct {
	Storage  Storage
	Listed   bool // also by Storage's listing, of any age
	Records  Records
	Interval time.Duration // between two passes, within a random quarter
	// Done receives the result of each pass that has found something or failed.
	Done func(s *Sweep, err error)
}

// Run sweeps until ctx ends, and returns nil.
func (t *Task) Run(ctx context.Context) error {
	// Soon after the start, since an instance may be restarted every day; not right at it, when many start together.
	wait := t.Interval/24 + rand.N(t.Interval/24+1)
	for background.Sleep(ctx, wait) == nil {
		s := &Sweep{Storage: t.Storage}
		err := s.Recorded(ctx, t.Records)
		if t.Listed {
			err = errors.Join(err, s.Listed(ctx, time.Now()))
		}
		if (err != nil || len(s.seen) > 0) && ctx.Err() == nil {
			t.Done(s, err)
		}
		wait = t.Interval*3/4 + rand.N(t.Interval/2+1)
	}
	return nil
}
