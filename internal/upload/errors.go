package upload

import (
	"errors"
	"fmt"
	"time"
)

// Kinds of failure, tested with errors.Is.
var (
	// ErrNotFound: there is no such thing.
	ErrNotFound = errors.New("not found")
	// ErrUnavailable: a backing service (storage, database) is down or refuses us. Trying again later may help, unless the error
	// wraps ErrRefused too.
	ErrUnavailable = errors.New("backing service unavailable")
	// ErrRefused: a backing service refuses what is asked of it, until its settings or ours change. It may be
	// one object alone that is refused: this proves nothing about the service. Every error that wraps it is, or wraps, a *RefusedError.
	// It wraps ErrUnavailable.
	ErrRefused = fmt.Errorf("%w: it refuses what is asked of it", ErrUnavailable)
	// ErrBusy: there is no room now. Every error that wraps it is, or wraps, a *BusyError.
	ErrBusy = errors.New("no room")
	// ErrOverLimit: the tenant has as many uploads, or fetch slots, as it may have, and others could have more. It wraps ErrBusy.
	ErrOverLimit = fmt.Errorf("%w: the tenant is over its limit", ErrBusy)
)

// Causes that end an upload's context early, as context.Cause returns them.
var (
	// ErrDeadline: processing took longer than the upload's deadline.
	ErrDeadline = errors.New("the upload's deadline passed")
	// ErrShutdown: the server is shutting down and has waited long enough.
	ErrShutdown = errors.New("the server is shutting down")
	// ErrClientGone: the client closed its connection.
	ErrClientGone = errors.New("the client hung up")
)

// A Lack says in one word what there is no room for.
type Lack string

// What uploads are refused for.
const (
	LackLimit     Lack = "limit"     // the tenant has as many uploads as it may have
	LackReceiving Lack = "receiving" // a receiving slot
	LackSpool     Lack = "spool"     // room in the spool
	LackTime      Lack = "time"      // the uploads admitted already take all the time there is
	LackQueue     Lack = "queue"     // the line is full
	LackFetch     Lack = "fetch"     // a fetch slot
)

// Lacks lists every Lack.
func Lacks() []Lack {
	return []Lack{LackLimit, LackReceiving, LackSpool, LackTime, LackQueue, LackFetch}
}

// A BusyError says what there is no room for, and when to try again.
type BusyError struct {
	OverLimit  bool          // the room that is missing is the tenant's own
	Lack       Lack          // of an upload; empty for other requests
	Reason     string        // one sentence, fit for the client
	RetryAfter time.Duration // at least a second
}

// Error returns the reason.
func (e *BusyError) Error() string { return e.Reason }

// Unwrap returns ErrBusy or ErrOverLimit.
func (e *BusyError) Unwrap() error {
	if e.OverLimit {
		return ErrOverLimit
	}
	return ErrBusy
}

// A RefusedError says why a backing service refuses what is asked of it, and what its operators should look at.
type RefusedError struct {
	Code   string // the service's own word for it, such as AccessDenied
	Advice string // what to look at, for logs and Sentry
	Err    error  // what it came from
}

// Error names the code and what to look at, for logs; [Sentence] says it for clients.
func (e *RefusedError) Error() string {
	return fmt.Sprintf("refused with %s (look at %s): %v", e.Code, e.Advice, e.Err)
}

// Unwrap returns ErrRefused, and what it came from.
func (e *RefusedError) Unwrap() []error { return []error{ErrRefused, e.Err} }

// A Backing is a service that uploads depend on.
type Backing string

// The services that are counted separately when they are unavailable.
const (
	BackingDatabase Backing = "database"
	BackingDisk     Backing = "disk" // of the spool
)

// OfBacking says of an ErrUnavailable which service is unavailable; another error stays as it is.
func OfBacking(service Backing, err error) error {
	if errors.Is(err, ErrUnavailable) {
		return &backingError{service, err}
	}
	return err
}

type backingError struct {
	service Backing
	error
}

// Unwrap returns what the service failed with.
func (e *backingError) Unwrap() error { return e.error }
