package lookup

import (
	"context"

	"tecken-upload/internal/upload"
)

// Uploads returns next for uploads to store into: what they store is found at once.
func (f *Finder) Uploads(next upload.Storage) upload.Storage { return &announcer{next, f} }

// An announcer tells a Finder what uploads do to storage.
type announcer struct {
	upload.Storage
	finder *Finder
}

// Put implements upload.Storage.
func (a *announcer) Put(ctx context.Context, loc upload.Location, obj upload.Object, body upload.Body) error {
	// Whatever became of it: an object may be stored though the answer was lost.
	defer a.finder.objects.forget(cacheKey(loc))
	return a.Storage.Put(ctx, loc, obj, body)
}

// Stat implements upload.Storage. What an upload finds there may have come from another instance.
func (a *announcer) Stat(ctx context.Context, loc upload.Location) (upload.Object, error) {
	obj, err := a.Storage.Stat(ctx, loc)
	if err == nil {
		a.finder.objects.forget(cacheKey(loc))
	}
	return obj, err
}

// Recorded returns next for uploads to be recorded in: what they hold is found by all its names at once.
func (f *Finder) Recorded(next upload.Records) upload.Records { return &recorder{next, f} }

// A recorder tells a Finder when an upload's files are recorded.
type recorder struct {
	upload.Records
	finder *Finder
}

// Finish implements upload.Records.
func (r *recorder) Finish(ctx context.Context, u *upload.Upload) error {
	// Uploads end far less often than names are looked up: there is no need to know which these are.
	defer func() {
		r.finder.spellings.clear()
		r.finder.modules.clear()
		r.finder.binaries.clear()
	}()
	return r.Records.Finish(ctx, u)
}
