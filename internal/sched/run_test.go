package sched

import (
	"context"
	"errors"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"tecken-upload/internal/background"
)

func TestRunReturnsWhatWorkReturns(t *testing.T) {
	s := New(Options{})
	broken := errors.New("broken")
	for _, want := range []error{nil, broken} {
		if err := s.Run(t.Context(), Task{}, func(context.Context, *Slot) error { return want }); !errors.Is(err, want) {
			t.Errorf("run returned %v, want %v", err, want)
		}
		expectIdle(t, s)
	}
	slot := acquire(t, s, Task{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Run(ctx, Task{}, func(context.Context, *Slot) error { panic("not to be called") }); !errors.Is(err, context.Canceled) {
		t.Errorf("run without a slot: %v", err)
	}
	slot.Release()
}

func TestRunAbandonsWorkThatDoesNotReturn(t *testing.T) {
	const patience = 2 * time.Second
	for name, c := range map[string]struct {
		rate    int64 // what its bytes add to the lease
		timeout time.Duration
		want    error
		after   time.Duration
	}{
		"the lease ends":                       {0, time.Hour, ErrLeaseExpired, 10*time.Second + patience},
		"the context ends":                     {0, 3 * time.Second, context.DeadlineExceeded, 3*time.Second + patience},
		"the context ends long before a lease": {1 << 20, 5 * time.Minute, context.DeadlineExceeded, 5*time.Minute + patience},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := New(Options{Lease: 10 * time.Second, MinRate: c.rate, Patience: patience})
				ctx, cancel := context.WithTimeout(t.Context(), c.timeout)
				defer cancel()
				never := make(chan struct{})
				start := time.Now()
				err := s.Run(ctx, Task{Cost: 8 << 30}, func(context.Context, *Slot) error { <-never; return nil })
				if !errors.Is(err, c.want) || time.Since(start) != c.after {
					t.Errorf("after %v run returned %v, want %v after %v", time.Since(start), err, c.want, c.after)
				}
				acquire(t, s, Task{}).Release()
				if held := time.Since(start); held != c.after {
					t.Errorf("the slot came free after %v", held)
				}
				if st := s.Stats(); st.Runaways != 1 || st.Expired != 1 {
					t.Errorf("stats %+v", st)
				}
				close(never)
				synctest.Wait()
				expectIdle(t, s)
			})
		})
	}
}

func TestRunWaitsForWorkThatGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(Options{Lease: 10 * time.Second, Patience: 2 * time.Second})
		err := s.Run(t.Context(), Task{}, func(ctx context.Context, _ *Slot) error {
			<-ctx.Done()
			<-time.After(time.Second)
			return ctx.Err()
		})
		if !errors.Is(err, ErrLeaseExpired) || !errors.Is(err, context.Canceled) {
			t.Errorf("run returned %v", err)
		}
		expectIdle(t, s)
		err = s.Run(t.Context(), Task{}, func(ctx context.Context, _ *Slot) error {
			<-ctx.Done()
			return nil // it was through just then
		})
		if err != nil {
			t.Errorf("work that succeeded: %v", err)
		}
		expectIdle(t, s)
	})
}

func panics(context.Context, *Slot) error { panic(errBroken) }

var errBroken = errors.New("broken")

func TestAPanicInWorkIsTheCallers(t *testing.T) {
	s := New(Options{})
	defer expectIdle(t, s)
	defer func() {
		p, ok := recover().(*background.PanicError)
		if !ok || !errors.Is(p, errBroken) || !strings.Contains(string(p.Stack), "sched.panics(") {
			t.Errorf("recovered %v, want what work panicked with, and where", p)
		}
	}()
	_ = s.Run(t.Context(), Task{}, panics)
	t.Error("run returned")
}

func TestAPanicInAbandonedWorkIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		losses := make(chan Loss, 10)
		s := New(Options{Patience: time.Second, Lost: func(l Loss) { losses <- l }})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		err := s.Run(ctx, Task{Tenant: 5}, func(context.Context, *Slot) error {
			<-time.After(time.Minute)
			panic(errBroken)
		})
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("run returned %v", err)
		}
		if l := <-losses; l.Task.Tenant != 5 || l.Held != 2*time.Second || l.Panic != nil {
			t.Errorf("told %+v of the slot", l)
		}
		if l := <-losses; l.Task.Tenant != 5 || l.Held != time.Minute || !errors.Is(l.Panic, errBroken) {
			t.Errorf("told %+v of the panic", l)
		}
		synctest.Wait()
		expectIdle(t, s)
	})
}

func TestWorkThatEndsItsGoroutine(t *testing.T) {
	s := New(Options{})
	err := s.Run(t.Context(), Task{}, func(context.Context, *Slot) error { runtime.Goexit(); return nil })
	if !errors.Is(err, errExited) {
		t.Errorf("run returned %v", err)
	}
	expectIdle(t, s)
}
