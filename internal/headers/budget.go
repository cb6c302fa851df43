// Package headers bounds the memory of request headers that are still arriving. Anybody may send one, before a token is asked for.
//
// net/http parses a header while it arrives, and its map takes up to twenty times the bytes of short lines. So a Budget stands between a listener and its
// http.Server. It keeps the bytes of a header that comes in pieces, all but the first line, and hands them on once the header is complete.
//
//   - A header has at most MaxBytes and MaxLines. A larger one is answered 431, and its connection is closed.
//   - Unfinished headers and their connections hold at most Budget.Limit. Above that the slowest connections are closed without an answer: those
//     whose header began first, until the others fit.
//   - A connection whose headers come in one piece of up to 4 KiB is never closed, whatever others send.
//
// Not counted: connections that have sent nothing since their last request, about 12 KiB each, which http.Server's time-outs end; and
// requests whose header is complete.
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
	// MaxBytes is the largest header, its request line included.
	MaxBytes = 64 << 10
	// MaxLines is the most lines of a header.
	MaxLines = 1000
	// DefaultLimit is what unfinished headers may hold, in bytes. The process grows by more: the heap grows to twice what is in use, and
	// connections that are being closed are not counted. 1,000 connections made it grow by 35 to 55 MiB.
	DefaultLimit = 8 << 20
)

const (
	// connCost is what a connection holds: a goroutine's stack, the buffers and structures of net/http.
	connCost = 12 << 10
	// pieceCost is what a piece of a header holds beside its bytes.
	pieceCost = 64
	// parsedCost is the most that net/http makes of 4 KiB of header, its whole buffer.
	parsedCost = 128 << 10
)

// Budget is the memory for the unfinished headers of one or more servers. The zero Budget is ready for use. It is safe for concurrent use.
type Budget struct {
	// Limit is in bytes; 0: DefaultLimit.
	Limit int64

	discards atomic.Int64 // refused headers whose rest is being read

	mu         sync.Mutex // guards what follows, and each conn's header
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

// Stats returns the figures of now.
func (b *Budget) Stats() Stats {
	b.mu.Lock()
	defer b.mu.Unlock()
	return Stats{Unfinished: b.unfinished.Len(), Held: b.held, Cut: b.cut}
}

// Guard returns the listener that s must serve instead of l. It sets s.ConnState and s.MaxHeaderBytes. Only TCP connections are counted.
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
	kept    net.Buffers   // what net/http has not got
	held    int64         // by the header and the connection
	element *list.Element // of Budget.unfinished; nil: the header is not counted
	cut     bool          // the connection was closed, and nothing is kept
}

// keep adds p to the header of c, and closes the slowest connections if that is too much. It fails once c is one of them.
func (b *Budget) keep(c *conn, p []byte) error {
	slowest, err := b.add(c, p)
	for _, s := range slowest {
		_ = s.Close() // returns once a Read of it has
	}
	return err
}

// add does so, and returns the connections to close.
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

// release ends the counting of c's header, and returns what is kept of it. It fails if c was closed.
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
