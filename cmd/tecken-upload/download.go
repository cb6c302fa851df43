package main

import (
	"context"
	"errors"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sys/unix"

	"tecken-upload/internal/lookup"
	"tecken-upload/internal/storage"
	"tecken-upload/internal/storage/dirstore"
	"tecken-upload/internal/storage/s3store"
	"tecken-upload/internal/upload"
	"tecken-upload/internal/web/symbols"
)

// lookupAttempts is the number of tries of a lookup in S3: a debugger waits, and asks again by itself.
const lookupAttempts = 3

// downloads answers them.
type downloads struct {
	finder *lookup.Finder
	links  symbols.Links // nil for directory storage
}

// openDownloads prepares downloads. They have S3 connections apart from those of uploads: neither waits for the other's.
func (in *instance) openDownloads(ctx context.Context) error {
	place, err := storage.ParseURL(in.config.StorageURL)
	if err != nil {
		return err
	}
	var source lookup.Storage
	if place.Dir != "" {
		source, err = dirstore.New(place.Dir)
	} else {
		source, in.downloads.links, err = in.openLookups(ctx, place)
	}
	if err != nil {
		return err
	}
	in.downloads.finder = lookup.New(lookup.Config{
		Storage:    source,
		Records:    in.lookups,
		Extensions: in.config.LookedUp(),
		Legacy:     in.config.LegacyKeys,
		Queries:    lookupQueries(in.config.DatabaseMaxConns),
		Observe:    in.lookupMetrics(),
	})
	in.metrics.Gauge("tecken_lookup_answers", "Cached answers of lookups.",
		func() float64 { return float64(in.downloads.finder.Len()) })
	return nil
}

func (in *instance) openLookups(ctx context.Context, place storage.Config) (*s3store.Store, *s3store.Linker, error) {
	store, err := s3store.Open(ctx, place, s3store.Options{
		Conns:    lookup.Lookups + lookup.Looks + maxDownloads(),
		Attempts: lookupAttempts,
		Clock:    &in.s3Clock,
	})
	if err != nil {
		return nil, nil, err
	}
	return store, s3store.NewLinker(store, in.config.StoragePublicURL, in.config.PresignExpiry), nil
}

// lookupQueries returns the number of database connections reserved for lookups, and recordReads the number of the others that the records
// API may use. From three connections on they leave at least one to uploads.
func lookupQueries(conns int) int { return min(lookup.MaxQueries, max(1, conns*2/5)) }

func recordReads(conns int) int { return max(1, conns/5) }

// maxDownloads returns the bound of simultaneous downloads.
func maxDownloads() int {
	var files unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &files); err != nil {
		return symbols.MaxDownloads
	}
	return downloadsWithin(files.Cur)
}

// downloadsWithin returns the bound for a process with so many open files. A download holds a connection, and a file or a connection to S3:
// most files are for others.
func downloadsWithin(files uint64) int {
	return int(max(1, min(symbols.MaxDownloads, files/4)))
}

// lookupMetrics registers the metrics of lookups, and returns a function that counts one.
func (in *instance) lookupMetrics() func(kind string, cached bool, elapsed time.Duration, err error) {
	count := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "tecken_lookups_total",
		Help: "Lookups, by kind, result, and whether the answer was cached.",
	}, []string{"kind", "result", "cached"})
	elapsed := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:    "tecken_lookup_duration_seconds",
		Help:    "Duration of lookups without a cached answer, waiting included.",
		Buckets: []float64{0.001, 0.0025, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2, 4, 8},
	}, []string{"kind"})
	in.metrics.Register(count, elapsed)
	return func(kind string, cached bool, took time.Duration, err error) {
		result := "error"
		switch {
		case err == nil:
			result = "present"
		case errors.Is(err, upload.ErrNotFound):
			result = "missing"
		}
		count.WithLabelValues(kind, result, strconv.FormatBool(cached)).Inc()
		if !cached {
			elapsed.WithLabelValues(kind).Observe(took.Seconds())
		}
	}
}
