package upload

import (
	"errors"
	"io"
	"os"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"tecken-upload/internal/sched"
)

// A large member of a stream takes minutes, which is no stall while its bytes move: neither as it is staged, nor as it is stored.
func TestBytesOfAStreamAreItsProgress(t *testing.T) {
	scratch, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer scratch.Close()
	synctest.Test(t, func(t *testing.T) {
		streams, others := sched.New(sched.Options{}), sched.New(sched.Options{})
		stream, err := streams.Acquire(t.Context(), sched.Task{})
		if err != nil {
			t.Fatal(err)
		}
		slot, err := others.Acquire(t.Context(), sched.Task{})
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range []*sched.Scheduler{streams, others} {
			go func() {
				if next, err := s.Acquire(t.Context(), sched.Task{}); err == nil {
					next.Release()
				}
			}()
		}
		synctest.Wait()
		r := &run{stream: stream}
		body := &moving{ReadSeeker: strings.NewReader("x"), moved: r.moved(slot)}
		read := func(n int64) {
			if _, err := io.CopyN(io.Discard, onlyReader{body}, n); err != nil {
				t.Error(err)
			}
		}
		for name, step := range map[string]func(){
			"staged": func() { _, _ = io.WriteString(growing{scratch, r.moved(slot)}, "x") },
			"stored": func() { read(1) },
		} {
			<-time.After(time.Minute)
			step()
			if a, b := streams.Stats().Stalled, others.Stats().Stalled; a != 0 || b != 0 {
				t.Errorf("a byte was %s, and work is stalled for %v and %v", name, a, b)
			}
		}
		// The same bytes once more are no progress, however often storage makes us send them.
		<-time.After(time.Minute)
		if _, err := body.Seek(0, io.SeekStart); err != nil {
			t.Fatal(err)
		}
		read(1)
		if got := others.Stats().Stalled; got != time.Minute {
			t.Errorf("after another attempt, work is stalled for %v", got)
		}
		r.stream = nil
		r.moved(slot)()
		slot.Release()
		stream.Release()
	})
}

// onlyReader hides what else a reader can do.
type onlyReader struct{ io.Reader }

// Storage that reads a body once to hash it gets on both times; that it sends it again and again is no progress.
func TestAHashedBodyGetsOnAsItIsSent(t *testing.T) {
	for name, tt := range map[string]struct {
		read  int64 // bytes of two
		moves []int // after each reading
	}{
		"to its end": {3, []int{2, 4, 4, 4}},
		"in part":    {1, []int{1, 1, 1}}, // and broken off: what follows is another attempt
	} {
		moves := 0
		body := &moving{ReadSeeker: strings.NewReader("xx"), moved: func() { moves++ }}
		for i, want := range tt.moves {
			if _, err := io.CopyN(io.Discard, iotest.OneByteReader(body), tt.read); err != nil && !errors.Is(err, io.EOF) {
				t.Error(err)
			}
			if moves != want {
				t.Errorf("%s: after %d readings it has got on %d times; want %d", name, i+1, moves, want)
			}
			if _, err := body.Seek(0, io.SeekStart); err != nil {
				t.Fatal(err)
			}
		}
	}
}
