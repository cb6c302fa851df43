package fetch

import (
	"fmt"
	"net"
	"net/url"
	"path"
	"strings"
)

const (
	// maxURL bounds an address, in bytes. Signed ones have some 2 KiB.
	maxURL = 8 << 10
	// maxHost bounds what is quoted of a host and its port, in bytes; no name in the DNS is longer than 253.
	maxHost = 253 + len(":65535")
	// httpsPort is where https is served, unless the list says otherwise.
	httpsPort = "443"
)

// hosts are the hosts and ports to fetch from, as host:port in lower case.
type hosts map[string]struct{}

func newHosts(list []string) hosts {
	h := make(hosts, len(list))
	for _, entry := range list {
		host, port, ok := strings.Cut(lower(entry), ":")
		if !ok {
			port = httpsPort
		}
		h[net.JoinHostPort(host, port)] = struct{}{}
	}
	return h
}

// find returns the host and port of an address as they are in the list.
func (h hosts) find(u *url.URL) (host, port string, ok bool) {
	host, port = lower(u.Hostname()), u.Port()
	if port == "" {
		port = httpsPort
	}
	_, ok = h[net.JoinHostPort(host, port)]
	return host, port, ok
}

// parse makes an address of text, relative to base if that is not nil. It is whole, of a listed host, and has neither user information
// nor a fragment.
func (h hosts) parse(base *url.URL, text string) (*url.URL, error) {
	if len(text) > maxURL {
		return nil, refused("The URL is longer than %d bytes.", maxURL)
	}
	u, err := url.Parse(text)
	if err != nil {
		return nil, refused("The URL can't be read.") // err quotes it
	}
	if base != nil {
		u = base.ResolveReference(u)
	}
	switch {
	case u.Scheme != "https":
		return nil, refused("Insecure URL")
	case u.Opaque != "" || u.Host == "":
		return nil, refused("The URL can't be read.")
	case u.User != nil:
		return nil, refused("The URL has a user name or a password in it.")
	}
	host, port, ok := h.find(u)
	if !ok {
		return nil, refused("Not an allowed domain ('%s') to download from.", h.quote(host, port))
	}
	if port != httpsPort {
		host = net.JoinHostPort(host, port)
	}
	whole := &url.URL{Scheme: u.Scheme, Host: host, Path: u.Path, RawPath: u.RawPath, RawQuery: escape(u.RawQuery)}
	if whole.Path == "" {
		whole.Path = "/"
	}
	return whole, nil
}

// quote returns what to say of a host that may not be fetched from: its port where that is all that is wrong.
func (h hosts) quote(host, port string) string {
	for listed := range h {
		if name, _, _ := strings.Cut(listed, ":"); name == host {
			host += ":" + port
			break
		}
	}
	host = strings.Map(func(r rune) rune {
		if r <= ' ' || r > '~' {
			return '?'
		}
		return r
	}, host)
	return host[:min(len(host), maxHost)]
}

// lower is for names: other letters than ASCII's are no others' capitals.
func lower(text string) string {
	return strings.Map(func(r rune) rune {
		if 'A' <= r && r <= 'Z' {
			return r - 'A' + 'a'
		}
		return r
	}, text)
}

// escape makes a query fit for a request's first line.
func escape(query string) string {
	var b strings.Builder
	for i := range len(query) {
		if c := query[i]; c <= ' ' || c > '~' {
			fmt.Fprintf(&b, "%%%02X", c)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

// shown returns an address as it may be recorded.
func shown(u *url.URL) string {
	return (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path, RawPath: u.RawPath}).String()
}

// filename returns the last element of an address's path, or "".
func filename(u *url.URL) string {
	if strings.HasSuffix(u.Path, "/") {
		return ""
	}
	return path.Base(u.Path)
}
