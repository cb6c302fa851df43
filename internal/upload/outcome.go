package upload

import (
	"errors"
	"fmt"
	"time"
)

// ErrReceiveTimeout is wrapped by the errors of a body that arrives too slowly.
var ErrReceiveTimeout = errors.New("the body arrived too slowly")

// What keeps an archive from being fetched from the source server that a request names. None is a failure of ours or of our services.
var (
	// ErrSource: the source server does not have it, and trying again does not help.
	ErrSource = errors.New("the source server does not have the archive")
	// ErrSourceDown: the source server can't be reached, or fails. Trying again later may help.
	ErrSourceDown = errors.New("the source server failed")
	// ErrSourceSlow: the source server sends it too slowly. Trying again later may help.
	ErrSourceSlow = errors.New("the source server sent the archive too slowly")
)

// A SourceError says why an archive could not be fetched from its source server.
type SourceError struct {
	Kind   error  // ErrSource, ErrSourceDown or ErrSourceSlow
	Reason string // one sentence, fit for the client
	Err    error  // what it came from, for logs; may be nil
}

// Error returns what it came from, or the reason.
func (e *SourceError) Error() string {
	if e.Err != nil {
		return e.Err.Error()
	}
	return e.Reason
}

// Unwrap returns the kind.
func (e *SourceError) Unwrap() error { return e.Kind }

// What a body may be instead of a form with an archive.
var (
	// ErrNoFile: the body is no multipart form, or has no file in it. Its text is the protocol's.
	ErrNoFile = errors.New("Must be multipart form data with at least one file") //nolint:staticcheck // the wire protocol's text
	// ErrNotForm is the ErrNoFile of a body that is no form, but a file. Its text goes on with what to do.
	ErrNotForm = fmt.Errorf("%w: this is the file alone; send it as a field of a form, for example with curl -F symbols.zip=@symbols.zip", ErrNoFile)
	// ErrMalformed: the body is a multipart form that breaks its own rules, or ends too early.
	ErrMalformed = errors.New("the multipart form is malformed")
)

// ErrTooLarge: the archive has more bytes than an upload may have.
var ErrTooLarge = errors.New("the archive is too large")

// A SizeError says which limit an archive is over. It wraps ErrTooLarge.
type SizeError struct {
	Limit int64 // bytes
}

// Error names the limit, in a sentence fit for the client.
func (e *SizeError) Error() string {
	return fmt.Sprintf("The archive is larger than the %d bytes that one upload may have.", e.Limit)
}

// Unwrap returns ErrTooLarge.
func (e *SizeError) Unwrap() error { return ErrTooLarge }

// A DeadlineError says how far an upload came inside its deadline. It wraps ErrDeadline.
type DeadlineError struct {
	Timeout     time.Duration // the deadline, from the last byte received
	Done, Total int           // members in storage by then, and members to be there

	err error // what the deadline interrupted
}

// Error says what was interrupted, for logs; [Sentence] says it for clients.
func (e *DeadlineError) Error() string {
	return fmt.Sprintf("%v after %v, %d of %d files published: %v", ErrDeadline, e.Timeout, e.Done, e.Total, e.err)
}

func (e *DeadlineError) sentence() string {
	if e.Total == 0 {
		return fmt.Sprintf("The deadline of %v passed before any of the files was published. Try again.", e.Timeout)
	}
	return fmt.Sprintf("The deadline of %v passed: %d of %d files are published. Try again; these will be skipped.", e.Timeout, e.Done, e.Total)
}

// Unwrap returns ErrDeadline and what it interrupted.
func (e *DeadlineError) Unwrap() []error { return []error{ErrDeadline, e.err} }
