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
	// connectTimeout bounds resolving a name and connecting, and the TLS handshake again.
	connectTimeout = 10 * time.Second
	// maxHeader bounds an answer's header, in bytes.
	maxHeader = 64 << 10
	// maxRedirects is how many redirects are followed.
	maxRedirects = 5
	// maxResumes is how often one transfer is taken up.
	maxResumes = 5
	// firstPause and lastPause are the pauses before that, doubled each time; of each between a half and all.
	firstPause = 500 * time.Millisecond
	lastPause  = 5 * time.Second
)

// Config says what may be fetched, and how long that may take.
type Config struct {
	// Hosts are the exact hosts to fetch from, at port 443 or, written host:port, at that one. Without any, every
	// address is refused.
	Hosts []string
	// Timeout bounds one download from its first packet to its last byte, StallTimeout the time without any. Time in
	// which nobody reads counts for the first only.
	Timeout, StallTimeout time.Duration
	// Agent is what the client calls itself.
	Agent string
}

// A Client fetches archives. It is safe for concurrent use, and keeps nothing open between downloads.
type Client struct {
	Config
	hosts     hosts
	transport *http.Transport
	pause     time.Duration
}

// New makes a client.
func New(c Config) *Client { return NewWith(c, seam.Seam{}) }

// NewWith makes a client for the tests of this package and of those that use it, by way of package fetchtest.
func NewWith(c Config, s seam.Seam) *Client {
	check := s.Check
	if check == nil {
		check = public
	}
	dialer := &net.Dialer{
		Timeout:   connectTimeout,
		KeepAlive: -1, // a stall is noticed without
		Resolver:  s.Resolver,
		// Called with each address that is about to be connected to, in a goroutine of the dialer's.
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
			Proxy:                  nil, // not even one that the environment names
			DialTLSContext:         dial.guarded,
			DisableKeepAlives:      true,
			DisableCompression:     true,
			MaxResponseHeaderBytes: maxHeader,
			Protocols:              http1, // one connection for each request, to the host it names
		},
	}
}

// Download checks an address, without touching the network, and returns a download of it that is still to be
// opened. The error wraps ErrRefused.
func (c *Client) Download(address string) (*Download, error) {
	u, err := c.hosts.parse(nil, address)
	if err != nil {
		return nil, err
	}
	return &Download{client: c, first: u, url: u, size: -1}, nil
}
