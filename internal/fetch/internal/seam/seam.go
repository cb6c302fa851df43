// Package seam holds what the tests of package fetch put into a network's place. Nothing outside of fetch can
// import it, so that no setting can.
package seam

import (
	"crypto/x509"
	"net"
	"net/netip"
	"time"
)

// A Seam replaces parts of a client. The zero Seam replaces nothing.
type Seam struct {
	Check    func(netip.Addr) error // whether an address may be connected to
	Roots    *x509.CertPool         // trusted issuers of certificates
	Resolver *net.Resolver          // resolves names
	Pause    time.Duration          // before a transfer is taken up for the first time
}
