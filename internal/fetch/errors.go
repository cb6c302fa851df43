package fetch

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"time"
)

// Kinds of failure, tested with errors.Is. Every error of a download wraps one of them in an [*Error], or is the cause of the
// end of its context.
var (
	// ErrRefused: the address may not be fetched from, or the other side does not give it out (4xx). Trying
	// again does not help.
	ErrRefused = errors.New("the archive can't be fetched from there")
	// ErrUnreachable: the other side can't be reached, fails (5xx), broke off, or does not tell the
	// archive's end. Trying again later may help.
	ErrUnreachable = errors.New("where the archive is can't be reached")
	// ErrTooSlow: the archive does not arrive in time.
	ErrTooSlow = errors.New("the archive arrives too slowly")
	// ErrTooLarge: the archive has more bytes than it may have.
	ErrTooLarge = errors.New("the archive is too large to be fetched")
)

// An Error says why an archive could not be fetched. Its text holds no query, and nothing that the other side wrote but the
// names in its certificate and the host of a redirect that is not allowed.
type Error struct {
	Kind   error  // one of the kinds above
	Reason string // one sentence, fit for whoever asked for the archive

	cause error // what it came from, for logs; may be nil
}

// Error returns the reason and what it came from.
func (e *Error) Error() string {
	if e.cause == nil {
		return e.Reason
	}
	return fmt.Sprintf("%s (%v)", e.Reason, e.cause)
}

// Unwrap returns the kind. What it came from is not to be mistaken for a failure of this machine.
func (e *Error) Unwrap() error { return e.Kind }

// What ends a download's context, besides its caller.
var (
	errStalled = errors.New("nothing arrived for too long")
	errLate    = errors.New("not all of it arrived in time")
	errClosed  = errors.New("the download is closed")
)

func refused(format string, args ...any) error {
	return &Error{Kind: ErrRefused, Reason: fmt.Sprintf(format, args...)}
}

func unreachable(cause error, format string, args ...any) error {
	return &Error{Kind: ErrUnreachable, Reason: fmt.Sprintf(format, args...), cause: cause}
}

func tooLarge(limit int64) error {
	return &Error{Kind: ErrTooLarge, Reason: fmt.Sprintf("The archive is larger than the %d bytes that one upload may have.", limit)}
}

func stalled(host string, limit time.Duration) error {
	return &Error{Kind: ErrTooSlow, Reason: fmt.Sprintf("'%s' sent nothing for %v.", host, limit)}
}

func late(host string, limit time.Duration) error {
	return &Error{Kind: ErrTooSlow, Reason: fmt.Sprintf("The archive did not arrive from '%s' within %v.", host, limit)}
}

// errUnreadable stands for what net/http quotes: the other side may have put our query into it.
var errUnreadable = errors.New("no HTTP, or too much of it")

// plain returns what may be told of an error of the connection.
func plain(err error) error {
	var (
		op     *net.OpError
		cert   *tls.CertificateVerificationError
		record tls.RecordHeaderError
		slow   net.Error
	)
	switch {
	case errors.As(err, &op):
		return op
	case errors.As(err, &cert):
		return cert
	case errors.As(err, &record):
		return errors.New("no TLS")
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return io.ErrUnexpectedEOF
	case errors.As(err, &slow) && slow.Timeout():
		return errors.New("no answer to the TLS handshake in time")
	}
	return errUnreadable
}
