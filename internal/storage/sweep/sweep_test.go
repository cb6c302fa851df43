package sweep_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"tecken-upload/internal/storage"
	"tecken-upload/internal/storage/sweep"
)

// fake is both storage and records, with faults that real ones have only when they are down.
type fake struct {
	abandoned []string
	leftovers []string
	broken    map[string]bool // ids that can't be discarded
	down      error           // of the records and the listing
	passes    int             // after which it is down; 0: not by their number

	discarded []string
	forgotten []string
	before    time.Time
}

func (f *fake) AbandonedStaged(_ context.Context, after string, limit int) ([]string, error) {
	if f.passes > 0 && after == "" {
		if f.passes--; f.passes == 0 {
			f.down = errBroken
		}
	}
	var ids []string
	for _, id := range f.abandoned {
		if id > after && !slices.Contains(f.forgotten, id) && len(ids) < limit {
			ids = append(ids, id)
		}
	}
	return ids, f.down
}

func (f *fake) ForgetStaged(_ context.Context, ids []string) error {
	f.forgotten = append(f.forgotten, ids...)
	return nil
}

var errBroken = errors.New("broken")

func (f *fake) Discard(_ context.Context, id string) error {
	if f.broken[id] {
		return errBroken
	}
	f.discarded = append(f.discarded, id)
	return nil
}

func (f *fake) Leftovers(_ context.Context, before time.Time) iter.Seq2[storage.Leftover, error] {
	return func(yield func(storage.Leftover, error) bool) {
		f.before = before
		for _, id := range f.leftovers {
			if !yield(storage.Leftover{ID: id}, nil) {
				return
			}
		}
		if f.down != nil {
			yield(storage.Leftover{}, f.down)
		}
	}
}

// reported makes s report into a list.
func reported(s *sweep.Sweep) *[]string {
	var list []string
	s.Report = func(id string, err error) { list = append(list, fmt.Sprint(id, " ", err)) }
	return &list
}

// An id is forgotten once it is discarded.
func TestRecorded(t *testing.T) {
	f := &fake{abandoned: []string{"a", "b", "c", "d", "e"}, broken: map[string]bool{"c": true}}
	s := &sweep.Sweep{Storage: f}
	report := reported(s)
	if err := s.Recorded(t.Context(), f); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"a <nil>", "b <nil>", "c broken", "d <nil>", "e <nil>"}, *report); diff != "" {
		t.Errorf("reported (-want +got):\n%s", diff)
	}
	if s.Discarded != 4 || s.Left != 1 || !errors.Is(s.Reason, errBroken) || !slices.Equal(f.forgotten, []string{"a", "b", "d", "e"}) {
		t.Errorf("%d discarded, %d left for %v; forgotten are %q", s.Discarded, s.Left, s.Reason, f.forgotten)
	}
}

// What both ways find is discarded and counted once.
func TestBothWays(t *testing.T) {
	before := time.Now().Add(-time.Hour)
	for _, dry := range []bool{false, true} {
		f := &fake{abandoned: []string{"a", "b"}, leftovers: []string{"b", "c"}}
		s := &sweep.Sweep{Storage: f, DryRun: dry}
		report := reported(s)
		if err := errors.Join(s.Recorded(t.Context(), f), s.Listed(t.Context(), before)); err != nil {
			t.Fatal(err)
		}
		if s.Discarded != 3 || s.Left != 0 || !f.before.Equal(before) || len(*report) != 3 {
			t.Errorf("%d discarded, %d left, of before %v; reported are %q", s.Discarded, s.Left, f.before, *report)
		}
		want := []string{"a", "b", "c"}
		if dry {
			want = nil
		}
		if !slices.Equal(f.discarded, want) || dry == (len(f.forgotten) > 0) {
			t.Errorf("dry run %t: discarded are %q, forgotten %v", dry, f.discarded, f.forgotten)
		}
	}
}

// Many ids take several batches.
func TestManyRecorded(t *testing.T) {
	f := &fake{}
	for i := range 250 {
		f.abandoned = append(f.abandoned, fmt.Sprintf("%03d", i))
	}
	for _, dry := range []bool{true, false} {
		s := &sweep.Sweep{Storage: f, DryRun: dry}
		if err := s.Recorded(t.Context(), f); err != nil || s.Discarded != 250 {
			t.Errorf("%d discarded, %v", s.Discarded, err)
		}
	}
	if !slices.Equal(f.discarded, f.abandoned) || !slices.Equal(f.forgotten, f.abandoned) {
		t.Errorf("discarded are %q, forgotten %q", f.discarded, f.forgotten)
	}
}

func TestIncomplete(t *testing.T) {
	many := &fake{broken: make(map[string]bool)}
	for i := range 30 {
		id := fmt.Sprintf("%02d", i)
		many.leftovers = append(many.leftovers, id)
		many.broken[id] = i != 5
	}
	many.abandoned = many.leftovers
	for name, sweepIt := range map[string]func(*sweep.Sweep) error{
		"recorded": func(s *sweep.Sweep) error { return s.Recorded(t.Context(), many) },
		"listed":   func(s *sweep.Sweep) error { return s.Listed(t.Context(), time.Now()) },
	} {
		s := &sweep.Sweep{Storage: many}
		if err := sweepIt(s); !errors.Is(err, errBroken) || s.Discarded != 1 || s.Left != 15 {
			t.Errorf("%s: %v, %d discarded, %d left; want the tenth error in a row to end it", name, err, s.Discarded, s.Left)
		}
	}
	down := &fake{down: errBroken, leftovers: []string{"a"}}
	s := &sweep.Sweep{Storage: down}
	if err := s.Recorded(t.Context(), down); !errors.Is(err, errBroken) {
		t.Errorf("without records: %v", err)
	}
	if err := s.Listed(t.Context(), time.Now()); !errors.Is(err, errBroken) || s.Discarded != 1 {
		t.Errorf("listing breaks off: %v, %d discarded", err, s.Discarded)
	}
	cause := errors.New("the reason")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(cause)
	if err := (&sweep.Sweep{Storage: many}).Listed(ctx, time.Now()); !errors.Is(err, cause) {
		t.Errorf("cancelled: %v", err)
	}
}

// A task sweeps soon after its start, and about every day from then on. Passes that find nothing are not reported.
func TestTask(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{abandoned: []string{"a"}, leftovers: []string{"b"}}
		ctx, cancel := context.WithCancel(t.Context())
		start, reports := time.Now(), 0
		task := &sweep.Task{Storage: f, Records: f, Listed: true, Interval: 24 * time.Hour}
		task.Done = func(s *sweep.Sweep, err error) {
			got, after := fmt.Sprint(s.Discarded, s.Left, err), time.Since(start)
			switch reports++; reports {
			case 1:
				if got != "2 0 <nil>" || after > 2*time.Hour {
					t.Errorf("first report: %s after %v", got, after)
				}
				f.leftovers, f.passes = nil, 7
			case 2:
				if got != "0 0 broken\nbroken" || after < 7*18*time.Hour || after > 8*30*time.Hour {
					t.Errorf("second report: %s after %v", got, after)
				}
				cancel()
			}
		}
		if err := task.Run(ctx); err != nil || reports != 2 {
			t.Errorf("ended with %v after %d reports", err, reports)
		}
	})
}
