package database

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"tecken-upload/internal/upload"
)

func errRefused() error { return &pgconn.ConnectError{Config: &pgconn.Config{}} }

// However many calls wait for a database that is down, it is tried rarely, and its return is noticed soon.
func TestOutageMakesNoStorm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const outage, callers, conns = time.Minute, 200, 10
		tickets := newTickets(conns)
		up := time.Now().Add(outage)
		var attempts, inUse atomic.Int64
		call := func(context.Context) error {
			if inUse.Add(1) > conns {
				t.Errorf("%d calls at once", inUse.Load())
			}
			defer inUse.Add(-1)
			if time.Now().Before(up) {
				attempts.Add(1)
				return errRefused()
			}
			tickets.connected()
			return nil
		}
		var wg sync.WaitGroup
		for range callers {
			wg.Go(func() {
				for {
					began := time.Now()
					err := tickets.use(t.Context(), call)
					if waited := time.Since(began); waited > 2*connectPatience {
						t.Errorf("waited %v for %v", waited, err)
					}
					if err == nil {
						break
					}
				}
				if late := time.Since(up); late < 0 || late > 2*lastReconnect {
					t.Errorf("connected %v after the database was back", late)
				}
			})
		}
		wg.Wait()
		// Half of lastReconnect is the shortest of long pauses; pauses shorten only at the start.
		if n, most := attempts.Load(), int64(conns*2*outage/lastReconnect+10*conns); n < conns || n > most {
			t.Errorf("%d attempts in %v, want at most %d", n, outage, most)
		}
		<-time.After(lastReconnect) // tickets set aside come back
		if n := len(tickets.free); n != conns {
			t.Errorf("%d tickets, want %d", n, conns)
		}
	})
}

// A server with fewer connections than tickets is fully used, and every call is served.
func TestFewerConnectionsThanTickets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const conns, served, calls = 10, 2, 2000
		const work = 2 * time.Millisecond
		tickets := newTickets(conns)
		began := time.Now()
		var inUse, attempts atomic.Int64
		var wg sync.WaitGroup
		for range calls {
			wg.Go(func() {
				err := tickets.use(t.Context(), func(context.Context) error {
					attempts.Add(1)
					defer inUse.Add(-1)
					if inUse.Add(1) > served {
						return errRefused()
					}
					<-time.After(work)
					return nil
				})
				if err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if elapsed, ideal := time.Since(began), calls*work/served; elapsed > ideal*5/4 {
			t.Errorf("took %v, ideal is %v", elapsed, ideal)
		}
		if refused := attempts.Load() - calls; refused > 100 {
			t.Errorf("%d attempts were refused", refused)
		}
	})
}

func TestTicketsHeedContexts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tickets := newTickets(1)
		held, release := make(chan struct{}), make(chan struct{})
		go func() {
			_ = tickets.use(t.Context(), func(context.Context) error { close(held); <-release; return nil })
		}()
		<-held
		ctx, cancel := context.WithTimeoutCause(t.Context(), time.Minute, upload.ErrDeadline)
		defer cancel()
		began := time.Now()
		err := tickets.use(ctx, func(context.Context) error { t.Error("called without a ticket"); return nil })
		if !errors.Is(err, upload.ErrDeadline) || time.Since(began) != time.Minute {
			t.Errorf("after %v: %v", time.Since(began), err)
		}
		close(release)
		if err := tickets.use(t.Context(), func(context.Context) error { return nil }); err != nil {
			t.Error(err)
		}
	})
}

func TestTicketsSurviveAPanic(t *testing.T) {
	tickets := newTickets(1)
	func() {
		defer func() {
			if recover() == nil {
				t.Error("the panic is lost")
			}
		}()
		_ = tickets.use(t.Context(), func(context.Context) error { panic("oops") })
	}()
	if n := len(tickets.free); n != 1 {
		t.Errorf("%d tickets, want 1", n)
	}
}
