package web

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"

	"github.com/labstack/echo/v4"
)

// streamBuffer is how much of an answer is held before it is sent, in bytes. One that ends inside of it has its length in its header, and
// may still become an error.
const streamBuffer = 64 << 10

// A streamed answer is written piece by piece: there may be more of it than is to be held at once. Where write fails, the client sees an
// answer that breaks off.
type streamed interface {
	write(ctx context.Context, w *jsonWriter) error
}

// stream writes a streamed answer. It returns an error where nothing of it has been sent yet.
func (s *Server) stream(c echo.Context, answer streamed) error {
	ctx, cancel := context.WithCancelCause(c.Request().Context())
	defer cancel(nil)
	hurry := whenEnded(s.stopping, func() {
		cancel(context.Cause(s.stopping))
		s.setWriteDeadline(c, drainStopping)
	})
	defer hurry()
	out := &answerWriter{c: c, extend: func() {
		if s.stopping.Err() == nil {
			s.setWriteDeadline(c, answerTimeout)
		}
	}}
	w := &jsonWriter{Writer: bufio.NewWriterSize(out, streamBuffer)}
	err := answer.write(ctx, w)
	if err == nil {
		err = w.WriteByte('\n')
	}
	if err == nil && !out.begun {
		out.length = w.Buffered()
	}
	if err == nil {
		err = w.Flush()
	}
	switch {
	case err == nil:
		return nil
	case !out.begun:
		return err
	case out.err == nil && ctx.Err() == nil:
		s.note(c.Request().Context(), c, caller{}, err)
	default:
		s.Logger.DebugContext(ctx, "an answer was broken off", "err", errors.Join(err, out.err))
	}
	panic(http.ErrAbortHandler) // its client is to see that
}

// answerWriter sends an answer, within answerTimeout for each piece of it.
type answerWriter struct {
	c      echo.Context
	extend func()
	length int // of all of it, in bytes, where that is known
	begun  bool
	err    error
}

// Write implements io.Writer.
func (a *answerWriter) Write(p []byte) (n int, err error) {
	a.extend()
	if !a.begun {
		a.begun = true
		a.c.Response().Header().Set("Content-Type", "application/json")
		if a.length > 0 {
			a.c.Response().Header().Set("Content-Length", strconv.Itoa(a.length))
		}
		a.c.Response().WriteHeader(http.StatusOK)
	}
	n, a.err = a.c.Response().Write(p)
	return n, a.err
}

// A jsonWriter writes JSON, of which not all is there at once. Its errors are those of the buffered writer: they come up at its end.
type jsonWriter struct {
	*bufio.Writer
	more bool // something stands before what comes next
}

// value writes a value.
func (w *jsonWriter) value(v any) error {
	text, err := encoded(v)
	if err != nil {
		return err
	}
	w.comma()
	_, err = w.Write(text)
	return err
}

// encoded is a value as it stands in answers: "<" and ">" are as they are, since no browser renders them.
func encoded(v any) ([]byte, error) {
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	err := encoder.Encode(v)
	return bytes.TrimSuffix(text.Bytes(), []byte("\n")), err
}

func (w *jsonWriter) comma() {
	if w.more {
		_ = w.WriteByte(',')
	}
	w.more = true
}

// object writes an object: the fields of v, unless that is nil, and those that rest adds.
func (w *jsonWriter) object(v any, rest func() error) error {
	w.comma()
	_ = w.WriteByte('{')
	w.more = false
	if v != nil {
		if err := w.fields(v); err != nil {
			return err
		}
	}
	if err := rest(); err != nil {
		return err
	}
	w.more = true
	return w.WriteByte('}')
}

// fields writes the fields of an object that has some.
func (w *jsonWriter) fields(v any) error {
	text, err := encoded(v)
	if err != nil {
		return err
	}
	w.comma()
	_, err = w.Write(text[1 : len(text)-1])
	return err
}

// field writes a field's name; its value comes next.
func (w *jsonWriter) field(name string) {
	w.comma()
	_, _ = w.WriteString(strconv.Quote(name) + ":")
	w.more = false
}

// array writes the array of a field, whose elements are added by rest.
func (w *jsonWriter) array(name string, rest func() error) error {
	w.field(name)
	_ = w.WriteByte('[')
	if err := rest(); err != nil {
		return err
	}
	w.more = true
	return w.WriteByte(']')
}
