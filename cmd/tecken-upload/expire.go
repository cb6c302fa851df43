package main

import (
	"context"
	"math/rand/v2"
	"time"

	"tecken-upload/internal/storage/dirstore"
)

// expireSymbols removes, until ctx ends, expired try symbols from a storage directory. A bucket has rules of its
// own for that. Several instances that share a directory may do it at once: each object has a lock.
func (in *instance) expireSymbols(ctx context.Context) error {
	dir, ok := in.storage.(*dirstore.Store)
	if !ok {
		return nil
	}
	pause := time.Minute // not in the way of a start
	for {
		select {
		// At random, so that instances that were started together do not sweep together.
		case <-time.After(pause/2 + rand.N(pause)):
		case <-ctx.Done():
			return nil
		}
		pause = expireInterval
		gone, err := dir.Expire(ctx, time.Now().Add(-in.config.TryRetention))
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			in.logger.ErrorContext(ctx, "try symbols were not expired", "err", err)
			in.reporter.Error("try symbols were not expired", err)
		case gone.Objects > 0:
			in.logger.InfoContext(ctx, "try symbols expired", "objects", gone.Objects, "bytes", gone.Bytes)
		}
	}
}
