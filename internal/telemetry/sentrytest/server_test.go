package sentrytest_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"tecken-upload/internal/telemetry/sentrytest"
)

// post sends an envelope as a client with that DSN would, and returns the answer's status.
func post(t *testing.T, dsn, envelope string, zip bool) int {
	t.Helper()
	u, err := url.Parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	body := bytes.NewBufferString(envelope)
	if zip {
		body = new(bytes.Buffer)
		z := gzip.NewWriter(body)
		if _, err := z.Write([]byte(envelope)); err != nil {
			t.Fatal(err)
		}
		if err := z.Close(); err != nil {
			t.Fatal(err)
		}
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+u.Host+"/api"+u.Path+"/envelope/", body)
	if err != nil {
		t.Fatal(err)
	}
	if zip {
		req.Header.Set("Content-Encoding", "gzip")
	}
	req.Header.Set("X-Sentry-Auth", "Sentry sentry_version=7, sentry_key="+u.User.Username())
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	return resp.StatusCode
}

func TestServerCollects(t *testing.T) {
	envelopes := map[string]string{
		"with a length":    "{}\n{\"type\":\"event\",\"length\":18}\n{\"message\":\"a\\nb\"}\n",
		"without a length": "{\"event_id\":\"1\"}\n{\"type\":\"event\"}\n{\"message\":\"a\\nb\"}",
		"among others":     "{}\n{\"type\":\"client_report\",\"length\":3}\n{\n}\n{\"type\":\"event\"}\n{\"message\":\"a\\nb\"}\n",
	}
	for name, envelope := range envelopes {
		for _, zip := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				s := sentrytest.NewServer()
				defer s.Close()
				if status := post(t, s.DSN(), envelope, zip); status != http.StatusOK {
					t.Errorf("status %d", status)
				}
				events, err := s.Wait(t.Context(), 1)
				if err != nil {
					t.Fatal(err)
				}
				if len(events) != 1 || events[0].Message != "a\nb" || !strings.Contains(string(events[0].Raw), `a\nb`) {
					t.Errorf("%+v", events)
				}
			})
		}
	}
}

func TestServerCollectsCheckIns(t *testing.T) {
	s := sentrytest.NewServer()
	defer s.Close()
	post(t, s.DSN(), "{}\n{\"type\":\"check_in\"}\n{\"monitor_slug\":\"sweep\",\"status\":\"ok\"}\n", false)
	if got := s.CheckIns(); len(got) != 1 || got[0].Monitor != "sweep" || got[0].Status != "ok" {
		t.Errorf("%+v", got)
	}
}

func TestServerRefuses(t *testing.T) {
	good := "{}\n{\"type\":\"event\"}\n{}\n"
	tests := []struct {
		name, envelope string
		dsn            func(string) string
	}{
		{"another key", good, func(dsn string) string { return strings.Replace(dsn, "://0", "://1", 1) }},
		{"another project", good, func(dsn string) string { return dsn + "1" }},
		{"no header", "event\n", nil},
		{"no item header", "{}\nevent\n", nil},
		{"no type", "{}\n{}\n{}\n", nil},
		{"a length beyond the end", "{}\n{\"type\":\"event\",\"length\":3}\n{}", nil},
		{"a negative length", "{}\n{\"type\":\"event\",\"length\":-1}\n{}", nil},
		{"a length inside the payload", "{}\n{\"type\":\"event\",\"length\":2}\n{}x\n", nil},
		{"an event that is no JSON", "{}\n{\"type\":\"event\"}\nevent\n", nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := sentrytest.NewServer()
			defer s.Close()
			dsn := s.DSN()
			if tt.dsn != nil {
				dsn = tt.dsn(dsn)
			}
			if status := post(t, dsn, tt.envelope, false); status != http.StatusBadRequest {
				t.Errorf("status %d", status)
			}
			if events, err := s.Wait(t.Context(), 1); err == nil || len(events) > 0 {
				t.Errorf("%v, %v", events, err)
			}
		})
	}
}

func TestWaitEndsWithItsContext(t *testing.T) {
	s := sentrytest.NewServer()
	defer s.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := s.Wait(ctx, 1); err == nil {
		t.Error("no error")
	}
	if events, err := s.Wait(ctx, 0); err != nil || len(events) != 0 {
		t.Errorf("%v, %v", events, err)
	}
}
