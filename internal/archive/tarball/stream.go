package tarball

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime/debug"

	"tecken-upload/internal/archive/fault"
	"tecken-upload/internal/archive/tarcheck"
)

const (
	// bufSize is what is read of the file at once.
	bufSize = 128 << 10
	// maxIdle bounds a decoder's calls in a row without bytes or an error.
	maxIdle = 100
)

// A stream is a decoder's output: guarded against panics and endless empty reads, ended by the context, and of bounded length.
type stream struct {
	ctx  context.Context //nolint:containedctx // that of one pass, which the stream does not outlive
	r    io.Reader
	left int64 // bytes that may still come
	// check sees the stream; nil: it was checked before.
	check *tarcheck.Checker
	head  []byte // the first block
	idle  int
	eof   bool  // a reader has seen the end
	err   error // the first failure
}

func (s *stream) Read(p []byte) (int, error) {
	if s.err == nil && s.ctx.Err() != nil {
		s.err = context.Cause(s.ctx)
	}
	if s.err != nil || len(p) == 0 {
		return 0, s.err
	}
	// One byte more than allowed, to notice a stream that is too long.
	n, err := s.decode(p[:min(int64(len(p)), s.left+1)])
	s.left -= int64(n)
	s.head = append(s.head, p[:min(n, tarcheck.BlockSize-len(s.head))]...)
	if s.check != nil {
		if s.err = s.check.Check(p[:n]); s.err != nil {
			return 0, s.err // with bytes, a reader of whole blocks would ignore the error
		}
	}
	s.idle++
	if n > 0 {
		s.idle = 0
	}
	switch {
	case s.left < 0:
		s.err = fault.TooLarge("The tar has too many bytes that belong to no member")
	case errors.Is(err, io.EOF) && n > 0:
		return n, nil // the next Read alone returns the end
	case errors.Is(err, io.EOF):
		s.eof = true
		return 0, io.EOF
	case err != nil:
		s.err = err
	case s.idle > maxIdle:
		s.err = io.ErrNoProgress
	}
	return n, s.err
}

func (s *stream) decode(p []byte) (n int, err error) {
	err = guard(func() error {
		n, err = s.r.Read(p)
		return err
	})
	return n, err
}

// guard calls a decoder, and returns its panic as an error.
func guard(decode func() error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = &panicError{v, debug.Stack()}
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
