package fetch

import (
	"errors"
	"fmt"
	"net/netip"
)

// errNotPublic reports a name that leads to a private address.
var errNotPublic = errors.New("not a public address")

// unicast6 is IPv6's global unicast space. Loopback, link-local, unique local and multicast addresses are outside it, and so is IPv4 in
// IPv6: mapped (::ffff:0:0/96) and translated (64:ff9b::/96, 64:ff9b:1::/48).
//
// Source: https://www.iana.org/assignments/ipv6-address-space
var unicast6 = netip.MustParsePrefix("2000::/3")

// special are the special-purpose blocks, even those that are globally reachable: no file server has such an address.
//
// Sources: https://www.iana.org/assignments/iana-ipv4-special-registry, https://www.iana.org/assignments/iana-ipv6-special-registry,
// https://www.iana.org/assignments/ipv4-address-space for multicast
var special = prefixes(
	"0.0.0.0/8",       // this network, RFC 791
	"10.0.0.0/8",      // private, RFC 1918
	"100.64.0.0/10",   // shared with a carrier's NAT, RFC 6598
	"127.0.0.0/8",     // loopback, RFC 1122
	"169.254.0.0/16",  // link-local, RFC 3927
	"172.16.0.0/12",   // private, RFC 1918
	"192.0.0.0/24",    // protocol assignments, RFC 6890
	"192.0.2.0/24",    // documentation, RFC 5737
	"192.31.196.0/24", // AS112, RFC 7535
	"192.52.193.0/24", // multicast tunnels, RFC 7450
	"192.88.99.0/24",  // 6to4 relays, RFC 7526
	"192.168.0.0/16",  // private, RFC 1918
	"192.175.48.0/24", // AS112, RFC 7534
	"198.18.0.0/15",   // benchmarks, RFC 2544
	"198.51.100.0/24", // documentation, RFC 5737
	"203.0.113.0/24",  // documentation, RFC 5737
	"224.0.0.0/4",     // multicast, RFC 5771
	"240.0.0.0/4",     // reserved, RFC 1112; the last of it is broadcast, RFC 919

	"2001::/23",         // protocol assignments, RFC 2928: Teredo, benchmarks, ORCHID and others
	"2001:db8::/32",     // documentation, RFC 3849
	"2002::/16",         // 6to4, RFC 3056
	"2620:4f:8000::/48", // AS112, RFC 7534
	"3fff::/20",         // documentation, RFC 9637
)

func prefixes(texts ...string) []netip.Prefix {
	list := make([]netip.Prefix, len(texts))
	for i, text := range texts {
		list[i] = netip.MustParsePrefix(text)
	}
	return list
}

// public returns nil for a public address, else an error wrapping errNotPublic.
func public(a netip.Addr) error {
	// A prefix never contains an address with a zone.
	if !a.IsValid() || a.Is6() && !unicast6.Contains(a) {
		return fmt.Errorf("%w: %v", errNotPublic, a)
	}
	for _, p := range special {
		if p.Contains(a) {
			return fmt.Errorf("%w: %v is in %v", errNotPublic, a, p)
		}
	}
	return nil
}
