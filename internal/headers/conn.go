package headers

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"time"

	"tecken-upload/internal/background"
)

// What we would rather lose.
const (
	// answerTimeout bounds writing a 431 to a client with unread answers.
	answerTimeout = time.Second
	// discardTimeout bounds reading the rest of a refused header. Most clients send all of it before they read the answer, and lose the
	// answer if the connection breaks first.
	discardTimeout = 5 * time.Second
	// discardBytes bounds the rest that is read.
	discardBytes = 1 << 20
	// maxDiscards bounds the headers discarded at a time: a flood is not worth the processor's time.
	maxDiscards = 16
)

// firstBytes is the number of bytes that net/http waits for before it sets the deadline of a next header.
const firstBytes = 4

// errTooLarge ends the reading of a header that is too large.
var errTooLarge = errors.New("the request's header is too large")

// conn passes the first line of a header to net/http as it comes, and the others once the header is complete. In every other respect it is
// a TCPConn: net/http sends files by its methods.
//
// While a header is read, net/http calls Read, SetReadDeadline and watch from one goroutine.
type conn struct {
	*net.TCPConn
	budget *Budget
	header header // guarded by the Budget's mu

	inHeader  bool        // reads belong to a header
	whole     bool        // the header is complete
	size      int         // bytes of the header so far
	lines     lines       // of the header so far
	parsed    int64       // bytes in net/http of a header that came with the previous request
	deadlines int         // calls of SetReadDeadline since that request
	rest      net.Buffers // read already, for the next Reads
}

// Read implements io.Reader. A panic becomes an error: net/http also reads in goroutines of its own.
func (c *conn) Read(p []byte) (n int, err error) {
	err = background.Try(func() (err error) {
		n, err = c.read(p)
		return err
	})
	return n, err
}

func (c *conn) read(p []byte) (int, error) {
	if c.inHeader && !c.whole {
		if c.size == 0 && c.deadlines > 1 {
			// The header began with the previous request: net/http has that part in its buffer.
			c.parsed = parsedCost
			if err := c.budget.keep(c, nil); err != nil {
				return 0, err
			}
		}
		if c.size < firstBytes {
			return c.begin(p)
		}
		if err := c.complete(p); err != nil {
			return 0, err
		}
	}
	return c.next(p)
}

// next returns bytes that were read already.
func (c *conn) next(p []byte) (int, error) {
	if len(c.rest) == 0 {
		return c.TCPConn.Read(p)
	}
	n, _ := c.rest.Read(p) // its only error is io.EOF
	return n, nil
}

// begin reads the beginning of a header. Nearly every header is complete then and passed on whole. Otherwise the first line is passed on,
// so that net/http refuses a malformed one at once.
func (c *conn) begin(p []byte) (int, error) {
	n, err := c.next(p)
	if n == 0 || err != nil {
		return n, err
	}
	c.size += n
	end := c.lines.end(p[:n])
	if c.lines.n > MaxLines {
		return 0, c.refuse(p)
	}
	if c.whole = end > 0; c.whole {
		return n, nil
	}
	first := n
	if line := bytes.IndexByte(p[:n], '\n') + 1; line > 0 {
		first = max(line, min(n, firstBytes))
	}
	return first, c.budget.keep(c, p[first:n])
}

// complete reads a header to its end, through p. Its bytes come in the next Reads.
func (c *conn) complete(p []byte) error {
	for {
		n, err := c.next(p)
		if errors.Is(err, io.EOF) {
			return io.ErrUnexpectedEOF // net/http answers 400
		}
		if err != nil {
			return err
		}
		end := c.lines.end(p[:n])
		if end > 0 {
			c.size += end
		} else {
			c.size += n
		}
		if c.size > MaxBytes || c.lines.n > MaxLines {
			return c.refuse(p)
		}
		if c.whole = end > 0; c.whole {
			kept, err := c.budget.release(c)
			c.rest = slices.Concat(kept, net.Buffers{bytes.Clone(p[:n])}, c.rest)
			return err
		}
		if err := c.budget.keep(c, p[:n]); err != nil {
			return err
		}
	}
}

// refuse answers 431 and closes the connection for writing, so that net/http's own answer is not sent.
func (c *conn) refuse(p []byte) error {
	if err := c.budget.keep(c, nil); err != nil {
		return err
	}
	text := fmt.Sprintf(`{"error":"The request's header is larger than %d KiB or has more than %d lines"}`+"\n", MaxBytes>>10, MaxLines)
	_ = c.SetWriteDeadline(time.Now().Add(answerTimeout))
	_, _ = fmt.Fprintf(c.TCPConn, "HTTP/1.1 431 Request Header Fields Too Large\r\nContent-Type: application/json\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s", len(text), text)
	_ = c.CloseWrite()
	if c.budget.discards.Add(1) <= maxDiscards {
		c.discard(p)
	}
	c.budget.discards.Add(-1)
	return errTooLarge
}

func (c *conn) discard(p []byte) {
	_ = c.TCPConn.SetReadDeadline(time.Now().Add(discardTimeout))
	for discarded := 0; discarded < discardBytes; {
		n, err := c.TCPConn.Read(p)
		if err != nil {
			return
		}
		discarded += n
	}
}

// SetReadDeadline implements net.Conn. After a request net/http sets a deadline for the wait for the next header, and another once it has begun.
func (c *conn) SetReadDeadline(t time.Time) error {
	if c.inHeader {
		c.deadlines++
	}
	return c.TCPConn.SetReadDeadline(t)
}

// watch is an http.Server's ConnState.
func watch(nc net.Conn, state http.ConnState) {
	c, ok := nc.(*conn)
	if !ok || state == http.StateNew {
		return
	}
	kept, _ := c.budget.release(c)
	c.rest = append(kept, c.rest...)
	c.inHeader, c.whole, c.size, c.lines, c.parsed, c.deadlines = state == http.StateIdle, false, 0, lines{}, 0, 0
}

// lines finds the end of a header: an empty line after one with text.
type lines struct {
	n    int  // complete lines so far
	seen bool // one of them had text
	text bool // the line in progress has text
}

// end continues with p, and returns the number of its bytes in the header, or 0 if the header does not end in p.
func (l *lines) end(p []byte) int {
	at := 0
	for {
		line, _, complete := bytes.Cut(p[at:], []byte("\n"))
		l.text = l.text || len(bytes.TrimLeft(line, "\r")) > 0
		if !complete {
			return 0
		}
		l.n++
		at += len(line) + 1
		if l.seen && !l.text {
			return at
		}
		l.seen, l.text = l.seen || l.text, false
	}
}
