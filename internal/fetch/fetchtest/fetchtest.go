// Package fetchtest serves archives over TLS on a loopback address, and makes clients that may fetch from there:
// loopback is no public address, and only the test trusts the certificate's issuer.
package fetchtest

import (
	"crypto/x509"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"testing"
	"time"

	"tecken-upload/internal/fetch"
	"tecken-upload/internal/fetch/internal/seam"
	"tecken-upload/internal/testenv"
)

// Host is the name of every server, besides those given.
const Host = "symbols.example.com"

// A Server serves https.
type Server struct {
	*httptest.Server
}

// NewServer starts a server, which is closed with the test.
func NewServer(t testing.TB, handler http.Handler) *Server {
	t.Helper()
	s := httptest.NewUnstartedServer(handler)
	s.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	s.StartTLS()
	t.Cleanup(s.Close)
	return &Server{Server: s}
}

// Port returns the port that it listens at.
func (s *Server) Port() string {
	u, err := url.Parse(s.URL)
	if err != nil {
		panic(err)
	}
	return u.Port()
}

// At returns the address of a path and query on the server, under its name.
func (s *Server) At(path string) string { return "https://" + Host + ":" + s.Port() + path }

// Client returns a client of the server; change may change its settings first.
func (s *Server) Client(change ...func(*fetch.Config)) *fetch.Client {
	c := fetch.Config{Hosts: []string{Host + ":" + s.Port()}, Timeout: testenv.Patience, StallTimeout: testenv.Patience, Agent: "test"}
	for _, f := range change {
		f(&c)
	}
	return fetch.NewWith(c, seam.Seam{
		Check:    func(netip.Addr) error { return nil },
		Roots:    s.Roots(),
		Resolver: Resolver(Loopback),
		Pause:    time.Millisecond,
	})
}

// Roots returns the issuer of the server's certificate, which is for example.com and names below.
func (s *Server) Roots() *x509.CertPool {
	roots := x509.NewCertPool()
	roots.AddCert(s.Certificate())
	return roots
}

// Loopback is an answer for Resolver: every name below example.com is on this machine.
func Loopback(_ string, v6 bool) []netip.Addr {
	if v6 {
		return nil
	}
	return []netip.Addr{netip.MustParseAddr("127.0.0.1")}
}
