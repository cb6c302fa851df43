// Package seam replaces parts of the network in the tests of package fetch. Only fetch can import it, so no setting can.
package seam

import (
	"crypto/x509"
	"net"
	"net/netip"
	"time"
)

// A Seam replaces parts of a client. The zero Seam replaces nothing.
type Seam struct {
	Check    func(netip.Addr) error // whether an address is allowed
	Roots    *x509.CertPool         // trusted issuers of certificates
	Resolver *net.Resolver          // resolves names
	Pause    time.Duration          // before a broken fetch is first resumed
}
