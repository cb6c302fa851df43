package web_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tecken-upload/internal/spool"
	"tecken-upload/internal/upload"
	"tecken-upload/internal/web"
	"tecken-upload/internal/web/exchange"
)

func TestWithoutTheDatabase(t *testing.T) {
	s := newSite(t)
	if err := s.records.Close(); err != nil {
		t.Fatal(err)
	}
	a := s.post(s.token, []byte("x"))
	if a.status != 503 || a.header.Get("Retry-After") == "" || strings.Contains(a.text(), "sql") {
		t.Errorf("status %d, %q", a.status, a.text())
	}
	s.failedUnrecorded("database")
}

// failedUnrecorded checks that one upload is told of that failed without a record, with all that is known of it.
func (s *site) failedUnrecorded(cause string) {
	s.Helper()
	s.watcher.mu.Lock()
	defer s.watcher.mu.Unlock()
	if diff := cmp.Diff([]string{cause + ", by our fault"}, s.watcher.refusals); diff != "" || len(s.watcher.told) != 1 {
		s.Fatalf("%d faults told of; refusals: %s", len(s.watcher.told), diff)
	}
	f := s.watcher.told[0]
	if f.Cause != cause || f.Route != "/upload/" || f.Method != http.MethodPost || f.Declared <= 0 {
		s.Errorf("%+v", f)
	}
}

// The spool can't be used, because its file system is read-only say: the report names the upload's tenant.
func TestWithoutTheSpool(t *testing.T) {
	broken := fmt.Errorf("%w: make workspace: read-only file system", upload.ErrUnavailable)
	s := newSite(t, func(c *web.Config, _ *upload.Config) { c.Uploads.Gate = refusingGate{broken} })
	a := s.post(s.token+"-nightly", []byte("x"))
	if a.status != 503 || a.header.Get("Retry-After") == "" {
		t.Errorf("status %d, %q", a.status, a.text())
	}
	s.failedUnrecorded("disk")
	if f := s.watcher.told[0]; f.Token == nil || f.Token.User == "" || f.Label != "nightly" {
		t.Errorf("whose upload it was is lost: %+v", f)
	}
}

// refusing has the gate refuse every upload.
func refusing(err error) func(*web.Config, *upload.Config) {
	return func(c *web.Config, _ *upload.Config) { c.Uploads.Gate = refusingGate{err} }
}

// lacking has the gate refuse every upload for want of something.
func lacking(lack upload.Lack, own bool) func(*web.Config, *upload.Config) {
	return refusing(&upload.BusyError{Lack: lack, OverLimit: own, Reason: "Try again later.", RetryAfter: time.Second})
}

// refusals are ways to have an upload refused, by the reason that is counted.
var refusals = map[string]struct {
	change func(*web.Config, *upload.Config) // of the site; nil: none
	send   func(s *site) answer              // nil: an upload that nothing is wrong with
	status int
}{
	"token":      {send: func(s *site) answer { return s.post("", nil) }, status: 403},
	"permission": {send: func(s *site) answer { return s.post(s.makeToken(upload.PermissionViewAll), nil) }, status: 403},
	"form":       {send: func(s *site) answer { return s.postURL(s.token, "") }, status: 400},
	"url":        {send: func(s *site) answer { return s.postURL(s.token, "https://elsewhere.example.com/x.zip") }, status: 400},
	"size":       {send: func(s *site) answer { return s.post(s.token, make([]byte, maxUpload+2<<20)) }, status: 413},
	"database": {status: 503, send: func(s *site) answer {
		if err := s.records.Close(); err != nil {
			s.Error(err)
		}
		return s.post(s.token, nil)
	}},
	"shutdown":  {send: func(s *site) answer { s.server.Refuse(); return s.post(s.token, nil) }, status: 503},
	"error":     {change: func(c *web.Config, _ *upload.Config) { c.Uploads.Gate = panicking{} }, status: 500},
	"disk":      {change: refusing(fmt.Errorf("%w: read-only file system", upload.ErrUnavailable)), status: 503},
	"disk_full": {change: refusing(&spool.FullError{}), status: 503},
	"spool":     {change: lacking(upload.LackSpool, false), status: 503},
	"slow":      {change: refusing(upload.ErrDeadline), status: 504},
	"busy":      {change: lacking("", false), status: 503},
	"limit":     {change: lacking(upload.LackLimit, true), status: 429},
	"receiving": {change: lacking(upload.LackReceiving, false), status: 503},
	"time":      {change: lacking(upload.LackTime, false), status: 503},
	"queue":     {change: lacking(upload.LackQueue, false), status: 503},
	"fetch":     {change: lacking(upload.LackFetch, false), status: 503},
}

// Every refusal is counted, each upload once, by its reason; those that are our fault as failures too.
func TestRefusalsAreCounted(t *testing.T) {
	for _, reason := range exchange.RefusalReasons() {
		tc, ok := refusals[reason]
		if !ok {
			// What is unavailable before an upload is begun is the database or the disk, and storage has refused nothing.
			if reason != "unavailable" && reason != "refused" {
				t.Errorf("no upload is refused for %q", reason)
			}
			continue
		}
		t.Run(reason, func(t *testing.T) {
			if tc.change == nil {
				tc.change = func(*web.Config, *upload.Config) {}
			}
			if tc.send == nil {
				tc.send = func(s *site) answer { return s.post(s.token, nil) }
			}
			s := newSite(t, tc.change)
			a := tc.send(s)
			want, faults := reason, 0
			if slices.Contains(exchange.FailureCauses(), reason) {
				want, faults = reason+", by our fault", 1
			}
			s.watcher.mu.Lock()
			defer s.watcher.mu.Unlock()
			if diff := cmp.Diff([]string{want}, s.watcher.refusals); diff != "" || a.status != tc.status {
				t.Errorf("status %d, refusals: %s", a.status, diff)
			}
			if n := len(s.watcher.told); n != faults {
				t.Errorf("%d faults told of, not %d", n, faults)
			}
		})
	}
}

func TestAHandlersPanicIsAnswered(t *testing.T) {
	s := newSite(t, func(c *web.Config, _ *upload.Config) { c.Uploads.Gate = panicking{} })
	if a := s.post(s.token, []byte("x")); a.status != 500 || a.text() != "Internal Server Error" {
		t.Errorf("status %d, %q", a.status, a.text())
	}
	s.watcher.mu.Lock()
	defer s.watcher.mu.Unlock()
	if len(s.watcher.faults) != 1 || s.watcher.stacks != 1 || s.watcher.told[0].Token == nil {
		t.Errorf("%d faults, %d stacks", len(s.watcher.faults), s.watcher.stacks)
	}
	if diff := cmp.Diff([]string{"error, by our fault"}, s.watcher.refusals); diff != "" {
		t.Errorf("refusals: %s", diff)
	}
}
