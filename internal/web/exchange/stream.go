package exchange

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

// streamBuffer is the part of an answer, in bytes, held before it is sent. An answer inside it has its length in its header, and may still
// become an error.
const streamBuffer = 64 << 10

// A Streamed answer is written piece by piece, since it may be large. If WriteJSON fails, the client sees a broken answer.
type Streamed interface {
	// WriteJSON writes all of the answer.
	WriteJSON(ctx context.Context, w *JSONWriter) error
}

// stream writes a streamed answer. It returns an error if nothing has been sent yet.
func (s *Responder) stream(c echo.Context, answer Streamed) error {
	ctx, cancel := context.WithCancelCause(c.Request().Context())
	defer cancel(nil)
	hurry := WhenEnded(s.stopping, func() {
		cancel(context.Cause(s.stopping))
		s.SetWriteDeadline(c, StopTime)
	})
	defer hurry()
	out := &answerWriter{c: c, extend: func() {
		if s.stopping.Err() == nil {
			s.SetWriteDeadline(c, answerTimeout)
		}
	}}
	w := &JSONWriter{Writer: bufio.NewWriterSize(out, streamBuffer)}
	err := answer.WriteJSON(ctx, w)
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
		s.Report(c.Request().Context(), c, Caller{}, err)
	default:
		s.Logger.DebugContext(ctx, "an answer was broken off", "err", errors.Join(err, out.err))
	}
	panic(http.ErrAbortHandler) // the client must notice
}

// answerWriter sends an answer, within answerTimeout for each piece of it.
type answerWriter struct {
	c      echo.Context
	extend func()
	length int // of all of it, in bytes, if known
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

// A JSONWriter writes JSON piece by piece. Its errors are the buffered writer's: they come up at its end.
type JSONWriter struct {
	*bufio.Writer
	more bool // a value comes before the next one
}

// Value writes a value.
func (w *JSONWriter) Value(v any) error {
	text, err := encoded(v)
	if err != nil {
		return err
	}
	w.comma()
	_, err = w.Write(text)
	return err
}

// encoded returns a value as in answers: "<" and ">" unescaped, since no browser renders them.
func encoded(v any) ([]byte, error) {
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	err := encoder.Encode(v)
	return bytes.TrimSuffix(text.Bytes(), []byte("\n")), err
}

func (w *JSONWriter) comma() {
	if w.more {
		_ = w.WriteByte(',')
	}
	w.more = true
}

// Object writes an object: the fields of v, which may be nil, and those of rest.
func (w *JSONWriter) Object(v any, rest func() error) error {
	w.comma()
	_ = w.WriteByte('{')
	w.more = false
	if v != nil {
		if err := w.Fields(v); err != nil {
			return err
		}
	}
	if err := rest(); err != nil {
		return err
	}
	w.more = true
	return w.WriteByte('}')
}

// Fields writes the fields of an object that has some.
func (w *JSONWriter) Fields(v any) error {
	text, err := encoded(v)
	if err != nil {
		return err
	}
	w.comma()
	_, err = w.Write(text[1 : len(text)-1])
	return err
}

// Field writes a field's name; its value comes next.
func (w *JSONWriter) Field(name string) {
	w.comma()
	_, _ = w.WriteString(strconv.Quote(name) + ":")
	w.more = false
}

// Array writes the array of a field; rest adds its elements.
func (w *JSONWriter) Array(name string, rest func() error) error {
	w.Field(name)
	_ = w.WriteByte('[')
	if err := rest(); err != nil {
		return err
	}
	w.more = true
	return w.WriteByte(']')
}
