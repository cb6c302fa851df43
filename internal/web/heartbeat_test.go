package web_test

import (
	"context"
	"errors"
	"log/slog"
	"math"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tecken-upload/internal/spool"
	"tecken-upload/internal/upload"
	"tecken-upload/internal/web"
)

func (s *site) get(method, path string) answer {
	s.Helper()
	r, err := http.NewRequestWithContext(s.Context(), method, s.url+path, nil)
	if err != nil {
		s.Fatal(err)
	}
	return s.do(r)
}

func TestRoutes(t *testing.T) {
	s := newSite(t)
	ok := map[string]any{"status": "ok"}
	for _, tc := range []struct {
		method, path string
		status       int
		body         map[string]any
		allow        string
	}{
		{"GET", "/__version__", 200, map[string]any{"source": "https://example.com/src", "version": "1.2.3", "commit": "abc", "build": "7"}, ""},
		{"HEAD", "/__version__", 200, nil, ""},
		{"GET", "/__lbheartbeat__", 200, ok, ""},
		{"HEAD", "/__lbheartbeat__", 200, nil, ""},
		{"GET", "/__heartbeat__", 200, map[string]any{"status": "ok", "checks": map[string]any{"database": "ok", "storage": "ok", "disk": "ok"}}, ""},
		{"HEAD", "/__heartbeat__", 200, nil, ""},
		{"GET", "/upload/", 405, map[string]any{"error": "Method Not Allowed (GET): /upload/"}, "OPTIONS, POST"},
		{"POST", "/__version__", 405, map[string]any{"error": "Method Not Allowed (POST): /__version__"}, "OPTIONS, GET, HEAD"},
		{"GET", "/nowhere", 404, map[string]any{"error": "Not Found"}, ""},
	} {
		t.Run(tc.method+" "+tc.path, func(t *testing.T) {
			a := s.get(tc.method, tc.path)
			if diff := cmp.Diff(tc.body, a.body); a.status != tc.status || diff != "" {
				t.Errorf("status %d (-want +got):\n%s", a.status, diff)
			}
			if got := a.header.Get("Allow"); got != tc.allow {
				t.Errorf("Allow: %q, want %q", got, tc.allow)
			}
		})
	}
}

func TestDrainingTurnsTheHeartbeatsRedFirst(t *testing.T) {
	s := newSite(t)
	content := zipped(t, []byte("x"), 0, "a/AA/a.bin")
	s.server.Drain()
	for _, path := range []string{"/__lbheartbeat__", "/__heartbeat__"} {
		if a := s.get("GET", path); a.status != 503 || a.body["status"] != "error" {
			t.Errorf("%s: %d %v", path, a.status, a.body)
		}
	}
	if a := s.post(s.token, content); a.status != 201 {
		t.Errorf("before the balancers had their time: %d %v", a.status, a.body)
	}
	s.server.Refuse()
	if a := s.post(s.token, content); a.status != 503 || a.header.Get("Retry-After") == "" {
		t.Errorf("closing: %d %v", a.status, a.body)
	}
}

func TestHeartbeatNamesTheCulpritAndRecovers(t *testing.T) {
	var failing atomic.Bool
	var now atomic.Int64
	s := newSite(t, func(c *web.Config, _ *upload.Config) {
		c.Checks = map[string]web.Check{
			"storage": func(context.Context) error {
				if failing.Load() {
					return errors.New("secret detail")
				}
				return nil
			},
			"spool": func(context.Context) error { return nil },
		}
		c.Exchange.Now = func() time.Time { return time.Unix(now.Load(), 0) }
	})
	want := func(status int, storage string) {
		t.Helper()
		a := s.get("GET", "/__heartbeat__")
		if diff := cmp.Diff(map[string]any{"storage": storage, "spool": "ok", "disk": "ok"}, a.body["checks"]); a.status != status || diff != "" {
			t.Errorf("status %d (-want +got):\n%s", a.status, diff)
		}
		if a := s.get("GET", "/__lbheartbeat__"); a.status != 200 {
			t.Errorf("the balancer's heartbeat is %d", a.status)
		}
	}
	want(200, "ok")
	failing.Store(true)
	want(200, "ok") // shared for two seconds
	now.Add(2)
	want(503, "error")
	failing.Store(false)
	now.Add(2)
	want(200, "ok")
}

func TestACheckThatHangsOrPanicsIsAnError(t *testing.T) {
	release := make(chan struct{})
	defer close(release)
	var calls atomic.Int32
	var now atomic.Int64
	s := newSite(t, func(c *web.Config, _ *upload.Config) {
		c.Checks = map[string]web.Check{
			"storage":  func(context.Context) error { calls.Add(1); <-release; return nil },
			"database": func(context.Context) error { panic("boom") },
		}
		c.Exchange.Now = func() time.Time { return time.Unix(now.Load(), 0) }
	})
	for range 2 {
		a := s.get("GET", "/__heartbeat__")
		if diff := cmp.Diff(map[string]any{"storage": "error", "database": "error", "disk": "ok"}, a.body["checks"]); a.status != 503 || diff != "" {
			t.Errorf("status %d (-want +got):\n%s", a.status, diff)
		}
		now.Add(10)
	}
	if n := calls.Load(); n != 1 {
		t.Errorf("a check that hangs was called %d times", n)
	}
}

func TestAFullDiskTurnsBothHeartbeatsRed(t *testing.T) {
	at := time.Unix(1000, 0)
	window := spoolDisk(2, func() time.Time { return at })
	s := newSite(t, func(c *web.Config, _ *upload.Config) {
		c.Disk, c.Uploads.Disk = window, window
		c.Uploads.Gate = refusingGate{&spool.FullError{Need: 1}}
	})
	want := func(status int, disk string) {
		t.Helper()
		if a := s.get("GET", "/__lbheartbeat__"); a.status != status {
			t.Errorf("the balancer's heartbeat is %d, want %d", a.status, status)
		}
		a := s.get("GET", "/__heartbeat__")
		if checks, _ := a.body["checks"].(map[string]any); a.status != status || checks["disk"] != disk {
			t.Errorf("the heartbeat is %d %v, want %d", a.status, a.body, status)
		}
	}
	for _, next := range []struct {
		status int
		disk   string
	}{{200, "ok"}, {503, "error"}} {
		if a := s.post(s.token, []byte("x")); a.status != 503 || a.header.Get("Retry-After") == "" {
			t.Errorf("status %d: %v", a.status, a.body)
		}
		want(next.status, next.disk)
	}
	at = at.Add(time.Minute)
	want(200, "ok")
}

// An instance that is merely busy keeps its traffic, and says how busy it is.
func TestSaturationIsToldAndTurnsNothingRed(t *testing.T) {
	var ratio atomic.Uint64
	var now atomic.Int64
	s := newSite(t, func(c *web.Config, _ *upload.Config) {
		c.Saturation = func(context.Context) float64 { return math.Float64frombits(ratio.Load()) }
		c.Exchange.Now = func() time.Time { return time.Unix(now.Load(), 0) }
		c.Uploads.Gate = refusingGate{&upload.BusyError{Reason: "Full.", RetryAfter: time.Second}}
	})
	for _, tc := range []struct {
		ratio float64
		want  any
	}{{0, 0.0}, {0.004, 0.0}, {0.666, 0.67}, {1, 1.0}, {7, 1.0}, {-1, 0.0}, {math.NaN(), nil}} {
		ratio.Store(math.Float64bits(tc.ratio))
		now.Add(2)
		if a := s.post(s.token, []byte("x")); a.status != 503 {
			t.Errorf("an upload: status %d", a.status)
		}
		if a := s.get("GET", "/__heartbeat__"); a.status != 200 || a.body["saturation"] != tc.want {
			t.Errorf("%v: status %d, %v", tc.ratio, a.status, a.body)
		}
		if a := s.get("GET", "/__lbheartbeat__"); a.status != 200 || len(a.body) != 1 {
			t.Errorf("the balancer's heartbeat: status %d, %v", a.status, a.body)
		}
	}
}

// Where the saturation takes its time, it does so once for all requests, beside the checks.
func TestSaturationIsSharedAsTheChecksAre(t *testing.T) {
	var now, calls atomic.Int64
	s := newSite(t, func(c *web.Config, _ *upload.Config) {
		c.Checks = map[string]web.Check{"storage": func(ctx context.Context) error { <-ctx.Done(); return context.Cause(ctx) }}
		c.Saturation = func(ctx context.Context) float64 { calls.Add(1); <-ctx.Done(); return 1 }
		c.Exchange.Now = func() time.Time { return time.Unix(now.Load(), 0) }
	})
	for range 3 {
		if a := s.get("GET", "/__heartbeat__"); a.status != 503 || a.body["saturation"] != 1.0 {
			t.Errorf("status %d: %v", a.status, a.body)
		}
	}
	if n := calls.Load(); n != 1 {
		t.Errorf("%d calls", n)
	}
}

// What goes wrong beside the checks is told, and leaves the answer as clients know it.
func TestARoundThatComesToNoEnd(t *testing.T) {
	var log syncBuffer
	s := newSite(t, func(c *web.Config, _ *upload.Config) {
		c.Checks = map[string]web.Check{"storage": func(context.Context) error { return nil }}
		c.Saturation = func(context.Context) float64 { panic("boom") }
		c.Exchange.Logger = slog.New(slog.NewTextHandler(&log, nil))
	})
	a := s.get("GET", "/__heartbeat__")
	want := map[string]any{"status": "error", "checks": map[string]any{"disk": "ok", "storage": "error"}}
	if diff := cmp.Diff(want, a.body); a.status != 503 || diff != "" {
		t.Errorf("status %d (-want +got)\n%s", a.status, diff)
	}
	if text := log.String(); !strings.Contains(text, "boom") {
		t.Errorf("the log does not tell of it: %s", text)
	}
}
