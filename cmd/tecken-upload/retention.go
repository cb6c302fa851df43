package main

import (
	"context"
	"time"

	"tecken-upload/internal/record"
	"tecken-upload/internal/storage/dirstore"
)

// expireInterval is the time between an instance's passes through expired records, or symbols.
const expireInterval = time.Hour

// expireRecords removes, until ctx ends, records that are older than their symbols may become.
func (in *instance) expireRecords(ctx context.Context) error {
	c := in.config
	return in.records.RunRetention(ctx, record.Retention{
		Regular:  c.Retention,
		Try:      c.TryRetention,
		InFlight: c.LongestUpload(),
		Interval: expireInterval,
		Fault:    in.fault("records were not expired"),
	})
}

// expireSymbols removes expired try symbols from a storage directory until ctx ends. A bucket has its own rules.
func (in *instance) expireSymbols(ctx context.Context) error {
	dir, ok := in.storage.(*dirstore.Store)
	if !ok {
		return nil
	}
	return dir.RunExpiry(ctx, in.config.TryRetention, expireInterval, func(gone dirstore.Expired, err error) {
		if err != nil {
			in.fault("try symbols were not expired")(err)
			return
		}
		in.logger.InfoContext(ctx, "try symbols expired", "objects", gone.Objects, "bytes", gone.Bytes)
	})
}
