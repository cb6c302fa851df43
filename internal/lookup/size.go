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
	// measureTimeout bounds the inflating of one file to learn its size, waiting for its place included: a client waits for the
	// first byte meanwhile, most of them for 90 seconds.
	measureTimeout = 30 * time.Second
	// measures is how many are measured at a time.
	measures = 8
)

// Measure returns how many bytes a gzip file has once it is inflated, or -1 where that can't be told: the file is broken, too large
// to be inflated in time, or can't be read just now. Nothing but inflating tells it for sure: a trailer counts modulo 4 GiB, and
// of its own member alone. So that is done when a client first wants the file inflated, by count, which reads what it is given to
// its end; and what was found is remembered. A client that the size is told to relies on it.
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
