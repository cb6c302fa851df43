// Package sentrytest is an endpoint with Sentry's protocol: what a program sends to its DSN can be read back, parsed and raw. It serves
// tests in the same process as well as real binaries, over a real connection.
//
// It takes envelopes, plain or gzipped, at POST /api/<project>/envelope/, and refuses what Sentry would: another key, another path, an
// envelope that breaks the format (https://develop.sentry.dev/sdk/data-model/envelopes/). It keeps everything in memory.
package sentrytest

import (
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
)

const (
	key     = "0123456789abcdef0123456789abcdef"
	project = "42"

	maxEnvelope = 20 << 20 // Sentry's own limit for a compressed one
)

// A Server collects what is sent to it. It is safe for concurrent use.
type Server struct {
	http *httptest.Server

	mu       sync.Mutex
	events   []Event
	checkIns []CheckIn
	faults   []error
	changed  chan struct{} // closed and replaced whenever one of the above grows
}

// NewServer starts a Server on a free port of this host. End it with Close.
func NewServer() *Server {
	s := &Server{changed: make(chan struct{})}
	s.http = httptest.NewServer(s)
	return s
}

// Close ends the server and every connection to it.
func (s *Server) Close() { s.http.Close() }

// DSN returns the DSN for clients.
func (s *Server) DSN() string {
	return strings.Replace(s.http.URL, "://", "://"+key+"@", 1) + "/" + project
}

// Events returns the events received so far, in their order.
func (s *Server) Events() []Event {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.events)
}

// CheckIns returns the check-ins received so far, in their order.
func (s *Server) CheckIns() []CheckIn {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.checkIns)
}

// Wait returns the events received once there are n of them. It fails when the context ends first, and at once when a request was refused;
// it returns the events so far in any case.
func (s *Server) Wait(ctx context.Context, n int) ([]Event, error) {
	for {
		s.mu.Lock()
		events, faults, changed := slices.Clone(s.events), s.faults, s.changed
		s.mu.Unlock()
		switch {
		case len(faults) > 0:
			return events, faults[0]
		case len(events) >= n:
			return events, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return events, fmt.Errorf("wait for %d events, received %d: %w", n, len(events), context.Cause(ctx))
		}
	}
}

// ServeHTTP takes one envelope.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	e, err := receive(r)
	s.mu.Lock()
	defer s.mu.Unlock()
	defer func() { close(s.changed); s.changed = make(chan struct{}) }()
	if err != nil {
		s.faults = append(s.faults, fmt.Errorf("%s %s: %w", r.Method, r.URL.Path, err))
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	s.events = append(s.events, e.events...)
	s.checkIns = append(s.checkIns, e.checkIns...)
	w.Header().Set("Content-Type", "application/json")
	_, _ = io.WriteString(w, "{}") // a client that is gone needs no answer
}

func receive(r *http.Request) (envelope, error) {
	if r.Method != http.MethodPost || r.URL.Path != "/api/"+project+"/envelope/" {
		return envelope{}, fmt.Errorf("not POST /api/%s/envelope/", project)
	}
	if auth := r.Header.Get("X-Sentry-Auth"); !strings.Contains(auth, "sentry_key="+key) {
		return envelope{}, fmt.Errorf("key missing in X-Sentry-Auth: %q", auth)
	}
	body := io.LimitReader(r.Body, maxEnvelope)
	if r.Header.Get("Content-Encoding") == "gzip" {
		z, err := gzip.NewReader(body)
		if err != nil {
			return envelope{}, err
		}
		body = io.LimitReader(z, maxEnvelope)
	}
	data, err := io.ReadAll(body)
	if err != nil {
		return envelope{}, err
	}
	return decode(data)
}
