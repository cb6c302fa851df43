package lookup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"tecken-upload/internal/upload"
)

const (
	// measureTimeout bounds the inflating of one file for its size, the wait for its slot included: the client waits for the first byte
	// meanwhile, most clients for 90 seconds.
	measureTimeout = 30 * time.Second
	// measures bounds the simultaneous measurements.
	measures = 8
)

// Measure returns the inflated size of a gzip file, or -1 if the file is broken, too large to be inflated in time, or unreadable now. Only
// inflating tells: a trailer counts modulo 4 GiB, of its own member alone. So when a client first wants the file inflated, count reads it
// to its end, and the size is cached. The client relies on that size.
func (f *Finder) Measure(ctx context.Context, found Found, file File, count func(stored io.ReadSeeker) (int64, error)) int64 {
	obj := file.Object
	version := fmt.Sprintf("%s %x %d %d", cacheKey(found.Location), obj.MD5, file.Stored, obj.Modified.UnixNano())
	size, err := f.sizes.get(ctx, version, false, func(ctx context.Context) (size int64, err error) {
		ctx, cancel := context.WithTimeoutCause(ctx, measureTimeout, errSlow)
		defer cancel()
		if err := f.measuring.take(ctx); err != nil {
			return 0, err
		}
		defer f.measuring.leave()
		content, _, err := f.Storage.OpenContent(ctx, found.Location)
		if err != nil {
			return 0, err
		}
		defer content.Close()
		size, err = count(&heeding{content, ctx})
		broken := ctx.Err() == nil && !errors.Is(err, upload.ErrUnavailable)
		if err != nil && (broken || errors.Is(context.Cause(ctx), errSlow)) {
			err = fmt.Errorf("measure %s: %w (%v)", found.Location.Key, upload.ErrNotFound, err) //nolint:errorlint // of one kind only
		}
		return size, err
	})
	if err != nil {
		return -1
	}
	return size
}
