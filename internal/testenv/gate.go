package testenv

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// socketName is the name of PostgreSQL's socket in the directory that a URL has as its host.
const socketName = ".s.PGSQL.5432"

// A Gate is a proxy with a constant address in front of a server, and counts connections. While the server is stopped it accepts
// connections, counts and closes them. It may lead to another server; existing connections stay.
type Gate struct {
	Addr string // the gate's TCP address, or the path of its socket

	network string

	mu       sync.Mutex
	upstream string
	open     map[string]int // sessions by server
	most     map[string]int
	came     []time.Time
	cancels  int
}

// NewGate makes a gate to the TCP server at upstream ("host:port"), until the end of the test.
func NewGate(t testing.TB, upstream string) *Gate {
	t.Helper()
	return newGate(t, "tcp", "127.0.0.1:0", upstream)
}

// PostgresGate makes a gate to the cluster of the database at address, until the end of the test, and returns the database's URL through
// the gate.
func PostgresGate(t testing.TB, address string) (g *Gate, through string) {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("/tmp", "tecken-gate-") // a socket's path is at most 107 bytes long
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	g = newGate(t, "unix", filepath.Join(dir, socketName), postgresSocket(u))
	u.RawQuery = url.Values{"host": {dir}}.Encode()
	return g, u.String()
}

func postgresSocket(u *url.URL) string { return filepath.Join(u.Query().Get("host"), socketName) }

func newGate(t testing.TB, network, at, upstream string) *Gate {
	t.Helper()
	g := &Gate{network: network, upstream: upstream, open: make(map[string]int), most: make(map[string]int)}
	l, err := net.Listen(network, at)
	if err != nil {
		t.Fatal(err)
	}
	g.Addr = l.Addr().String()
	var passing sync.WaitGroup
	passing.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return // closed below
			}
			passing.Go(func() { g.pass(t.Context(), conn) })
		}
	})
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		passing.Wait()
	})
	return g
}

// Lead leads new connections to another server.
func (g *Gate) Lead(upstream string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.upstream = upstream
}

// cancelRequest stands in place of a protocol's version in a PostgreSQL client's request to cancel a query, over a connection that makes no
// session.
// Source: https://www.postgresql.org/docs/current/protocol-message-formats.html
const cancelRequest = 80877102

// pass connects one client, and counts it until both sides have hung up.
func (g *Gate) pass(ctx context.Context, client net.Conn) {
	defer client.Close()
	hello := make([]byte, 8) // in PostgreSQL's protocol a length and a version
	if _, err := io.ReadFull(client, hello); err != nil {
		return
	}
	session := binary.BigEndian.Uint32(hello[4:]) != cancelRequest
	upstream := g.arrive(session)
	server, err := (&net.Dialer{}).DialContext(ctx, g.network, upstream)
	if err != nil {
		return
	}
	defer server.Close()
	if _, err := server.Write(hello); err != nil {
		return
	}
	if session {
		g.count(upstream, 1)
		defer g.count(upstream, -1)
	}
	hangUp := context.AfterFunc(ctx, func() { _ = errors.Join(client.Close(), server.Close()) })
	defer hangUp()
	done := make(chan struct{}, 2)
	for _, way := range [][2]net.Conn{{client, server}, {server, client}} {
		go func() {
			_, _ = io.Copy(way[0], way[1]) // an error also ends it
			done <- struct{}{}
		}()
	}
	<-done
}

func (g *Gate) arrive(session bool) (upstream string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if session {
		g.came = append(g.came, time.Now())
	} else {
		g.cancels++
	}
	return g.upstream
}

func (g *Gate) count(upstream string, n int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.open[upstream] += n
	g.most[upstream] = max(g.most[upstream], g.open[upstream])
}

// Open returns the number of open connections to a server, and the largest number at a time.
func (g *Gate) Open(upstream string) (now, most int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.open[upstream], g.most[upstream]
}

// Between returns the number of connections made between two times.
func (g *Gate) Between(from, to time.Time) (n int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, at := range g.came {
		if !at.Before(from) && at.Before(to) {
			n++
		}
	}
	return n
}

// Cancels returns the number of requests to cancel a query, each on a connection of its own.
func (g *Gate) Cancels() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.cancels
}
