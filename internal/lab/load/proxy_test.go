package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// retryMark stands in the header of every request of the SDK, before the number of the attempt.
	retryMark = "Amz-Sdk-Request: attempt="
	// idleExpiry is from when on a connection that ends unused was given up for that: the server's pool keeps
	// one for 90 seconds.
	idleExpiry = 80 * time.Second
	// unreadFor is for how long an answer may wait until the server, on a busy machine, has read it.
	unreadFor = time.Second
	// proxyBuffer is how much is relayed at once, in bytes.
	proxyBuffer = 32 << 10
)

// A proxy relays TCP between the server and storage, and counts, independently of both. A connection that is
// closed and its successor may be seen in the wrong order, so that the most at a time can be over for a moment.
type proxy struct {
	listener net.Listener
	target   string
	pool     int
	wg       sync.WaitGroup

	retries, requests atomic.Int64 // attempts beyond the first of a request, and first ones

	mu     sync.Mutex
	conns  map[net.Conn]bool // both ends
	counts connCounts
	over   time.Time // since when more are open than the pool may have; zero while they are not
}

// connCounts are what became of the connections.
type connCounts struct {
	opened, open, most int
	overFor            time.Duration // the longest time for which more than the pool were open
	byStorage          int           // closed by storage
	expired            int           // closed by the server after a long time without use
	cut                int           // closed by the server in mid-request, as the end of an upload makes it do
	dropped            int           // closed by the server so soon after an answer that it may not have read it
	others             int           // closed by the server, for no reason that can be seen
}

func newProxy(target string, pool int) (*proxy, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &proxy{listener: l, target: target, pool: pool, conns: make(map[net.Conn]bool)}
	p.wg.Go(p.accept)
	return p, nil
}

func (p *proxy) address() string { return p.listener.Addr().String() }

// close ends the proxy with all its connections.
func (p *proxy) close() error {
	err := p.listener.Close()
	p.mu.Lock()
	for c := range p.conns {
		_ = c.Close() // it may be closed already
	}
	p.mu.Unlock()
	p.wg.Wait()
	return err
}

// tally returns what was counted so far.
func (p *proxy) tally() connCounts {
	p.mu.Lock()
	defer p.mu.Unlock()
	c := p.counts
	if !p.over.IsZero() {
		c.overFor = max(c.overFor, time.Since(p.over))
	}
	return c
}

func (p *proxy) accept() {
	for {
		conn, err := p.listener.Accept()
		if err != nil {
			return // closed
		}
		p.changed(1, func(c *connCounts) { c.opened++ })
		p.wg.Go(func() { p.relay(conn) })
	}
}

// changed notes that delta more connections are open.
func (p *proxy) changed(delta int, note func(*connCounts)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.counts.open += delta
	p.counts.most = max(p.counts.most, p.counts.open)
	note(&p.counts)
	switch over := p.counts.open > p.pool; {
	case over && p.over.IsZero():
		p.over = time.Now()
	case !over && !p.over.IsZero():
		p.counts.overFor, p.over = max(p.counts.overFor, time.Since(p.over)), time.Time{}
	}
}

// keep registers a connection, to be closed with the proxy.
func (p *proxy) keep(c net.Conn, kept bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if kept {
		p.conns[c] = true
	} else {
		delete(p.conns, c)
	}
}

// relay serves one connection of the server's until either side closes it.
func (p *proxy) relay(server net.Conn) {
	defer server.Close()
	p.keep(server, true)
	defer p.keep(server, false)
	var dialer net.Dialer
	storage, err := dialer.DialContext(context.Background(), "tcp", p.target)
	if err != nil {
		p.changed(-1, func(c *connCounts) { c.byStorage++ })
		return
	}
	defer storage.Close()
	p.keep(storage, true)
	defer p.keep(storage, false)
	var asking atomic.Bool // the server has spoken last
	var last atomic.Int64  // when anybody has
	last.Store(time.Now().UnixNano())
	ended := make(chan bool, 2) // by the server
	go func() {
		ended <- p.copy(storage, server, &last, func() { asking.Store(true) }, &counter{p: p})
	}()
	go func() {
		ended <- !p.copy(server, storage, &last, func() { asking.Store(false) }, nil)
	}()
	byServer := <-ended
	idle := time.Since(time.Unix(0, last.Load()))
	p.changed(-1, func(c *connCounts) {
		switch {
		case !byServer:
			c.byStorage++
		case asking.Load():
			c.cut++
		case idle >= idleExpiry:
			c.expired++
		case idle <= unreadFor:
			c.dropped++
		default:
			c.others++
		}
	})
	_ = server.Close() // ends the other direction; either may be closed already
	_ = storage.Close()
	<-ended
}

// copy relays one direction, and reports whether it was its source that ended.
func (p *proxy) copy(to io.Writer, from io.Reader, last *atomic.Int64, asking func(), count *counter) bool {
	buffer := make([]byte, proxyBuffer)
	for {
		n, err := from.Read(buffer)
		if n > 0 {
			asking()
			last.Store(time.Now().UnixNano())
			if count != nil {
				count.scan(buffer[:n])
			}
			if _, err := to.Write(buffer[:n]); err != nil {
				return false
			}
		}
		if err != nil {
			return !errors.Is(err, net.ErrClosed)
		}
	}
}

// counter counts the requests in what one connection carries.
type counter struct {
	p    *proxy
	text []byte // what came, and the end of what came before: a header may be cut in two
}

// scan counts the marks in chunk, and those that began in what came before.
func (c *counter) scan(chunk []byte) {
	c.text = append(c.text, chunk...)
	rest := c.text
	for {
		_, number, ok := bytes.Cut(rest, []byte(retryMark))
		if !ok || len(number) == 0 {
			break
		}
		if number[0] == '1' {
			c.p.requests.Add(1)
		} else {
			c.p.retries.Add(1)
		}
		rest = number
	}
	// One byte less than a mark and its number: none is counted twice.
	c.text = append(c.text[:0], rest[max(0, len(rest)-len(retryMark)):]...)
}
