package fetch

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"time"
)

// Kinds of failure, for errors.Is. Every error of a download wraps one of them in an [*Error], or is the cause of the end of its context.
var (
	// ErrRefused: the address is not allowed, or the source refuses (4xx). A retry does not help.
	ErrRefused = errors.New("the source refuses the archive")
	// ErrUnreachable: the source can't be reached, fails (5xx), broke off, or does not declare the archive's end. A later retry may help.
	ErrUnreachable = errors.New("the source server failed")
	// ErrTooSlow: the archive does not arrive in time.
	ErrTooSlow = errors.New("the archive arrives too slowly")
	// ErrTooLarge: the archive is larger than its limit.
	ErrTooLarge = errors.New("the archive is too large")
)

// An Error is why an archive could not be fetched. Its text has no query. Of the source's text it has only names in the certificate and the
// host of a refused redirect.
type Error struct {
	Kind   error  // one of the kinds above
	Reason string // one sentence for the client

	cause error // for logs; may be nil
}

// Error returns the reason and the cause.
func (e *Error) Error() string {
	if e.cause == nil {
		return e.Reason
	}
	return fmt.Sprintf("%s (%v)", e.Reason, e.cause)
}

// Unwrap returns the kind. The cause must not be taken for a failure of this machine.
func (e *Error) Unwrap() error { return e.Kind }

// What ends a download's context, besides its caller.
var (
	errStalled = errors.New("nothing arrived for too long")
	errLate    = errors.New("the archive did not arrive in time")
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

// errUnreadable replaces an error of net/http's that quotes the source, which may quote our query.
var errUnreadable = errors.New("no HTTP, or a header too large")

// plain returns an error of the connection without the source's text.
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
