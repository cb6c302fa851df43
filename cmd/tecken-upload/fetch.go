package main

import (
	"tecken-upload/internal/config"
	"tecken-upload/internal/fetch"
)

// mostFetches is how many archives are downloaded at once at most.
const mostFetches = 8

// fetchSlots returns how many archives are downloaded at once, and how many uploads may wait for that. Both hold receiving
// slots: half of these at most, so that the others are always left to clients that send their archives.
func fetchSlots(c *config.Server) (slots, line int) {
	slots = max(1, min(mostFetches, c.MaxReceiving/4))
	return slots, min(slots, max(0, c.MaxReceiving/2-slots))
}

// newFetch makes what downloads the archives that are uploaded by URL, as patient as with those that are sent.
func newFetch(c *config.Server) *fetch.Client {
	return fetch.New(fetch.Config{
		Hosts:        c.UploadByURLDomains,
		Timeout:      c.ReceiveTimeout,
		StallTimeout: c.ReceiveStallTimeout,
		Agent:        "tecken-upload/" + version,
	})
}
