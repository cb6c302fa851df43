package main

import (
	"context"
	"math/rand/v2"
	"time"

	"tecken-upload/internal/background"
	"tecken-upload/internal/storage/dirstore"
)

// expireSymbols removes expired try symbols from a storage directory until ctx ends. A bucket has its own rules. Several instances may
// share a directory: each object has a lock.
func (in *instance) expireSymbols(ctx context.Context) error {
	dir, ok := in.storage.(*dirstore.Store)
	if !ok {
		return nil
	}
	pause := time.Minute // not during the start
	for {
		// Random, so that instances started together sweep at different times.
		if background.Sleep(ctx, pause/2+rand.N(pause)) != nil {
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
