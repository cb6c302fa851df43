package main

import (
	"tecken-upload/internal/config"
	"tecken-upload/internal/fetch"
)

// mostFetches is how many archives are downloaded at once at most.
const mostFetches = 8

// fetchTurns returns how many archives are downloaded at once, and how many uploads may wait for that. Both hold receiving
// places: half of these at most, so that the others are always left to clients that send their archives.
func fetchTurns(c *config.Server) (turns, queue int) {
	turns = max(1, min(mostFetches, c.MaxReceiving/4))
	return turns, min(turns, max(0, c.MaxReceiving/2-turns))
}

// fetchGauges tell how many archives are downloaded, of how many that may be, and how many are to be.
func (in *instance) fetchGauges() {
	in.metrics.Gauge("tecken_fetch_places", "Archives that may be downloaded at once, for uploads by URL.",
		func() float64 { return float64(in.fetches().Slots) })
	in.metrics.Gauge("tecken_fetch_places_busy", "Archives that are being downloaded, for uploads by URL.",
		func() float64 { return float64(in.fetches().Busy) })
	in.metrics.Gauge("tecken_fetch_waiting", "Uploads by URL that were let in, and wait to be downloaded.",
		func() float64 { return float64(in.fetches().Waiting) })
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
