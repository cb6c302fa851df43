package main

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"tecken-upload/internal/config"
)

func TestTurnsLeavePlacesToBodies(t *testing.T) {
	for places, want := range map[int][2]int{1: {1, 0}, 3: {1, 0}, 4: {1, 1}, 5: {1, 1}, 16: {4, 4}, 32: {8, 8}, 64: {8, 8}} {
		if turns, queue := fetchTurns(&config.Server{MaxReceiving: places}); turns != want[0] || queue != want[1] {
			t.Errorf("of %d places: %d turns, %d wait", places, turns, queue)
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

// The list of hosts reaches what fetches, and the real check of addresses stands behind it.
func TestUploadByURLIsWired(t *testing.T) {
	d := startDaemon(t, map[string]string{"TECKEN_UPLOAD_BY_URL_DOMAINS": "localhost"})
	for address, want := range map[string]string{
		"https://symbols.example.com/x.zip": "Not an allowed domain ('symbols.example.com') to download from.",
		"https://localhost/x.zip":           "'localhost' has no public address.",
	} {
		form := url.Values{"url": {address}}.Encode()
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, d.url+"/upload/", strings.NewReader(form))
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
