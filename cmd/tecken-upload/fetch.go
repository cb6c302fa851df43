package main

import (
	"tecken-upload/internal/config"
	"tecken-upload/internal/fetch"
)

// mostFetches is how many archives are downloaded at once at most.
const mostFetches = 8

// maxFetches returns how many archives are downloaded at once: a part of the receiving places at most, so that some
// are always left to clients that send theirs.
func maxFetches(c *config.Server) int {
	return max(1, min(mostFetches, c.MaxReceiving/2))
}

// fetchGauges tell how many archives are downloaded, of how many that may be.
func (in *instance) fetchGauges() {
	in.metrics.Gauge("tecken_fetch_places", "Archives that may be downloaded at once, for uploads by URL.",
		func() float64 { return float64(maxFetches(in.config)) })
	in.metrics.Gauge("tecken_fetch_places_busy", "Archives that are being downloaded, for uploads by URL.",
		func() float64 { return float64(in.server.Fetching()) })
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
