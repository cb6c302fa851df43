package archive

import (
	"errors"
	"fmt"
	"runtime/debug"
	"strings"
	"unicode"
)

// Kinds of an [Error], tested with errors.Is.
var (
	// ErrInvalid: the file is not an archive, is broken, or has forbidden content.
	ErrInvalid = errors.New("invalid archive")
	// ErrTooLarge: the archive is over one of the [Limits].
	ErrTooLarge = errors.New("archive over a limit")
)

// maxQuoted bounds the characters of a member's name in an error.
const maxQuoted = 200

// An Error is the archive's own fault. Every other error of this package (the file can't be read, the context ended, scratch is full) is
// ours, and must not be shown to a client.
type Error struct {
	Kind   error  // ErrInvalid or ErrTooLarge
	Reason string // one sentence for the client: what is wrong, and where
	Cause  error  // a decoder's error, for logs; may be nil
}

// Error returns the reason.
func (e *Error) Error() string { return e.Reason }

// Unwrap returns the kind and the cause.
func (e *Error) Unwrap() []error {
	if e.Cause == nil {
		return []error{e.Kind}
	}
	return []error{e.Kind, e.Cause}
}

func invalid(format string, args ...any) error {
	return &Error{Kind: ErrInvalid, Reason: fmt.Sprintf(format, args...)}
}

func tooLarge(format string, args ...any) error {
	return &Error{Kind: ErrTooLarge, Reason: fmt.Sprintf(format, args...)}
}

// damaged is invalid with a decoder's error. A client sees that too, unless it was a panic.
func damaged(cause error, format string, args ...any) error {
	reason := fmt.Sprintf(format, args...)
	if p := (*panicError)(nil); cause != nil && !errors.As(cause, &p) {
		reason += " (" + cause.Error() + ")"
	}
	return &Error{Kind: ErrInvalid, Reason: reason, Cause: cause}
}

// quote makes a member's name fit for an error: valid, printable, and of moderate length.
func quote(name string) string {
	short := strings.ToValidUTF8(name[:min(len(name), 4*maxQuoted)], "\uFFFD")
	runes := []rune(short)
	cut := len(name) > 4*maxQuoted || len(runes) > maxQuoted
	runes = runes[:min(len(runes), maxQuoted)]
	for i, r := range runes {
		if !unicode.IsPrint(r) {
			runes[i] = unicode.ReplacementChar
		}
	}
	if cut {
		return "'" + string(runes) + "…'"
	}
	return "'" + string(runes) + "'"
}

// guard calls a decoder, and turns its panic into an error.
func guard(decode func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = &panicError{p, debug.Stack()}
		}
	}()
	return decode()
}

// A panicError is a decoder's panic.
type panicError struct {
	value any
	stack []byte
}

func (e *panicError) Error() string { return fmt.Sprintf("decoder panicked: %v\n%s", e.value, e.stack) }
