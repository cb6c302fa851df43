package main

import (
	"tecken-upload/internal/config"
	"tecken-upload/internal/fetch"
)

// mostFetches bounds the archives fetched at once.
const mostFetches = 8

// fetchSlots returns the number of fetch slots, and of uploads that may wait for one. Both hold receiving slots: at most half of these, so
// that the others are left to clients that send their archives.
func fetchSlots(c *config.Server) (slots, line int) {
	slots = max(1, min(mostFetches, c.MaxReceiving/4))
	return slots, min(slots, max(0, c.MaxReceiving/2-slots))
}

// newFetch makes the client for archives uploaded by URL, with the time limits of bodies.
func newFetch(c *config.Server) *fetch.Client {
	return fetch.New(fetch.Config{
		Hosts:        c.UploadByURLDomains,
		Timeout:      c.ReceiveTimeout,
		StallTimeout: c.ReceiveStallTimeout,
		Agent:        "tecken-upload/" + version,
	})
}
