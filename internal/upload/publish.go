package upload

import (
	"context"
	"errors"
	"fmt"
	"path"
	"runtime/debug"

	"golang.org/x/sync/errgroup"

	"tecken-upload/internal/archive"
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

// publish brings every verified member to storage. Members of an archive that can only be read from its
// front to its end go one after the other, those of another at once.
func (r *run) publish(ctx context.Context, a *archive.Archive) error {
	leave := r.phase(PhasePublish)
	defer leave()
	ctx, cancel := context.WithCancel(ctx)
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(r.PublishParallel)
	defer func() {
		// Only after a panic is there anything left to wait for: nobody may use the archive behind our back.
		cancel()
		_ = g.Wait()
	}()
	i := -1
	for m, err := range a.Walk(ctx) {
		if err != nil {
			g.Go(func() error { return fmt.Errorf("read the archive again: %w", err) })
			break
		}
		i++
		f := &r.up.Files[i]
		if f.State == FileIgnored {
			continue
		}
		if a.Sequential() {
			if err := r.publishMember(ctx, m, f); err != nil {
				g.Go(func() error { return err })
				break
			}
			continue
		}
		g.Go(func() error { return r.publishMember(ctx, m, f) })
	}
	return g.Wait()
}

// publishMember brings one member to storage, or finds it there, and notes which in f.
func (r *run) publishMember(ctx context.Context, m *archive.Member, f *File) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = &panicError{value: v, stack: debug.Stack()}
		}
	}()
	stored, err := r.stored(ctx, f)
	if err != nil {
		return err
	}
	if stored {
		f.State = FileSkipped
		r.noteDone()
		return nil
	}
	body, done, err := r.body(ctx, m)
	if err != nil {
		return err
	}
	defer done()
	release, err := r.PublishSlots.Acquire(ctx, r.up.TokenID, body.Size)
	if err != nil {
		return err
	}
	defer release()
	loc := Location{Key: f.Key, Try: r.up.Try}
	obj := Object{Size: f.Size, MD5: f.MD5, Gzip: body.Gzip}
	if err := r.Storage.Put(ctx, loc, obj, Body{Reader: body, Size: body.Size, CRC32: body.CRC32}); err != nil {
		return err
	}
	f.StoredSize, f.State = body.Size, FileUploaded
	r.noteDone()
	return nil
}

// body makes what is to be stored of m; done ends its use. A member that has to be staged for that is staged
// behind a slot for work of the processor, and holds none of storage's meanwhile; one of this upload is at
// a time.
func (r *run) body(ctx context.Context, m *archive.Member) (body *archive.Body, done func(), err error) {
	unstage, release, made := func() {}, func() {}, false
	defer func() {
		release()
		if !made { // also after a panic
			unstage()
		}
	}()
	body, err = m.Body(ctx, func() (archive.Scratch, error) {
		select {
		case r.staging <- struct{}{}:
			unstage = func() { <-r.staging }
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
		slot, err := r.VerifySlots.Acquire(ctx, r.up.TokenID, m.Size)
		if err != nil {
			return nil, err
		}
		release = slot
		return r.req.Workspace.Scratch(ctx)
	})
	if err != nil {
		return nil, nil, err
	}
	made = true
	return body, func() {
		_ = body.Close() // of a scratch file that was read to its end
		unstage()
	}, nil
}

// noteDone tells the manifest, now and then, how many members are in storage.
func (r *run) noteDone() {
	r.noting.Lock()
	defer r.noting.Unlock()
	r.count++
	if now := r.Now(); now.Sub(r.noted) >= noteInterval {
		r.noted = now
		_ = r.req.Workspace.Update(func(m *spool.Manifest) { m.Published = r.count })
	}
}

// stored reports whether storage has the file already, with the same content, and refreshes what is about
// to expire there. A try upload is content with what regular storage has.
func (r *run) stored(ctx context.Context, f *File) (bool, error) {
	if r.up.Try {
		if ok, err := r.storedAt(ctx, f, Location{Key: f.Key}); ok || err != nil {
			return ok, err
		}
	}
	return r.storedAt(ctx, f, Location{Key: f.Key, Try: r.up.Try})
}

func (r *run) storedAt(ctx context.Context, f *File, loc Location) (bool, error) {
	release, err := r.PublishSlots.Acquire(ctx, r.up.TokenID, 0)
	if err != nil {
		return false, err
	}
	defer release()
	obj, err := r.Storage.Stat(ctx, loc)
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if obj.Size != f.Size || obj.MD5 != f.MD5 {
		return false, nil
	}
	retention := r.Retention
	if loc.Try {
		retention = r.TryRetention
	}
	if r.Now().Sub(obj.Modified) <= retention/2 {
		return true, nil
	}
	if err := r.Storage.Refresh(ctx, loc, obj); errors.Is(err, ErrNotFound) {
		return false, nil // it expired in between
	} else if err != nil {
		return false, err
	}
	return true, nil
}
