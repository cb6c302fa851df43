package server_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tecken-upload/internal/server"
	"tecken-upload/internal/upload"
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

// The spool can't be used, because its file system is read-only say: whoever is on call learns whose upload that was.
func TestWithoutTheSpool(t *testing.T) {
	broken := fmt.Errorf("%w: make workspace: read-only file system", upload.ErrUnavailable)
	s := newSite(t, func(c *server.Config, _ *upload.Config) { c.Gate = gate{broken} })
	a := s.post(s.token+"-nightly", []byte("x"))
	if a.status != 503 || a.header.Get("Retry-After") == "" {
		t.Errorf("status %d, %q", a.status, a.text())
	}
	s.failedUnrecorded("disk")
	if f := s.watcher.told[0]; f.Token == nil || f.Token.User == "" || f.Label != "nightly" {
		t.Errorf("whose upload it was is lost: %+v", f)
	}
}

// What is refused is counted, each upload once.
func TestRefusalsAreCounted(t *testing.T) {
	s := newSite(t)
	for reason, send := range map[string]func() answer{
		"token": func() answer { return s.post("", []byte("x")) },
		"url":   func() answer { return s.postURL(s.token, "https://elsewhere.example.com/x.zip") },
		"form":  func() answer { return s.postURL(s.token, "") },
		"size":  func() answer { return s.post(s.token, make([]byte, maxUpload+2<<20)) },
	} {
		s.watcher.mu.Lock()
		s.watcher.refusals = nil
		s.watcher.mu.Unlock()
		a := send()
		s.watcher.mu.Lock()
		if diff := cmp.Diff([]string{reason}, s.watcher.refusals); diff != "" {
			t.Errorf("status %d: %s", a.status, diff)
		}
		s.watcher.mu.Unlock()
	}
	if n := len(s.watcher.told); n != 0 {
		t.Errorf("%d faults told of", n)
	}
}

func TestAHandlersPanicIsAnswered(t *testing.T) {
	s := newSite(t, func(c *server.Config, _ *upload.Config) { c.Gate = panicking{} })
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
