package lookup

import (
	"context"

	"tecken-upload/internal/upload"
)

// Uploads wraps next for uploads: what they store is found at once.
func (f *Finder) Uploads(next upload.Storage) upload.Storage { return &announcer{next, f} }

// An announcer reports uploads' changes of storage to a Finder.
type announcer struct {
	upload.Storage
	finder *Finder
}

// Put implements upload.Storage.
func (a *announcer) Put(ctx context.Context, loc upload.Location, obj upload.Object, body upload.Body) error {
	// In any case: an object may be stored though the answer was lost.
	defer a.finder.objects.forget(cacheKey(loc))
	return a.Storage.Put(ctx, loc, obj, body)
}

// Stage implements upload.Storage.
func (a *announcer) Stage(ctx context.Context, loc upload.Location, obj upload.Object, body upload.Body,
	note func(context.Context, string) error) (upload.Staged, error) {
	staged, err := a.Storage.Stage(ctx, loc, obj, body, note)
	if err != nil {
		return nil, err
	}
	return &announced{staged, a.finder, loc}, nil
}

// announced reports its commit to a Finder.
type announced struct {
	upload.Staged
	finder *Finder
	loc    upload.Location
}

// Commit implements upload.Staged.
func (a *announced) Commit(ctx context.Context) error {
	defer a.finder.objects.forget(cacheKey(a.loc)) // in any case, as for Put
	return a.Staged.Commit(ctx)
}

// Stat implements upload.Storage. A found object may have come from another instance.
func (a *announcer) Stat(ctx context.Context, loc upload.Location) (upload.Object, error) {
	obj, err := a.Storage.Stat(ctx, loc)
	if err == nil {
		a.finder.objects.forget(cacheKey(loc))
	}
	return obj, err
}

// Recorded wraps next for uploads: their files are found by all their names at once.
func (f *Finder) Recorded(next upload.Records) upload.Records { return &recorder{next, f} }

// A recorder reports the records of uploads to a Finder.
type recorder struct {
	upload.Records
	finder *Finder
}

// Finish implements upload.Records.
func (r *recorder) Finish(ctx context.Context, u *upload.Upload) error {
	// Uploads end far less often than names are looked up: clear all of them.
	defer func() {
		r.finder.spellings.clear()
		r.finder.modules.clear()
		r.finder.binaries.clear()
	}()
	return r.Records.Finish(ctx, u)
}
