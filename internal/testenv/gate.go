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

// socketName is what PostgreSQL's socket is called in the directory that a URL names as its host.
const socketName = ".s.PGSQL.5432"

// A Gate stands before a server, as the one address of it, and counts who goes through. While the server is stopped it still
// opens, to a closed door: who comes is counted, and hung up on. It may lead to another server; connections that were made stay.
type Gate struct {
	Addr string // what leads to the gate: a TCP address, or the path of a socket

	network string

	mu       sync.Mutex
	upstream string
	open     map[string]int // sessions, by where they lead
	most     map[string]int
	came     []time.Time
	cancels  int
}

// NewGate stands before the TCP server at upstream ("host:port"), until the end of the test.
func NewGate(t testing.TB, upstream string) *Gate {
	t.Helper()
	return newGate(t, "tcp", "127.0.0.1:0", upstream)
}

// PostgresGate stands before the cluster of the database at address, until the end of the test, and returns the database's URL
// through the gate.
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

// Lead leads who comes from now on to another server.
func (g *Gate) Lead(upstream string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.upstream = upstream
}

// cancelRequest is what a client of PostgreSQL says in place of a protocol's version to cancel a query, over a connection that
// makes no session.
// Source: https://www.postgresql.org/docs/current/protocol-message-formats.html
const cancelRequest = 80877102

// pass connects one client, and counts it until both sides have hung up.
func (g *Gate) pass(ctx context.Context, client net.Conn) {
	defer client.Close()
	hello := make([]byte, 8) // of PostgreSQL its length, and a version
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
			_, _ = io.Copy(way[0], way[1]) // however it ends, it has ended
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

// Open returns how many connections to a server are open, and how many were at once at the most.
func (g *Gate) Open(upstream string) (now, most int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.open[upstream], g.most[upstream]
}

// Between returns how many came from one moment to another.
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

// Cancels returns how many requests to cancel a query came, each on a connection of its own.
func (g *Gate) Cancels() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.cancels
}
