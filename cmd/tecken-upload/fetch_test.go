package main

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"tecken-upload/internal/config"
	"tecken-upload/internal/fetch"
)

func TestFetchSlotsLeaveReceivingSlotsToBodies(t *testing.T) {
	for receiving, want := range map[int][2]int{1: {1, 0}, 3: {1, 0}, 4: {1, 1}, 5: {1, 1}, 16: {4, 4}, 32: {8, 8}, 64: {8, 8}} {
		if slots, line := fetchSlots(&config.Server{MaxReceiving: receiving}); slots != want[0] || line != want[1] {
			t.Errorf("of %d receiving slots: %d to fetch, %d wait", receiving, slots, line)
		}
	}
}

// A download is given the time of a body.
func TestDownloadsAreAsPatientAsBodies(t *testing.T) {
	c := newFetch(&config.Server{ReceiveTimeout: time.Hour, ReceiveStallTimeout: time.Minute})
	if c.Timeout != time.Hour || c.StallTimeout != time.Minute {
		t.Errorf("%v, and %v without a byte", c.Timeout, c.StallTimeout)
	}
}

// Behind what fetches stands the real check of addresses.
func TestDownloadsFromThisMachine(t *testing.T) {
	download, err := newFetch(&config.Server{UploadByURLDomains: config.List{"localhost"}, ReceiveTimeout: time.Minute, ReceiveStallTimeout: time.Minute}).
		Download("https://localhost/x.zip")
	if err != nil {
		t.Fatal(err)
	}
	defer download.Close()
	err = download.Open(t.Context(), 1)
	if e, ok := errors.AsType[*fetch.Error](err); !ok || e.Reason != "'localhost' has no public address." {
		t.Errorf("got %v", err)
	}
}

// The list of hosts reaches what fetches.
func TestUploadByURLIsWired(t *testing.T) {
	t.Parallel()
	d := startDaemon(t, map[string]string{"TECKEN_UPLOAD_BY_URL_DOMAINS": "builds.example.com:8443"})
	for address, want := range map[string]string{
		"https://symbols.example.com/x.zip": "Not an allowed domain ('symbols.example.com') to download from.",
		"https://builds.example.com/x.zip":  "Not an allowed domain ('builds.example.com:443') to download from.",
	} {
		form := url.Values{"url": {address}}.Encode()
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, d.URL("/upload/"), strings.NewReader(form))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Auth-Token", d.token)
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		var body struct{ Error string }
		err = json.NewDecoder(resp.Body).Decode(&body)
		resp.Body.Close()
		if err != nil || resp.StatusCode != http.StatusBadRequest || body.Error != want {
			t.Errorf("%s: status %d, %q, %v", address, resp.StatusCode, body.Error, err)
		}
	}
	if places := d.metric("tecken_fetch_places"); places != 8 {
		t.Errorf("%v places", places)
	}
}
