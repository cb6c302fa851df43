package health

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"

	"tecken-upload/internal/spool"
)

// trial is a window with a clock and a disk that the test moves.
type trial struct {
	*testing.T
	*Window
	at    time.Time
	roomy bool
}

func newTrial(t *testing.T, threshold int) *trial {
	d := &trial{T: t, at: time.Unix(1000, 0), roomy: true}
	d.Window = NewWindow(threshold, time.Minute, func() bool { return d.roomy }, func() time.Time { return d.at })
	return d
}

var enospc = &os.PathError{Op: "write", Path: "x", Err: syscall.ENOSPC}

func (d *trial) want(full bool, when string) {
	d.Helper()
	if got := d.Full(); got != full {
		d.Errorf("%s: full is %t", when, got)
	}
}

func TestWhatCounts(t *testing.T) {
	for _, tc := range []struct {
		err  error
		want int64
	}{
		{nil, 0},
		{errors.New("no space left on device"), 0},
		{enospc, 1},
		{fmt.Errorf("record the end: %w", syscall.EDQUOT), 1},
		{fmt.Errorf("create: %w", &spool.FullError{Busy: true}), 0},
		{fmt.Errorf("create: %w", &spool.FullError{Busy: false}), 1},
		{fmt.Errorf("receive: %w", &spool.FullError{Err: syscall.ENOSPC}), 1},
	} {
		d := newTrial(t, 3)
		d.Note(tc.err)
		if got := d.Total(); got != tc.want {
			t.Errorf("%v counts %d, want %d", tc.err, got, tc.want)
		}
	}
}

func TestRedAtTheThreshold(t *testing.T) {
	d := newTrial(t, 3)
	for range 2 {
		d.Note(enospc)
		d.want(false, "below the threshold")
	}
	d.Note(enospc)
	d.want(true, "at the threshold")
}

func TestErrorsThatAreTooFarApart(t *testing.T) {
	d := newTrial(t, 3)
	d.Note(enospc)
	d.at = d.at.Add(30 * time.Second)
	d.Note(enospc)
	d.at = d.at.Add(30 * time.Second) // the first is now exactly as old as the window is long
	d.Note(enospc)
	d.want(false, "two are inside the window")
	d.at = d.at.Add(30*time.Second - 1)
	d.Note(enospc)
	d.want(true, "three are, the oldest by a nanosecond")
}

func TestGreenAgain(t *testing.T) {
	d := newTrial(t, 2)
	d.Note(enospc)
	d.at = d.at.Add(10 * time.Second)
	d.Note(enospc)
	d.at = d.at.Add(50*time.Second - 1)
	d.want(true, "both are inside the window")
	d.roomy = false
	d.at = d.at.Add(1)
	d.want(true, "the window has moved on, the disk is still full")
	d.roomy = true
	d.want(false, "and there is room")
	d.Note(enospc)
	d.want(true, "the one from before is still inside the window")
	d.at = d.at.Add(time.Hour)
	d.want(false, "long after")
	d.Note(enospc)
	d.want(false, "one alone, afterwards")
}

func TestAThresholdOfOne(t *testing.T) {
	d := newTrial(t, 1)
	d.Note(enospc)
	d.want(true, "at once")
	d.at = d.at.Add(time.Minute)
	d.want(false, "a window later")
}

func TestAnErrorWhileTheDiskIsMeasured(t *testing.T) {
	at := time.Unix(1000, 0)
	var w *Window
	w = NewWindow(1, time.Minute, func() bool { w.Note(enospc); return true }, func() time.Time { return at })
	w.Note(enospc)
	at = at.Add(time.Minute)
	if !w.Full() {
		t.Error("an error that came meanwhile was forgotten")
	}
}

func TestConcurrentUse(t *testing.T) {
	w := NewWindow(50, time.Minute, func() bool { return true }, time.Now)
	var wg sync.WaitGroup
	for range 100 {
		wg.Go(func() {
			w.Note(enospc)
			w.Full()
		})
	}
	wg.Wait()
	if w.Total() != 100 || !w.Full() {
		t.Errorf("%d errors, full %t", w.Total(), w.Full())
	}
}
