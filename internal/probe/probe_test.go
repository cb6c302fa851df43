package probe_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"tecken-upload/internal/probe"
)

const timeout, fresh = 2 * time.Second, time.Second

// asked is a probe that counts its calls. Each takes that long, ignores its context, and answers with its number.
func asked(took *atomic.Int64) (p *probe.Probe[int64], calls *atomic.Int64) {
	calls = new(atomic.Int64)
	return probe.New(func(context.Context) (int64, error) {
		n := calls.Add(1)
		<-time.After(time.Duration(took.Load()))
		return n, nil
	}, probe.Options{Timeout: timeout, Fresh: fresh}), calls
}

func TestAnAnswerIsSharedWhileItIsFresh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var took atomic.Int64
		took.Store(int64(time.Second))
		p, calls := asked(&took)
		start := time.Now()
		want := func(want int64, after time.Duration) {
			t.Helper()
			if got, err := p.Ask(t.Context()); got != want || err != nil || time.Since(start) != after {
				t.Errorf("after %v: %d, %v; want %d after %v", time.Since(start), got, err, want, after)
			}
		}
		var all sync.WaitGroup
		for range 5 {
			all.Go(func() { want(1, time.Second) })
		}
		all.Wait()
		<-time.After(fresh - 1)
		want(1, 2*time.Second-1)
		<-time.After(1)
		want(2, 3*time.Second)
		if n := calls.Load(); n != 2 {
			t.Errorf("%d calls", n)
		}
	})
}

// Callers wait for a hung call once, and not after its time.
func TestACallThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var took atomic.Int64
		took.Store(int64(time.Minute))
		p, calls := asked(&took)
		start := time.Now()
		for range 3 {
			if _, err := p.Ask(t.Context()); !errors.Is(err, probe.ErrNoAnswer) || time.Since(start) != timeout {
				t.Errorf("after %v: %v", time.Since(start), err)
			}
		}
		took.Store(0)
		<-time.After(time.Minute)
		if n, err := p.Ask(t.Context()); n != 2 || err != nil || calls.Load() != 2 {
			t.Errorf("after it has returned: %d, %v, %d calls", n, err, calls.Load())
		}
	})
}

// A caller that leaves does not end the call.
func TestWhoGoesIsNotKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := probe.New(func(ctx context.Context) (string, error) {
			<-time.After(time.Second)
			return "here", ctx.Err()
		}, probe.Options{Timeout: timeout})
		gone := errors.New("gone")
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(time.Millisecond, func() { cancel(gone) })
		if _, err := p.Ask(ctx); !errors.Is(err, gone) {
			t.Errorf("who went got %v", err)
		}
		if answer, err := p.Ask(t.Context()); answer != "here" || err != nil {
			t.Errorf("who stayed got %q, %v", answer, err)
		}
	})
}

// A call that obeys its context gets its time, and no more.
func TestTheTimeOfACall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		p := probe.New(func(ctx context.Context) (int, error) {
			<-ctx.Done()
			return 0, context.Cause(ctx)
		}, probe.Options{Timeout: timeout})
		if _, err := p.Ask(t.Context()); !errors.Is(err, probe.ErrNoAnswer) || time.Since(start) != timeout {
			t.Errorf("after %v: %v", time.Since(start), err)
		}
	})
}

func TestAPanicIsAnError(t *testing.T) {
	p := probe.New(func(context.Context) (int, error) { panic("boom") }, probe.Options{Timeout: timeout})
	if _, err := p.Ask(t.Context()); err == nil || !strings.Contains(err.Error(), "boom") {
		t.Errorf("%v", err)
	}
}
