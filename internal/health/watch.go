package health

import (
	"context"
	"errors"
	"net"

	"tecken-upload/internal/sched"
	"tecken-upload/internal/upload"
)

// judge reports the end of an upload's call to p. wrote means that a successful call has written something.
func (p *Proof) judge(ctx context.Context, err error, wrote bool) {
	timeout := net.Error(nil)
	switch {
	case err == nil && wrote:
		p.Served()
	case err == nil, errors.Is(err, upload.ErrNotFound):
	case ctx.Err() != nil, !errors.Is(err, upload.ErrUnavailable), errors.Is(err, upload.ErrRefused),
		errors.As(err, &timeout) && timeout.Timeout(), errors.Is(err, sched.ErrLeaseExpired):
		// It was broken off, took long or was refused: this may concern one upload.
		p.Doubt()
	default:
		p.Failed(err)
	}
}

// WatchStorage returns s, with the ends of its calls reported to p.
func WatchStorage(s upload.Storage, p *Proof) upload.Storage { return &watchedStorage{s, p} }

type watchedStorage struct {
	upload.Storage
	proof *Proof
}

// Stat implements upload.Storage.
func (w *watchedStorage) Stat(ctx context.Context, loc upload.Location) (upload.Object, error) {
	obj, err := w.Storage.Stat(ctx, loc)
	w.proof.judge(ctx, err, false)
	return obj, err
}

// Put implements upload.Storage.
func (w *watchedStorage) Put(ctx context.Context, loc upload.Location, obj upload.Object, body upload.Body) error {
	err := w.Storage.Put(ctx, loc, obj, body)
	w.proof.judge(ctx, err, true)
	return err
}

// Refresh implements upload.Storage.
func (w *watchedStorage) Refresh(ctx context.Context, loc upload.Location, obj upload.Object) error {
	err := w.Storage.Refresh(ctx, loc, obj)
	w.proof.judge(ctx, err, true)
	return err
}

// Stage implements upload.Storage. An error of note is not storage's.
func (w *watchedStorage) Stage(ctx context.Context, loc upload.Location, obj upload.Object, body upload.Body,
	note func(context.Context, string) error) (upload.Staged, error) {
	var unnoted error
	staged, err := w.Storage.Stage(ctx, loc, obj, body, func(ctx context.Context, id string) error {
		unnoted = note(ctx, id)
		return unnoted
	})
	if unnoted == nil && err != nil { // what no reader sees proves nothing
		w.proof.judge(ctx, err, true)
	}
	if err != nil {
		return nil, err
	}
	return &watchedStaged{staged, w.proof}, nil
}

type watchedStaged struct {
	upload.Staged
	proof *Proof
}

// Commit implements upload.Staged.
func (w *watchedStaged) Commit(ctx context.Context) error {
	err := w.Staged.Commit(ctx)
	w.proof.judge(ctx, err, true)
	return err
}

// WatchRecords returns r, with the ends of its calls reported to p.
func WatchRecords(r upload.Records, p *Proof) upload.Records { return &watchedRecords{r, p} }

type watchedRecords struct {
	upload.Records
	proof *Proof
}

// Begin implements upload.Records.
func (w *watchedRecords) Begin(ctx context.Context, u *upload.Upload) error {
	err := w.Records.Begin(ctx, u)
	w.proof.judge(ctx, err, true)
	return err
}

// Finish implements upload.Records.
func (w *watchedRecords) Finish(ctx context.Context, u *upload.Upload) error {
	err := w.Records.Finish(ctx, u)
	w.proof.judge(ctx, err, true)
	return err
}
