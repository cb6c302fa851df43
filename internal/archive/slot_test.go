package archive

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
)

// A large member takes minutes where the machine is slow: its slot is told that it gets on.
func TestASlotIsToldHowItsWorkGetsOn(t *testing.T) {
	for _, format := range formats {
		t.Run(format, func(t *testing.T) {
			steps := 2
			if format == "tar.bz2" || format == "tar.xz" { // the slow ones
				steps = 1
			}
			big := file{name: "a.pdb/AA/a.pdb", content: strings.Repeat("a line of text\n", (steps*movedStep+movedStep/2)/15)}
			data := build(t, format, []file{big})
			a, err := Open(t.Context(), bytes.NewReader(data), int64(len(data)), wide)
			must(t, err)
			var moved atomic.Int64
			acquire := func(ctx context.Context, _ int64) (Slot, error) {
				return testSlot{ctx, func() { moved.Add(1) }, func() {}}, nil
			}
			_, err = a.Verify(t.Context(), acquire)
			must(t, err)
			if n := moved.Swap(0); n != int64(steps) {
				t.Errorf("told %d times of %d steps", n, steps)
			}
			for m, err := range a.Walk(t.Context()) {
				must(t, err)
				must(t, m.Skip(t.Context(), acquire))
			}
			want := int64(steps)
			if format == "zip" || format == "tar" {
				want = 0
			}
			if n := moved.Load(); n != want {
				t.Errorf("told %d times of what was skipped, want %d", n, want)
			}
		})
	}
}

// What nobody wants of a compressed tar is inflated all the same: behind a slot, and no longer than that is held.
func TestWhatIsSkippedIsInflatedBehindASlot(t *testing.T) {
	for _, format := range formats {
		t.Run(format, func(t *testing.T) {
			noLeak(t)
			data := build(t, format, someFiles())
			a, members, err := verify(t.Context(), data, roomy)
			must(t, err)
			var want, got []int64
			held := 0
			for _, m := range members {
				if m.Size > 0 && format != "zip" && format != "tar" {
					want = append(want, m.Size)
				}
			}
			for m, err := range a.Walk(t.Context()) {
				must(t, err)
				must(t, m.Skip(t.Context(), func(ctx context.Context, cost int64) (Slot, error) {
					got = append(got, cost)
					held++
					return testSlot{ctx, func() {}, func() { held-- }}, nil
				}))
			}
			if !slices.Equal(got, want) || held != 0 {
				t.Errorf("slots for %v, %d still held; want %v", got, held, want)
			}
			lost := errors.New("the slot is lost")
			ctx, cancel := context.WithCancelCause(t.Context())
			cancel(lost)
			for m, err := range a.Walk(t.Context()) {
				must(t, err)
				err := m.Skip(t.Context(), func(context.Context, int64) (Slot, error) { return testSlot{ctx, func() {}, func() {}}, nil })
				if len(want) > 0 && m.Size > 0 && !errors.Is(err, lost) {
					t.Errorf("%s was read past though its slot was lost: %v", m.Name, err)
				}
				break
			}
		})
	}
}
