package archive

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
)

// A large member takes minutes where the machine is slow: the work on it reports that it gets on.
func TestWorkReportsThatItGetsOn(t *testing.T) {
	for _, format := range formats {
		t.Run(format, func(t *testing.T) {
			steps := 2
			if format == "tar.bz2" || format == "tar.xz" { // the slow ones
				steps = 1
			}
			big := file{name: "a.pdb/AA/a.pdb", content: strings.Repeat("a line of text\n", (steps*movedStep+movedStep/2)/15)}
			data := build(t, format, []file{big})
			work := new(desk)
			a, err := open(t.Context(), data, wide, work)
			must(t, err)
			_, err = collect(t.Context(), a)
			must(t, err)
			size := int64(len(big.content))
			if n, bytes := work.moves.Load(), work.moved.Swap(0); n < int64(steps) || bytes != size {
				t.Errorf("reported %d bytes in %d steps", bytes, n)
			}
			must(t, a.Each(t.Context(), 1, func(context.Context, *Member) error { return nil }))
			if format == "zip" || format == "tar" {
				size = 0
			}
			if bytes := work.moved.Load(); bytes != size {
				t.Errorf("reported %d bytes of what was skipped, want %d", bytes, size)
			}
		})
	}
}

// What is not read of a compressed tar is inflated all the same: with the right to do so, and no longer than that is held.
func TestWhatIsSkippedIsInflatedWithTheRightTo(t *testing.T) {
	for _, format := range formats {
		t.Run(format, func(t *testing.T) {
			noLeak(t)
			a, members, err := verify(t.Context(), build(t, format, someFiles()), roomy)
			must(t, err)
			work := a.work.(*desk)
			var want []int64
			for _, m := range members {
				if m.Size > 0 && format != "zip" && format != "tar" {
					want = append(want, m.Size)
				}
			}
			work.costs = nil
			must(t, a.Each(t.Context(), 1, func(context.Context, *Member) error { return nil }))
			if !slices.Equal(work.costs, want) || work.held.Load() != 0 {
				t.Errorf("inflated %v, %d still at work; want %v", work.costs, work.held.Load(), want)
			}
			lost := errors.New("the slot is lost")
			work.inflate = func(ctx context.Context, _ int64) (context.Context, error) {
				ctx, cancel := context.WithCancelCause(ctx)
				cancel(lost)
				return ctx, nil
			}
			err = a.Each(t.Context(), 1, func(context.Context, *Member) error { return nil })
			if len(want) > 0 && !errors.Is(err, lost) {
				t.Errorf("read past a member without the right to: %v", err)
			}
		})
	}
}
