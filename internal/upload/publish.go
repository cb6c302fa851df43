package upload

import (
	"context"
	"errors"
	"fmt"
	"path"
	"sync"
	"sync/atomic"

	"tecken-upload/internal/archive"
	"tecken-upload/internal/sched"
	"tecken-upload/internal/spool"
)

// maxManifestKinds bounds the kinds of members that a manifest lists.
const maxManifestKinds = 16

// describe fills a manifest with what is known by the start of phase p.
func (r *run) describe(m *spool.Manifest, p Phase) {
	m.Phase = string(p)
	m.Upload, m.User, m.Tenant, m.TokenLabel = r.up.ID, r.up.User, r.up.TokenID, r.up.TokenLabel
	m.Started, m.Declared = r.up.CreatedAt, r.req.Declared
	if r.up.Size > 0 {
		m.Received = r.up.Size
	}
	m.Members = len(r.up.Files)
	m.Kinds = make(map[string]int)
	for i := range r.up.Files {
		if ext := path.Ext(r.up.Files[i].Name); len(m.Kinds) < maxManifestKinds || m.Kinds[ext] > 0 {
			m.Kinds[ext]++
		}
	}
}

// publish brings every verified member to storage.
func (r *run) publish(ctx context.Context) error {
	r.enter(PhasePublish)
	r.meter.begin(&r.meter.published, r.unpublished())
	err := r.req.Source.Each(ctx, r.PublishParallel, func(ctx context.Context, m *archive.Member) error {
		if m.Index >= len(r.up.Files) || r.up.Files[m.Index].State != FilePending || r.up.Files[m.Index].MD5 != m.MD5 {
			return fmt.Errorf("publish %s: it was not verified", m.Name)
		}
		return r.publishMember(ctx, m, &r.up.Files[m.Index])
	})
	if err != nil {
		return err
	}
	r.meter.complete(&r.meter.published)
	return nil
}

// unpublished returns the bytes of the members that are to be in storage.
func (r *run) unpublished() (sum int64) {
	for i := range r.up.Files {
		if r.up.Files[i].State == FilePending {
			sum += r.up.Files[i].Size
		}
	}
	return sum
}

// publishMember brings one member to storage, or finds it there, and notes which in f.
func (r *run) publishMember(ctx context.Context, m *archive.Member, f *File) error {
	there, size, err := r.stage(ctx, m, f)
	switch {
	case err != nil:
		return err
	case there == theSame:
		f.State = FileSkipped
	default:
		f.StoredSize, f.Replaced, f.State = size, there == another, FileUploaded
	}
	r.noteDone(f)
	return nil
}

// stage completes what was done ahead for a member, or does all of it. It returns what storage had, and the size of what it has now.
func (r *run) stage(ctx context.Context, m *archive.Member, f *File) (there there, size int64, err error) {
	done := r.ahead.take(ctx, f, r.up.Try)
	switch {
	case done == nil:
		there, err = r.stored(ctx, question{slots: r.PublishSlots, file: f, try: r.up.Try})
	case done.staged != nil:
		err = r.PublishSlots.Run(ctx, r.task(0), func(ctx context.Context, _ *sched.Slot) error {
			return done.staged.Commit(ctx)
		})
		if err == nil || ctx.Err() != nil || errors.Is(err, sched.ErrLeaseExpired) {
			return done.there, done.storedSize, err
		}
		// What is staged may be gone, by a sweep or a rule of storage's.
		there, err = r.stored(ctx, question{slots: r.PublishSlots, file: f, try: r.up.Try})
	default:
		there = done.there
	}
	if err != nil || there == theSame {
		return there, 0, err
	}
	body, err := m.Body(ctx)
	if err != nil {
		return there, 0, err
	}
	return there, body.Size, r.send(ctx, r.PublishSlots, f, body, func(ctx context.Context, obj Object, b Body) error {
		return r.Storage.Put(ctx, Location{Key: f.Key, Try: r.up.Try}, obj, b)
	})
}

// send calls a method of storage with the body of a file, and closes the body once it is not used any more.
func (r *run) send(ctx context.Context, slots Slots, f *File, body *archive.Body, call func(context.Context, Object, Body) error) error {
	done := sync.OnceFunc(func() { _ = body.Close() }) // of a scratch file that was read to its end
	obj := Object{Size: f.Size, MD5: f.MD5, Gzip: body.Gzip}
	var begun atomic.Bool
	err := slots.Run(ctx, r.task(body.Size), func(ctx context.Context, slot *sched.Slot) error {
		begun.Store(true)
		defer done() // not before a call that is not waited for any more has come back
		moved := r.moved(slot)
		b := Body{Reader: &moving{ReadSeeker: body, moved: moved}, Size: body.Size, CRC32: body.CRC32}
		if body.At != nil {
			b.At = newMovingAt(body.At, body.Size, moved)
		}
		return call(ctx, obj, b)
	})
	if !begun.Load() {
		done()
	}
	return err
}

// noteDone counts one more member that is in storage, in the meter and now and then in the manifest.
func (r *run) noteDone(f *File) {
	r.worked(&r.meter.published, f.Size, true)
	r.noting.Lock()
	defer r.noting.Unlock()
	r.count++
	if now := r.Now(); now.Sub(r.noted) >= noteInterval {
		r.noted = now
		_ = r.workspace.Update(func(m *spool.Manifest) { m.Published = r.count })
	}
}

// there is what storage has at a location.
type there int

const (
	nothing there = iota
	theSame       // a file with the same content, which it will keep for a while
	another
)

// A question asks what storage has of a file.
type question struct {
	file  *File
	try   bool        // it is a try upload's
	slots Slots       // for the calls
	early bool        // the archive still arrives: storage is left as it is
	begin func() bool // reports whether a call is still wanted, once there is a slot for it; nil: it is
}

// errTooEarly: the file is about to expire in storage, and would be refreshed.
var errTooEarly = errors.New("not before the commit")

// stored returns what storage has of the file already, and refreshes what is about to expire there. A
// try upload is content with what regular storage has, and keeps for as long as the try upload's own would be kept.
func (r *run) stored(ctx context.Context, q question) (there, error) {
	if q.try {
		if lent, err := r.storedAt(ctx, q, Location{Key: q.file.Key}); lent == theSame || err != nil {
			return lent, err
		}
	}
	return r.storedAt(ctx, q, Location{Key: q.file.Key, Try: q.try})
}

// storedAt returns what storage has of the file at loc. For a try upload the same content in regular storage counts
// as nothing if it expires before the try upload would: refreshed, it would outlive its records.
func (r *run) storedAt(ctx context.Context, q question, loc Location) (there, error) {
	obj, err := r.look(ctx, q, loc)
	switch {
	case errors.Is(err, ErrNotFound):
		return nothing, nil
	case err != nil:
		return nothing, err
	case obj.Size != q.file.Size || obj.MD5 != q.file.MD5:
		return another, nil
	}
	age, retention := r.Now().Sub(obj.Modified), r.Retention
	switch {
	case q.try && !loc.Try && age <= retention-r.TryRetention:
		return theSame, nil
	case q.try && !loc.Try:
		return nothing, nil
	case loc.Try:
		retention = r.TryRetention
	}
	switch {
	case age <= retention/2:
		return theSame, nil
	case q.early:
		return nothing, errTooEarly
	}
	return r.refresh(ctx, q.slots, loc, obj)
}

// look describes the object at loc, or returns ErrNotFound.
func (r *run) look(ctx context.Context, q question, loc Location) (Object, error) {
	task := r.task(0)
	task.Lease = lookupLease
	var obj Object
	err := q.slots.Run(ctx, task, func(ctx context.Context, _ *sched.Slot) (err error) {
		if q.begin != nil && !q.begin() {
			return context.Canceled
		}
		obj, err = r.Storage.Stat(ctx, loc)
		return err
	})
	if err != nil {
		return Object{}, err // a call that is not waited for any more may still write what it found
	}
	return obj, nil
}

// refresh refreshes the object at loc, unless it is not there any more.
func (r *run) refresh(ctx context.Context, slots Slots, loc Location, obj Object) (there, error) {
	err := slots.Run(ctx, r.task(0), func(ctx context.Context, _ *sched.Slot) error {
		return r.Storage.Refresh(ctx, loc, obj)
	})
	switch {
	case errors.Is(err, ErrNotFound):
		return nothing, nil // it expired in between
	case err != nil:
		return nothing, err
	}
	return theSame, nil
}
