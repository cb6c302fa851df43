package fetch

import (
	"cmp"
	"crypto/tls"
	"net"
	"net/http"
	"net/netip"
	"syscall"
	"time"

	"tecken-upload/internal/background"
	"tecken-upload/internal/fetch/internal/seam"
)

// What we would rather lose.
const (
	// connectTimeout bounds resolving a name and connecting, and then the TLS handshake.
	connectTimeout = 10 * time.Second
	// maxHeader bounds an answer's header, in bytes.
	maxHeader = 64 << 10
	// maxRedirects bounds the redirects of a fetch.
	maxRedirects = 5
	// maxResumes bounds how often a broken fetch is resumed.
	maxResumes = 5
	// firstPause and lastPause are the pauses before a resume. They double each time; the actual pause is between half and all of it.
	firstPause = 500 * time.Millisecond
	lastPause  = 5 * time.Second
)

// Config is what may be fetched, and the time limits.
type Config struct {
	// Hosts are the exact hosts to fetch from, at port 443 or as in host:port. Without any, every address is refused.
	Hosts []string
	// Timeout bounds one fetch from its first packet to its last byte, StallTimeout the time without a byte. Time in which the caller does
	// not read counts for Timeout only.
	Timeout, StallTimeout time.Duration
	// Agent is the client's User-Agent.
	Agent string
}

// A Client fetches archives. It is safe for concurrent use, and keeps no connections open.
type Client struct {
	Config
	hosts     hosts
	transport *http.Transport
	pause     time.Duration
}

// New makes a client.
func New(c Config) *Client { return NewWith(c, seam.Seam{}) }

// NewWith makes a client for tests, by way of package fetchtest.
func NewWith(c Config, s seam.Seam) *Client {
	check := s.Check
	if check == nil {
		check = public
	}
	dialer := &net.Dialer{
		Timeout:   connectTimeout,
		KeepAlive: -1, // the stall timeout does that
		Resolver:  s.Resolver,
		// Called with each address before it is connected to, in a goroutine of the dialer's.
		Control: func(_, address string, _ syscall.RawConn) error {
			to, err := netip.ParseAddrPort(address)
			if err != nil {
				return errNotPublic
			}
			return background.Try(func() error { return check(to.Addr()) })
		},
	}
	dial := &dial{dialer: dialer, config: &tls.Config{RootCAs: s.Roots, MinVersion: tls.VersionTLS12}}
	http1 := new(http.Protocols)
	http1.SetHTTP1(true)
	return &Client{
		Config: c,
		hosts:  newHosts(c.Hosts),
		pause:  cmp.Or(s.Pause, firstPause),
		transport: &http.Transport{
			Proxy:                  nil, // ignore the environment's
			DialTLSContext:         dial.guarded,
			DisableKeepAlives:      true,
			DisableCompression:     true,
			MaxResponseHeaderBytes: maxHeader,
			Protocols:              http1, // one connection for each request, to the host in its URL
		},
	}
}

// Download checks an address without using the network, and returns an unopened download of it. The error wraps ErrRefused.
func (c *Client) Download(address string) (*Download, error) {
	u, err := c.hosts.parse(nil, address)
	if err != nil {
		return nil, err
	}
	return &Download{client: c, first: u, url: u, size: -1}, nil
}
