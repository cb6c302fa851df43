package lab

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"time"
)

const (
	// continueTimeout is how long a client waits for a 100 Continue before it sends its body anyway.
	continueTimeout = time.Second
	// peekTimeout is how long a client looks for an answer.
	peekTimeout = time.Millisecond
	// continues begins a 100 Continue.
	continues = "HTTP/1.1 100"
)

// errAnswered ends a body that is answered before its end.
var errAnswered = errors.New("answered")

// An exchange is one request on a connection, and its answer.
type exchange struct {
	net.Conn
	answers *bufio.Reader
	chunked bool // the body is sent in chunks
	looks   bool // for an answer while the body is sent
}

// begin sends the head of a request with a body of that size, and waits for a 100 Continue if it expects one.
func (c *exchange) begin(head string, size int64) error {
	if c.chunked {
		head += "Transfer-Encoding: chunked\r\n"
	} else {
		head += fmt.Sprintf("Content-Length: %d\r\n", size)
	}
	if c.looks {
		head += "Expect: 100-continue\r\n"
	}
	if _, err := io.WriteString(c.Conn, head+"\r\n"); err != nil || !c.looks {
		return err
	}
	text, err := c.look(continueTimeout)
	if err != nil || text != continues {
		return err
	}
	resp, err := http.ReadResponse(c.answers, nil)
	if err != nil {
		return err
	}
	return resp.Body.Close() // it has none
}

// look returns the beginning of an answer that comes in time, or "".
func (c *exchange) look(within time.Duration) (text string, err error) {
	if err := c.SetReadDeadline(time.Now().Add(within)); err != nil {
		return "", err
	}
	line, err := c.answers.Peek(len(continues))
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = nil
	}
	return string(line), errors.Join(err, c.SetReadDeadline(time.Time{}))
}

// Write sends a part of the body. For a client that looks, the error is errAnswered once there is an answer.
func (c *exchange) Write(p []byte) (int, error) {
	if c.looks {
		text, err := c.look(peekTimeout)
		if err == nil && text != "" && text != continues {
			err = errAnswered
		}
		if err != nil {
			return 0, err
		}
	}
	if !c.chunked {
		return c.Conn.Write(p)
	}
	_, err := (&net.Buffers{fmt.Appendf(nil, "%x\r\n", len(p)), p, []byte("\r\n")}).WriteTo(c.Conn)
	return len(p), err
}

// end ends the body.
func (c *exchange) end() error {
	if !c.chunked {
		return nil
	}
	_, err := io.WriteString(c.Conn, "0\r\n\r\n")
	return err
}
