package admission

import (
	"context"
	"errors"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"tecken-upload/internal/spool"
	"tecken-upload/internal/upload"
)

func TestAPlaceIsWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate(t, 10*time.Second)
		place, err := g.Enter(t.Context(), upload.Token{}, 1)
		if err != nil {
			t.Fatal(err)
		}
		entered := make(chan error, 1)
		go func() {
			place, err := g.Enter(t.Context(), upload.Token{}, 1)
			if err == nil {
				leave(t, place)
			}
			entered <- err
		}()
		<-time.After(9 * time.Second)
		leave(t, place)
		if err := <-entered; err != nil {
			t.Errorf("a place came free in time: %v", err)
		}
	})
}

func TestNoPlaceInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate(t, 10*time.Second)
		place, err := g.Enter(t.Context(), upload.Token{}, 1)
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		_, err = g.Enter(t.Context(), upload.Token{}, 1)
		busy, ok := errors.AsType[*upload.BusyError](err)
		if !ok || busy.RetryAfter < time.Second || !errors.Is(err, upload.ErrBusy) || time.Since(start) != 10*time.Second {
			t.Errorf("after %v: %v", time.Since(start), err)
		}
		leave(t, place)
		again, err := g.Enter(t.Context(), upload.Token{}, 1)
		if err != nil {
			t.Fatalf("the place is free, and was not given to who had gone: %v", err)
		}
		leave(t, again)
	})
}

func TestAWaitEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate(t, time.Hour)
		place, err := g.Enter(t.Context(), upload.Token{}, 1)
		if err != nil {
			t.Fatal(err)
		}
		defer leave(t, place)
		gone := errors.New("gone")
		ctx, cancel := context.WithTimeoutCause(t.Context(), time.Second, gone)
		defer cancel()
		if _, err := g.Enter(ctx, upload.Token{}, 1); !errors.Is(err, gone) {
			t.Errorf("the wait ended with %v", err)
		}
	})
}

func newGate(t *testing.T, wait time.Duration) *Gate {
	t.Helper()
	s, err := spool.Open(filepath.Join(t.TempDir(), "spool"), spool.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return NewGate(Config{Spool: s, Places: 1, Wait: wait})
}

func leave(t *testing.T, p upload.Place) {
	t.Helper()
	if err := p.Workspace.Close(); err != nil {
		t.Error(err)
	}
	p.Leave()
}
