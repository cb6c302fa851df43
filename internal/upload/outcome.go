package upload

import (
	"errors"
	"fmt"
	"time"

	"tecken-upload/internal/archive"
	"tecken-upload/internal/spool"
)

// ErrReceiveTimeout is wrapped by the errors of a body that arrives too slowly.
var ErrReceiveTimeout = errors.New("the body arrived too slowly")

// What keeps an archive from being fetched from where the request says. None is a failure of ours or of our services.
var (
	// ErrSource: it can't be had from there, and trying again does not help.
	ErrSource = errors.New("the archive can't be had from where the request says")
	// ErrSourceDown: what is there can't be reached, or fails. Trying again later may help.
	ErrSourceDown = errors.New("where the request says the archive is fails")
	// ErrSourceSlow: what is there sends it too slowly. Trying again later may help.
	ErrSourceSlow = errors.New("where the request says the archive is sends it too slowly")
)

// A SourceError says why an archive could not be fetched from where the request says.
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

// Unwrap returns ErrDeadline and what it interrupted.
func (e *DeadlineError) Unwrap() []error { return []error{ErrDeadline, e.err} }

// outcomes tells from an error how an upload ended; the first that matches counts.
var outcomes = []struct {
	is      error
	outcome Outcome
}{
	{ErrClientGone, Cancelled},
	{ErrShutdown, Interrupted},
	{ErrDeadline, TimedOut},
	{ErrReceiveTimeout, Rejected},
	{archive.ErrInvalid, Rejected},
	{archive.ErrTooLarge, Rejected},
	{ErrTooLarge, Rejected},
	{spool.ErrTooLarge, Rejected},
	{ErrSource, Rejected},
	{ErrSourceDown, Rejected},
	{ErrSourceSlow, Rejected},
	{ErrNoFile, Rejected},
	{ErrMalformed, Rejected},
	{ErrBusy, Rejected}, // no turn to fetch what a form names
}

// OutcomeOf tells how an upload ended that ended with err.
func OutcomeOf(err error) Outcome {
	if err == nil {
		return Completed
	}
	for _, o := range outcomes {
		if errors.Is(err, o.is) {
			return o.outcome
		}
	}
	return Failed
}

// Sentence is what may be told of err outside of the house: one sentence, without addresses or paths. It is empty for nil.
func Sentence(err error) string {
	var (
		deadline *DeadlineError
		bad      *archive.Error
		busy     *BusyError
		size     *SizeError
		limit    *spool.LimitError
		source   *SourceError
	)
	switch {
	case err == nil:
		return ""
	case errors.Is(err, ErrClientGone):
		return "The client closed the connection."
	case errors.Is(err, ErrShutdown):
		return "The server is shutting down. Try again; what was published will be skipped."
	case errors.As(err, &deadline) && deadline.Total == 0:
		return fmt.Sprintf("The deadline of %v passed before any of the files was published. Try again.", deadline.Timeout)
	case errors.As(err, &deadline):
		return fmt.Sprintf("The deadline of %v passed: %d of %d files are published. Try again; these will be skipped.",
			deadline.Timeout, deadline.Done, deadline.Total)
	case errors.As(err, &source):
		return source.Reason
	case errors.Is(err, ErrReceiveTimeout):
		return "The body arrived too slowly."
	case errors.As(err, &bad):
		return bad.Reason
	case errors.As(err, &size):
		return size.Error()
	case errors.As(err, &limit):
		return fmt.Sprintf("The upload needs more than the %d bytes that this server's spool has for one.", limit.Limit)
	case errors.Is(err, ErrNotForm):
		return ErrNotForm.Error()
	case errors.Is(err, ErrNoFile):
		return ErrNoFile.Error()
	case errors.Is(err, ErrMalformed):
		return "The multipart form is malformed, or ends before its closing boundary."
	case errors.As(err, &busy):
		return busy.Reason
	case errors.Is(err, spool.ErrFull):
		return "This server has no room for the upload. Try again later."
	case errors.Is(err, ErrRefused):
		return "A service this server depends on refuses to work for it. Trying again does not help: the server's operators have to mend this."
	case errors.Is(err, ErrUnavailable):
		return "A service this server depends on is unavailable. Try again later."
	}
	return "Internal Server Error"
}
