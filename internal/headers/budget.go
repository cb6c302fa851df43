// Package headers bounds the memory of request headers that are still arriving. A client can send one before its token is checked.
//
// net/http parses a header while it arrives, and its map takes up to twenty times the bytes of short lines. So a Budget stands between a
// listener and its http.Server. It keeps the bytes of a header that comes in pieces, all but the first line, and passes them on once the
// header is complete.
//
//   - A header has at most MaxBytes and MaxLines. A larger one is answered 431, and its connection is closed.
//   - Unfinished headers and their connections hold at most Budget.Limit. Above that the connections
//     with the oldest headers are closed without an answer, until the others fit.
//   - A connection with headers in one piece of up to 4 KiB is never closed, whatever others send.
//
// Not counted: connections that have sent nothing since their last request, about 12 KiB each, which http.Server's time-outs end; and
// requests with a complete header.
package headers

import (
	"bytes"
	"cmp"
	"container/list"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
)

const (
	// MaxBytes bounds a header with its request line.
	MaxBytes = 64 << 10
	// MaxLines bounds the lines of a header.
	MaxLines = 1000
	// DefaultLimit bounds unfinished headers, in bytes. The process grows by more: the heap grows to twice its live size, and connections
	// being closed are not counted. 1,000 connections made it grow by 35 to 55 MiB.
	DefaultLimit = 8 << 20
)

const (
	// connCost is the memory of a connection: a goroutine's stack, net/http's buffers and structures.
	connCost = 12 << 10
	// pieceCost is the memory of a piece of a header besides its bytes.
	pieceCost = 64
	// parsedCost is the most that net/http makes of 4 KiB of header, its whole buffer.
	parsedCost = 128 << 10
)

// Budget bounds the unfinished headers of one or more servers. The zero Budget is ready for use. It is safe for concurrent use.
type Budget struct {
	// Limit is in bytes; 0: DefaultLimit.
	Limit int64

	discards atomic.Int64 // refused headers being read to their end

	mu         sync.Mutex // guards the fields below, and each conn's header
	unfinished list.List  // of *conn, in the order in which their headers began
	held       int64      // by all of these
	cut        int64
}

// Stats are a Budget's figures.
type Stats struct {
	Unfinished int   // headers
	Held       int64 // bytes, by these and their connections
	Cut        int64 // connections closed so far because headers held too much
}

// Stats returns the current figures.
func (b *Budget) Stats() Stats {
	b.mu.Lock()
	defer b.mu.Unlock()
	return Stats{Unfinished: b.unfinished.Len(), Held: b.held, Cut: b.cut}
}

// Guard returns the listener for s to serve instead of l. It sets s.ConnState and s.MaxHeaderBytes. Only TCP connections are counted.
func (b *Budget) Guard(s *http.Server, l net.Listener) net.Listener {
	s.ConnState = watch
	s.MaxHeaderBytes = MaxBytes // net/http adds 4 KiB: a conn refuses first
	return listener{l, b}
}

type listener struct {
	net.Listener
	budget *Budget
}

// Accept implements net.Listener.
func (l listener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if tcp, ok := c.(*net.TCPConn); ok {
		return &conn{TCPConn: tcp, budget: l.budget, inHeader: true}, err
	}
	return c, err
}

// header is the unfinished header of a connection.
type header struct {
	kept    net.Buffers   // not yet passed to net/http
	held    int64         // by the header and the connection
	element *list.Element // of Budget.unfinished; nil: not counted
	cut     bool          // the connection was closed; nothing is kept
}

// keep adds p to c's header, and closes the slowest connections if the limit is passed. It fails once c is closed.
func (b *Budget) keep(c *conn, p []byte) error {
	slowest, err := b.add(c, p)
	for _, s := range slowest {
		_ = s.Close() // waits for a Read in progress
	}
	return err
}

// add adds p to c's header and returns the connections to close.
func (b *Budget) add(c *conn, p []byte) (slowest []*conn, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	h := &c.header
	if h.cut {
		return nil, net.ErrClosed
	}
	before := h.held
	if h.element == nil {
		h.element = b.unfinished.PushBack(c)
		h.held = connCost + c.parsed
	}
	if len(p) > 0 {
		h.kept = append(h.kept, bytes.Clone(p))
		h.held += pieceCost + int64(len(p))
	}
	b.held += h.held - before
	for b.held > cmp.Or(b.Limit, DefaultLimit) {
		s := b.unfinished.Front().Value.(*conn)
		b.remove(s)
		s.header.cut = true
		b.cut++
		slowest = append(slowest, s)
	}
	if h.cut {
		err = net.ErrClosed
	}
	return slowest, err
}

// release stops counting c's header, and returns its kept bytes. It fails if c was closed.
func (b *Budget) release(c *conn) (net.Buffers, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if c.header.cut {
		return nil, net.ErrClosed
	}
	kept := c.header.kept
	b.remove(c)
	return kept, nil
}

func (b *Budget) remove(c *conn) {
	if c.header.element != nil {
		b.unfinished.Remove(c.header.element)
	}
	b.held -= c.header.held
	c.header = header{}
}
