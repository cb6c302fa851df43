// Package fault says what is wrong with an archive, in one sentence for the client.
package fault

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
)

// Kinds of an [Error], tested with errors.Is.
var (
	// ErrInvalid: the file is not an archive, is broken, or has forbidden content.
	ErrInvalid = errors.New("invalid archive")
	// ErrTooLarge: the archive is over one of its limits.
	ErrTooLarge = errors.New("archive over a limit")
)

// maxQuoted bounds the characters of a member's name in an error.
const maxQuoted = 200

// An Error is the archive's own fault. Every other error of reading an archive (the file can't be read, the
// context ended, scratch is full) is ours, and must not be shown to a client.
type Error struct {
	Kind   error  // ErrInvalid or ErrTooLarge
	Reason string // one sentence for the client: what is wrong, and where
	Cause  error  // the decoder's error, for logs; nil: there is none
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

// Invalid returns an [*Error] of the kind ErrInvalid.
func Invalid(format string, args ...any) error {
	return &Error{Kind: ErrInvalid, Reason: fmt.Sprintf(format, args...)}
}

// TooLarge returns an [*Error] of the kind ErrTooLarge.
func TooLarge(format string, args ...any) error {
	return &Error{Kind: ErrTooLarge, Reason: fmt.Sprintf(format, args...)}
}

// Damaged is Invalid with the decoder's error, if there is one, which the client sees too.
func Damaged(cause error, format string, args ...any) error {
	reason := fmt.Sprintf(format, args...)
	if cause != nil {
		reason += " (" + cause.Error() + ")"
	}
	return &Error{Kind: ErrInvalid, Reason: reason, Cause: cause}
}

// Quote makes a member's name fit for an error: valid, printable, and of a bearable length.
func Quote(name string) string {
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
