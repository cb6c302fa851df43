package fetch

import (
	"fmt"
	"net"
	"net/url"
	"path"
	"strings"
)

const (
	// maxURL bounds an address, in bytes. Signed addresses have about 2 KiB.
	maxURL = 8 << 10
	// maxHost bounds a quoted host and port, in bytes; DNS names have at most 253.
	maxHost = 253 + len(":65535")
	// httpsPort is the default port.
	httpsPort = "443"
)

// hosts are the allowed hosts and ports, as host:port in lower case.
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

// find returns the listed host and port of an address.
func (h hosts) find(u *url.URL) (host, port string, ok bool) {
	host, port = lower(u.Hostname()), u.Port()
	if port == "" {
		port = httpsPort
	}
	_, ok = h[net.JoinHostPort(host, port)]
	return host, port, ok
}

// parse reads an address, relative to base if that is not nil. The result is absolute, has a listed host, and no user information or
// fragment.
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

// quote returns a refused host for an error message, with its port if only the port is wrong.
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

// lower lowers ASCII letters alone, since names compare no others.
func lower(text string) string {
	return strings.Map(func(r rune) rune {
		if 'A' <= r && r <= 'Z' {
			return r - 'A' + 'a'
		}
		return r
	}, text)
}

// escape makes a query fit for a request line.
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
