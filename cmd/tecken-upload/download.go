package main

import (
	"context"

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
		Observe:    in.metrics.Lookups(upload.ErrNotFound),
	})
	in.metrics.Gauge("tecken_lookup_answers", "Cached answers of lookups.",
		func() float64 { return float64(in.downloads.finder.Len()) })
	return nil
}

func (in *instance) openLookups(ctx context.Context, place storage.Config) (*s3store.Store, *s3store.Linker, error) {
	store, err := s3store.Open(ctx, place, s3store.Options{
		Conns:    lookup.Lookups + lookup.Looks + symbols.DownloadsAtOnce(),
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
