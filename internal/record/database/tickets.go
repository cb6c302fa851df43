package database

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"tecken-upload/internal/background"
)

// How long a refused ticket is set aside, doubled after each failure from the first to the last.
const (
	firstReconnect = 50 * time.Millisecond
	lastReconnect  = 2 * time.Second
)

// tickets let as many calls at the database as there may be connections; the others queue, in order.
//
// If the server refuses a new connection, the call's ticket is set aside for a while, and the call queues again. So a server that allows
// fewer connections than we may make soon gets only as many calls as it serves, and a server that is down gets few: no more than there are
// tickets in about lastReconnect. A ticket that returns from aside tries whether things are better.
type tickets struct {
	free chan struct{}

	mu       sync.Mutex
	aside    int
	failures int   // since the last successful connection
	refusal  error // the latest of them
}

func newTickets(n int) *tickets {
	t := &tickets{free: make(chan struct{}, n)}
	for range n {
		t.free <- struct{}{}
	}
	return t
}

// use calls fn with a ticket, again if the server refused to connect, for up to connectPatience.
func (t *tickets) use(ctx context.Context, fn func(context.Context) error) error {
	began := time.Now()
	for {
		refused, err := t.try(ctx, fn)
		if !refused || time.Since(began) >= connectPatience {
			return err
		}
	}
}

// try calls fn with a ticket, and reports whether the server refused to connect; then fn did nothing.
func (t *tickets) try(ctx context.Context, fn func(context.Context) error) (refused bool, err error) {
	if err := t.take(ctx); err != nil {
		return false, err
	}
	defer func() {
		if refused {
			t.setAside(err)
		} else {
			t.free <- struct{}{}
		}
	}()
	err = fn(ctx)
	_, refused = errors.AsType[*pgconn.ConnectError](err)
	return refused, err
}

// take waits for a ticket. It fails early when all are set aside: then nothing works.
func (t *tickets) take(ctx context.Context) error {
	patience := time.NewTicker(connectPatience)
	defer patience.Stop()
	for {
		select {
		case <-t.free:
			return nil
		case <-patience.C:
			if aside, refusal := t.state(); aside == cap(t.free) {
				return refusal
			}
		case <-ctx.Done():
			if _, refusal := t.state(); refusal != nil {
				return refusal
			}
			return context.Cause(ctx)
		}
	}
}

// setAside keeps a ticket back for a while.
func (t *tickets) setAside(refusal error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	pause := background.Backoff(t.failures, firstReconnect, lastReconnect)
	t.aside++
	t.failures++
	t.refusal = refusal
	background.After(pause, "database ticket", func() {
		t.mu.Lock()
		t.aside--
		t.mu.Unlock()
		t.free <- struct{}{}
	})
}

// connected records a new connection.
func (t *tickets) connected() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.failures, t.refusal = 0, nil
}

// state returns the number of tickets set aside, and the latest refusal since a connection was made.
func (t *tickets) state() (aside int, refusal error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.aside, t.refusal
}
