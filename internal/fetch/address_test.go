package fetch

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
)

func TestPublicAddresses(t *testing.T) {
	for _, text := range []string{
		"1.1.1.1", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "126.255.255.255", "128.0.0.0",
		"169.253.255.255", "169.255.0.0", "172.15.255.255", "172.32.0.0", "192.0.1.0", "192.167.255.255", "192.169.0.0",
		"198.17.255.255", "198.20.0.0", "223.255.255.255",
		"2000::", "2001:200::1", "2001:4860:4860::8888", "2001:db7:ffff::1", "2001:db9::", "2003::1", "2a00:1450::1", "3ffe:ffff::1", "3fff:1000::",
	} {
		if err := public(netip.MustParseAddr(text)); err != nil {
			t.Errorf("%s: %v", text, err)
		}
	}
	for _, text := range []string{
		"0.0.0.0", "0.255.255.255", "10.0.0.0", "10.255.255.255", "100.64.0.0", "100.127.255.255", "127.0.0.1", "127.255.255.255",
		"169.254.0.0", "169.254.169.254", "169.254.255.255", "172.16.0.0", "172.31.255.255", "192.0.0.0", "192.0.0.8", "192.0.0.170",
		"192.0.2.1", "192.31.196.1", "192.52.193.1", "192.88.99.1", "192.168.0.0", "192.168.255.255", "192.175.48.1",
		"198.18.0.0", "198.19.255.255", "198.51.100.1", "203.0.113.1", "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255",
		"::", "::1", "::7f00:1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "::ffff:8.8.8.8", "::ffff:0:8.8.8.8",
		"64:ff9b::7f00:1", "64:ff9b::8.8.8.8", "64:ff9b:1::1", "64:ff9b:1:ffff::1", "100::1", "100:0:0:1::1", "1fff:ffff::",
		"2001::1", "2001:0:4136:e378:8000:63bf:3fff:fdd2", "2001:1::1", "2001:2::1", "2001:3::1", "2001:4:112::1", "2001:10::1", "2001:20::1",
		"2001:30::1", "2001:1ff:ffff::", "2001:db8::1", "2002:7f00:1::1", "2002::1", "2620:4f:8000::1", "3fff::1", "3fff:fff:ffff::",
		"4000::", "5f00::1", "fc00::1", "fd00:ec2::254", "fdff::1", "fe80::1", "fe80::1%eth0", "2a00:1450::1%eth0", "fec0::1", "ff02::1", "ff0e::1",
	} {
		if err := public(netip.MustParseAddr(text)); !errors.Is(err, errNotPublic) {
			t.Errorf("%s is taken for public: %v", text, err)
		}
	}
	if err := public(netip.Addr{}); !errors.Is(err, errNotPublic) {
		t.Errorf("no address is taken for public: %v", err)
	}
}

func TestListedHosts(t *testing.T) {
	h := newHosts([]string{"a.example.com", "B.example.com:8443"})
	for text, want := range map[string]string{
		"https://a.example.com":                  "https://a.example.com/",
		"HTTPS://A.Example.COM:443/x?q#f":        "https://a.example.com/x?q",
		"https://b.example.com:8443/x%2fy":       "https://b.example.com:8443/x%2fy",
		"https://b.example.com":                  "",
		"https://b.example.com:443":              "",
		"https://a.example.com:8443":             "",
		"https://a.example.com:0443":             "",
		"https://a.example.com.":                 "",
		"https://x.a.example.com":                "",
		"https://aXexample.com":                  "",
		"https://a.example.com%2eevil.com":       "",
		"https://a.example.com@evil.com":         "",
		"https://evil.com#@a.example.com":        "",
		"https://evil.com?@a.example.com":        "",
		"https://evil.com\\@a.example.com":       "",
		"https://[a.example.com]":                "",
		"https://a.example.com\r\nX: y":          "",
		"https://\u212A.example.com":             "",
		"//a.example.com":                        "",
		" https://a.example.com":                 "",
		"https://a.example.com:443:443":          "",
		"https://xn--a.example.com":              "",
		"https://a.example.com\u3002evil.com":    "",
		"https:a.example.com":                    "",
		"view-source:https://a.example.com":      "",
		"https://a.example.com:65979/is-443-too": "",
	} {
		u, err := h.parse(nil, text)
		if want == "" && !errors.Is(err, ErrRefused) || want != "" && (err != nil || u.String() != want) {
			t.Errorf("%q: %v, %v", text, u, err)
		}
	}
	if _, err := newHosts([]string{"k.example.com"}).parse(nil, "https://\u212A.example.com"); !errors.Is(err, ErrRefused) {
		t.Errorf("a Kelvin sign is taken for a k: %v", err)
	}
	for _, text := range []string{"https://a.example.com:" + strings.Repeat("9", 8000), "https://" + strings.Repeat("a", 8000)} {
		if _, err := h.parse(nil, text); err == nil || len(err.Error()) > 320 {
			t.Errorf("what is refused is quoted in a text of %d bytes", len(err.Error()))
		}
	}
	if _, err := newHosts(nil).parse(nil, "https://:443"); !errors.Is(err, ErrRefused) {
		t.Errorf("no host is listed: %v", err)
	}
}
