package background_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"tecken-upload/internal/background"
)

// told collects reported panics.
type told struct {
	mu     sync.Mutex
	names  []string
	values []any
	stacks []string
}

func listen(t *testing.T) *told {
	w := new(told)
	background.OnPanic(func(name string, p *background.PanicError) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.names, w.values, w.stacks = append(w.names, name), append(w.values, p.Value), append(w.stacks, string(p.Stack))
	})
	t.Cleanup(func() { background.OnPanic(nil) })
	return w
}

func (w *told) all() (names []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.names)
}

func explode() { panic("boom") }

func TestPanicsAreReported(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := listen(t)
		background.Go("go", explode)
		synctest.Wait()
		background.After(time.Hour, "after", explode)
		<-time.After(2 * time.Hour)
		ctx, cancel := context.WithCancel(t.Context())
		background.AfterContext(ctx, "context", explode)
		cancel()
		synctest.Wait()
		background.Guard("guard", explode)
		if got, want := w.all(), []string{"go", "after", "context", "guard"}; !slices.Equal(got, want) {
			t.Errorf("told of %q, want %q", got, want)
		}
		for i, stack := range w.stacks {
			if !strings.Contains(stack, "explode") || w.values[i] != "boom" {
				t.Errorf("%s: %v, with the stack\n%s", w.names[i], w.values[i], stack)
			}
		}
	})
}

func TestWhatIsStoppedIsNotCalled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := listen(t)
		timer := background.After(time.Hour, "after", explode)
		ctx, cancel := context.WithCancel(t.Context())
		stop := background.AfterContext(ctx, "context", explode)
		if !timer.Stop() || !stop() {
			t.Error("neither had been called, and yet it could not be stopped")
		}
		cancel()
		<-time.After(2 * time.Hour)
		if got := w.all(); got != nil {
			t.Errorf("told of %q", got)
		}
	})
}

func TestLoopGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := listen(t)
		begin := time.Now()
		var at []time.Duration
		end := errors.New("the end")
		err := background.Loop(t.Context(), "loop", func(context.Context) error {
			at = append(at, time.Since(begin))
			switch len(at) {
			case 9:
				<-time.After(time.Hour) // runs well for long
			case 11:
				return end
			}
			panic("boom")
		})
		if !errors.Is(err, end) {
			t.Errorf("ended with %v", err)
		}
		var pauses []time.Duration
		for i := 1; i < len(at); i++ {
			pauses = append(pauses, (at[i]-at[i-1]).Round(time.Second)%time.Hour)
		}
		s := time.Second
		if want := []time.Duration{s, 2 * s, 4 * s, 8 * s, 16 * s, 32 * s, 60 * s, 60 * s, s, 2 * s}; !slices.Equal(pauses, want) {
			t.Errorf("paused for %v, want %v", pauses, want)
		}
		if n := len(w.all()); n != 10 {
			t.Errorf("told of %d panics", n)
		}
	})
}

func TestLoopEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		listen(t)
		ctx, cancel := context.WithCancel(t.Context())
		if err := background.Loop(ctx, "loop", func(context.Context) error { cancel(); panic("boom") }); err != nil {
			t.Error(err)
		}
	})
}

func TestGroup(t *testing.T) {
	g, ctx := background.NewGroup(t.Context())
	g.SetLimit(2)
	ended := make(chan error, 1)
	g.Go(func() error { <-ctx.Done(); ended <- ctx.Err(); return nil })
	g.Go(func() error { explode(); return nil })
	err := g.Wait()
	p, ok := errors.AsType[*background.PanicError](err)
	if !ok || p.Value != "boom" || !strings.Contains(string(p.Stack), "explode") || err.Error() != "panic: boom" {
		t.Errorf("%v", err)
	}
	if err := <-ended; err == nil {
		t.Error("the others' context did not end")
	}
}

func TestTry(t *testing.T) {
	fault := errors.New("fault")
	if err := background.Try(func() error { return fault }); !errors.Is(err, fault) {
		t.Error(err)
	}
	if err := background.Try(func() error { return nil }); err != nil {
		t.Error(err)
	}
	err := background.Try(func() error { panic(fault) })
	if !errors.Is(err, fault) {
		t.Errorf("%v does not wrap the error that it is a panic of", err)
	}
	again := background.Try(func() error { panic(err) })
	if !errors.Is(again, err) {
		t.Errorf("raised again it is %v", again)
	}
}

// A panic's report may panic too.
func TestAReportThatPanics(t *testing.T) {
	told := 0
	background.OnPanic(func(string, *background.PanicError) { told++; panic("again") })
	t.Cleanup(func() { background.OnPanic(nil) })
	background.Guard("guard", explode)
	if told != 1 {
		t.Errorf("told %d times", told)
	}
}

// Without a report it would be lost.
func TestPanicsEndWhatReportsNone(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("a panic was swallowed")
		}
	}()
	background.Guard("guard", explode)
}
