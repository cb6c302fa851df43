package testenv

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"sync/atomic"
	"testing"

	toxiproxy "github.com/Shopify/toxiproxy/v2"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
)

// A Proxy is a toxiproxy in front of a TCP server.
type Proxy struct {
	Addr string // 127.0.0.1:<port>

	t     testing.TB
	proxy *toxiproxy.Proxy
}

// Toxiproxy starts a proxy in front of the TCP server at upstream ("host:port"), in this process. It and its connections end with the test.
func Toxiproxy(t testing.TB, upstream string) *Proxy {
	t.Helper()
	zerolog.SetGlobalLevel(zerolog.Disabled) // its toxics use the global logger
	metrics := toxiproxy.NewMetricsContainer(prometheus.NewRegistry())
	server := toxiproxy.NewServer(metrics, zerolog.Nop())
	p := toxiproxy.NewProxy(server, t.Name(), "127.0.0.1:0", upstream)
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Stop)
	return &Proxy{Addr: p.Listen, t: t, proxy: p}
}

// Add makes connections ill: kind is one of toxiproxy's (latency, bandwidth, timeout, reset_peer, slicer, slow_close, limit_data), stream
// either "upstream" (what the client sends) or "downstream". It returns a function that removes the toxic, to be called at most once.
// https://github.com/Shopify/toxiproxy#toxics
func (p *Proxy) Add(kind, stream string, attributes map[string]any) (remove func()) {
	p.t.Helper()
	name := kind + "_" + stream
	text, err := json.Marshal(map[string]any{
		"name": name, "type": kind, "stream": stream, "toxicity": 1, "attributes": attributes,
	})
	if err != nil {
		p.t.Fatal(err)
	}
	if _, err := p.proxy.Toxics.AddToxicJson(bytes.NewReader(text)); err != nil {
		p.t.Fatalf("add toxic %s: %v", text, err)
	}
	return func() {
		if err := p.proxy.Toxics.RemoveToxic(p.t.Context(), name); err != nil {
			p.t.Errorf("remove toxic %s: %v", name, err)
		}
	}
}

// Cut ends the proxy and every connection through it; new ones are refused.
func (p *Proxy) Cut() { p.proxy.Stop() }

// A Refuser is an HTTP proxy in front of an S3 server that answers some requests itself.
type Refuser struct {
	Endpoint string // http://127.0.0.1:<port>

	left, requests, conns atomic.Int64
}

// RefuseS3 starts a proxy in front of the S3 server at endpoint, for answers that a healthy server can't be made to give: the next times
// requests get this status and S3 error code, all others pass.
func RefuseS3(t testing.TB, endpoint string, times, status int, code string) *Refuser {
	t.Helper()
	r := &Refuser{}
	r.left.Store(int64(times))
	pass := passS3(t, endpoint)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		r.requests.Add(1)
		if r.left.Add(-1) < 0 {
			pass.ServeHTTP(w, req)
			return
		}
		answerError(w, req, status, code, "on purpose")
	}))
	server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			r.conns.Add(1)
		}
	}
	server.Start()
	t.Cleanup(server.Close)
	r.Endpoint = server.URL
	return r
}

// A SomeRefuser is an HTTP proxy in front of an S3 server that refuses some requests on demand.
type SomeRefuser struct {
	Endpoint string // http://127.0.0.1:<port>

	refusal atomic.Pointer[refusal]
}

type refusal struct {
	status int
	code   string
}

// RefuseSome starts a proxy in front of the S3 server at endpoint, which can refuse matching requests, and refuses nothing yet.
func RefuseSome(t testing.TB, endpoint string, match func(*http.Request) bool) *SomeRefuser {
	t.Helper()
	r := &SomeRefuser{}
	pass := passS3(t, endpoint)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if with := r.refusal.Load(); with != nil && match(req) {
			answerError(w, req, with.status, with.code, "on purpose")
			return
		}
		pass.ServeHTTP(w, req)
	}))
	t.Cleanup(server.Close)
	r.Endpoint = server.URL
	return r
}

// Refuse answers matching requests with this status and S3 error code, until Take.
func (r *SomeRefuser) Refuse(status int, code string) { r.refusal.Store(&refusal{status, code}) }

// Take lets all requests pass.
func (r *SomeRefuser) Take() { r.refusal.Store(nil) }

// answerError answers like S3: HEAD without a body.
func answerError(w http.ResponseWriter, r *http.Request, status int, code, message string) {
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		fmt.Fprintf(w, `<?xml version="1.0" encoding="UTF-8"?><Error><Code>%s</Code><Message>%s</Message></Error>`, code, message)
	}
}

// passS3 makes a proxy to the S3 server at endpoint.
func passS3(t testing.TB, endpoint string) *httputil.ReverseProxy {
	t.Helper()
	upstream, err := url.Parse(endpoint)
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{DisableCompression: true} // ask for nothing that the client does not
	t.Cleanup(transport.CloseIdleConnections)
	return &httputil.ReverseProxy{
		Transport: transport,
		ErrorLog:  slog.NewLogLogger(slog.DiscardHandler, slog.LevelError), // its clients get the error
		Rewrite: func(p *httputil.ProxyRequest) {
			p.SetURL(upstream)
			p.Out.Host = p.In.Host // the host is signed
		},
	}
}

// HoldS3 starts a proxy in front of the S3 server at endpoint, and returns its endpoint. Matching requests are not answered as long as
// their client waits; all others pass. A healthy server can't be made to do that to some objects alone.
func HoldS3(t testing.TB, endpoint string, match func(*http.Request) bool) string {
	t.Helper()
	pass := passS3(t, endpoint)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if match(req) {
			_, _ = io.Copy(io.Discard, req.Body) // else the end of the connection would go unseen
			<-req.Context().Done()
			return
		}
		pass.ServeHTTP(w, req)
	}))
	t.Cleanup(server.Close)
	return server.URL
}

// StallS3 starts a proxy in front of the S3 server at endpoint, and returns its endpoint. It passes on the first bytes of an object, and
// then nothing for as long as the client waits.
func StallS3(t testing.TB, endpoint string, bytes int64) string {
	t.Helper()
	pass := passS3(t, endpoint)
	pass.FlushInterval = -1
	pass.ModifyResponse = func(resp *http.Response) error {
		if resp.Request.Method == http.MethodGet {
			resp.Body = &stalling{resp.Body, io.LimitReader(resp.Body, bytes), resp.Request.Context()}
		}
		return nil
	}
	server := httptest.NewServer(pass)
	t.Cleanup(server.Close)
	return server.URL
}

// stalling is a body that does not end until ctx ends.
type stalling struct {
	io.Closer
	part io.Reader
	ctx  context.Context
}

func (s *stalling) Read(p []byte) (int, error) {
	n, err := s.part.Read(p)
	if err == io.EOF {
		<-s.ctx.Done()
	}
	return n, err
}

// Requests returns the number of requests so far.
func (r *Refuser) Requests() int { return int(r.requests.Load()) }

// Connections returns the number of connections so far.
func (r *Refuser) Connections() int { return int(r.conns.Load()) }
