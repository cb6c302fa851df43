package fetch_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tecken-upload/internal/fetch"
	"tecken-upload/internal/fetch/fetchtest"
	"tecken-upload/internal/fetch/internal/seam"
	"tecken-upload/internal/testenv"
)

// newClient makes a client of a server; s replaces parts of the network.
func newClient(s *fetchtest.Server, in seam.Seam) *fetch.Client {
	in.Roots, in.Pause = s.Roots(), time.Millisecond
	return fetch.NewWith(fetch.Config{
		Hosts: []string{fetchtest.Host + ":" + s.Port()}, Timeout: testenv.Patience, StallTimeout: testenv.Patience,
	}, in)
}

func untouched(t *testing.T) http.HandlerFunc {
	return func(http.ResponseWriter, *http.Request) { t.Error("it was reached") }
}

// The real check, and names that lead to private addresses: a server that listens there sees no connection.
func TestNamesOfPrivateAddresses(t *testing.T) {
	quiet(t)
	s := fetchtest.NewServer(t, untouched(t))
	s.Config.ConnState = func(net.Conn, http.ConnState) { t.Error("it was connected to") }
	for _, text := range []string{
		"127.0.0.1", "127.1.2.3", "0.0.0.0", "10.0.0.1", "169.254.169.254", "100.64.0.1", "192.168.1.1", "255.255.255.255",
		"::1", "::", "::ffff:127.0.0.1", "64:ff9b::7f00:1", "fd00::1", "fe80::1", "ff02::1", "2002:7f00:1::",
	} {
		a := netip.MustParseAddr(text)
		c := newClient(s, seam.Seam{Resolver: fetchtest.Resolver(func(_ string, v6 bool) []netip.Addr {
			if v6 != a.Is6() {
				return nil
			}
			return []netip.Addr{a, a}
		})})
		g := download(t.Context(), c, s.At("/x?sig=hunter2"))
		wantFailure(t, g.err, fetch.ErrRefused, "'"+fetchtest.Host+":"+s.Port()+"' has no public address.")
	}
}

// A name is resolved once, and the checked address is the one connected to: a second answer changes nothing.
func TestANameThatChanges(t *testing.T) {
	quiet(t)
	var asked atomic.Int32
	var to sync.Map
	s := fetchtest.NewServer(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		to.Store(r.Context().Value(http.LocalAddrContextKey).(net.Addr).String(), true)
	}))
	resolver := fetchtest.Resolver(func(_ string, v6 bool) []netip.Addr {
		if v6 {
			return nil
		}
		if asked.Add(1)%2 == 1 {
			return fetchtest.Loopback("", v6)
		}
		return []netip.Addr{netip.MustParseAddr("10.0.0.1")}
	})
	var checked []netip.Addr
	c := newClient(s, seam.Seam{Resolver: resolver, Check: func(a netip.Addr) error {
		checked = append(checked, a)
		return nil
	}})
	if g := download(t.Context(), c, s.At("/x")); g.err != nil {
		t.Fatal(g.err)
	}
	_, reached := to.Load("127.0.0.1:" + s.Port())
	if asked.Load() != 1 || len(checked) != 1 || checked[0].String() != "127.0.0.1" || !reached {
		t.Errorf("asked %d times, checked %v, reached %t", asked.Load(), checked, reached)
	}

	// Of several addresses, only public ones are tried.
	mixed := newClient(s, seam.Seam{
		Resolver: fetchtest.Resolver(func(_ string, v6 bool) []netip.Addr {
			if v6 {
				return []netip.Addr{netip.MustParseAddr("::1")}
			}
			return []netip.Addr{netip.MustParseAddr("127.0.0.2"), netip.MustParseAddr("127.0.0.1")}
		}),
		Check: func(a netip.Addr) error {
			if a.String() != "127.0.0.1" {
				return errors.New("not this one")
			}
			return nil
		},
	})
	to.Clear()
	if g := download(t.Context(), mixed, s.At("/x")); g.err != nil {
		t.Error(g.err)
	}
	to.Range(func(at, _ any) bool {
		if at != "127.0.0.1:"+s.Port() {
			t.Errorf("reached %v", at)
		}
		return true
	})
}

func TestUnreachable(t *testing.T) {
	quiet(t)
	const sentence = "can't be reached, or does not answer as it should"
	s := fetchtest.NewServer(t, untouched(t))
	pass := func(netip.Addr) error { return nil }
	nobody := fetchtest.Resolver(func(string, bool) []netip.Addr { return nil })
	wantFailure(t, download(t.Context(), newClient(s, seam.Seam{Check: pass, Resolver: nobody}), s.At("/?sig=hunter2")).err, fetch.ErrUnreachable, sentence)

	// The certificate is for another name, or of an unknown issuer.
	local := fetchtest.Resolver(fetchtest.Loopback)
	stranger := fetch.NewWith(fetch.Config{Hosts: []string{"a.b.test:" + s.Port()}, Timeout: time.Minute, StallTimeout: time.Minute},
		seam.Seam{Check: pass, Resolver: local, Roots: s.Roots()})
	wantFailure(t, download(t.Context(), stranger, "https://a.b.test:"+s.Port()+"/?sig=hunter2").err, fetch.ErrUnreachable, sentence)
	unknown := fetch.NewWith(fetch.Config{Hosts: []string{fetchtest.Host + ":" + s.Port()}, Timeout: time.Minute, StallTimeout: time.Minute},
		seam.Seam{Check: pass, Resolver: local})
	wantFailure(t, download(t.Context(), unknown, s.At("/?sig=hunter2")).err, fetch.ErrUnreachable, sentence)

	// No server listens.
	c, address := s.Client(), s.At("/?sig=hunter2")
	s.Close()
	wantFailure(t, download(t.Context(), c, address).err, fetch.ErrUnreachable, sentence)
}

// After any answer the download ends, and its error holds nothing that was echoed.
func TestHostileAnswers(t *testing.T) {
	quiet(t)
	const sentence = "can't be reached, or does not answer as it should"
	for name, tc := range map[string]struct {
		answer string // %s is the request's first line
		kind   error
	}{
		"an echo":                 {"%s\r\n\r\n", fetch.ErrUnreachable},
		"an echo as status":       {"HTTP/1.1 %s\r\n\r\n", fetch.ErrUnreachable},
		"an echo as reason":       {"HTTP/1.1 404 %s\r\nContent-Length: 0\r\n\r\n", fetch.ErrRefused},
		"an echo as header":       {"HTTP/1.1 200 OK\r\n%s\r\n\r\n", fetch.ErrUnreachable},
		"an echo as length":       {"HTTP/1.1 200 OK\r\nContent-Length: %s\r\n\r\n", fetch.ErrUnreachable},
		"an echo as encoding":     {"HTTP/1.1 200 OK\r\nTransfer-Encoding: %s\r\n\r\n", fetch.ErrUnreachable},
		"an echo as a chunk":      {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%s\r\n", fetch.ErrUnreachable},
		"an echo as location":     {"HTTP/1.1 302 Found\r\nLocation: http://%s\r\n\r\n", fetch.ErrRefused},
		"an echo as a host":       {"HTTP/1.1 302 Found\r\nLocation: https://e/%s\r\n\r\n", fetch.ErrRefused},
		"two lengths":             {"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx", fetch.ErrUnreachable},
		"a negative length":       {"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\nxx", fetch.ErrUnreachable},
		"a huge length":           {"HTTP/1.1 200 OK\r\nContent-Length: 9223372036854775807\r\n\r\nxx", fetch.ErrTooLarge},
		"a length beyond numbers": {"HTTP/1.1 200 OK\r\nContent-Length: 9223372036854775808\r\n\r\nxx", fetch.ErrUnreachable},
		"a long header":           {"HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", 1<<20) + "\r\n\r\n", fetch.ErrUnreachable},
		"many headers":            {"HTTP/1.1 200 OK\r\n" + strings.Repeat("X: y\r\n", 100_000) + "\r\n", fetch.ErrUnreachable},
		"many 100s":               {strings.Repeat("HTTP/1.1 103 Early Hints\r\nX: y\r\n\r\n", 100_000), fetch.ErrUnreachable},
		"another protocol":        {"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n", fetch.ErrRefused},
		"less than declared":      {"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nxx", fetch.ErrUnreachable},
		"nothing":                 {"", fetch.ErrUnreachable},
	} {
		t.Run(name, func(t *testing.T) {
			s := fetchtest.NewServer(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				conn, _, err := http.NewResponseController(w).Hijack()
				if err != nil {
					t.Error(err)
					return
				}
				defer conn.Close()
				out := bufio.NewWriter(conn)
				if strings.Contains(tc.answer, "%s") {
					_, _ = fmt.Fprintf(out, tc.answer, r.RequestURI)
				} else {
					_, _ = io.WriteString(out, tc.answer)
				}
				_ = out.Flush()
			}))
			g := download(t.Context(), s.Client(), s.At("/x?sig=hunter2"))
			text := sentence
			switch {
			case errors.Is(tc.kind, fetch.ErrRefused), errors.Is(tc.kind, fetch.ErrTooLarge):
				text = " "
			case g.content != nil:
				text = "broke off"
			}
			wantFailure(t, g.err, tc.kind, text)
		})
	}
}

// A declared length does not allow more bytes.
func TestMoreThanDeclared(t *testing.T) {
	quiet(t)
	s := fetchtest.NewServer(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nPKHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nXX")
	}))
	c := s.Client()
	for range 2 {
		if g := download(t.Context(), c, s.At("/")); g.err != nil || string(g.content) != "PK" {
			t.Errorf("got %q, %v", g.content, g.err)
		}
	}
}

// A download that ends while it connects ends the connection.
func TestAHandshakeThatTakesForEver(t *testing.T) {
	quiet(t)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	_, port, err := net.SplitHostPort(listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	c := fetch.NewWith(fetch.Config{Hosts: []string{fetchtest.Host + ":" + port}, Timeout: time.Minute, StallTimeout: time.Minute},
		seam.Seam{Check: func(netip.Addr) error { return nil }, Resolver: fetchtest.Resolver(fetchtest.Loopback)})
	enough := errors.New("enough")
	for range 5 {
		ctx, cancel := context.WithCancelCause(t.Context())
		go func() {
			conn, err := listener.Accept()
			if err != nil {
				t.Error(err)
				return
			}
			cancel(enough)
			if _, err := io.Copy(io.Discard, conn); err != nil {
				t.Error(err)
			}
			_ = conn.Close()
		}()
		if g := download(ctx, c, "https://"+fetchtest.Host+":"+port+"/"); !errors.Is(g.err, enough) {
			t.Errorf("got %v", g.err)
		}
	}
}

// A context that has ended ends every wait.
func TestNamesThatTakeForEver(t *testing.T) {
	quiet(t)
	s := fetchtest.NewServer(t, untouched(t))
	release := make(chan struct{})
	defer close(release)
	slow := fetchtest.Resolver(func(string, bool) []netip.Addr {
		<-release
		return nil
	})
	enough := errors.New("enough")
	ctx, cancel := context.WithTimeoutCause(t.Context(), 100*time.Millisecond, enough)
	defer cancel()
	if g := download(ctx, newClient(s, seam.Seam{Resolver: slow}), s.At("/")); !errors.Is(g.err, enough) {
		t.Errorf("got %v", g.err)
	}
}
