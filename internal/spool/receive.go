package spool

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
)

// Receive streams body into the archive, with room reserved ahead, and returns the archive, positioned at its start. A body above limit
// bytes is ErrTooLarge. Other errors are body's, the context's cause (checked between reads; body itself must end a hung read), or an
// ErrFull as from Create. After an error the archive is gone, and its room given back.
//
// The archive has no name, and is closed by Close. Receive may be called once. arriving, if not nil, is called with the archive and its size
// so far after each write, and must not block: what is there can be read, also by others, until Receive has failed or the archive is closed.
func (w *Workspace) Receive(ctx context.Context, body io.Reader, limit int64, arriving func(f io.ReaderAt, size int64)) (*os.File, error) {
	w.mu.Lock()
	f := w.archive
	w.archive = nil
	w.mu.Unlock()
	if f == nil {
		return nil, fmt.Errorf("receive: %w", errWritten)
	}
	err := w.copyBody(ctx, f, body, limit, func() {
		if arriving != nil {
			arriving(f.File, f.size)
		}
	})
	if err == nil {
		err = f.trim()
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("receive: %w", err), w.drop(f))
	}
	w.noteReceived(f.size)
	return f.File, nil
}

// copyBody appends body to f, and calls written after each write.
func (w *Workspace) copyBody(ctx context.Context, f *file, body io.Reader, limit int64, written func()) error {
	buf := w.spool.buffers.Get().(*[]byte)
	defer w.spool.buffers.Put(buf)
	var noted int64
	next := w.spool.now().Add(manifestInterval)
	for {
		n, err := fill(ctx, body, *buf)
		if f.size+int64(n) > limit {
			return fmt.Errorf("%w: more than %d bytes", ErrTooLarge, limit)
		}
		if n > 0 {
			if err := f.append(ctx, (*buf)[:n]); err != nil {
				return err
			}
			written()
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if now := w.spool.now(); f.size-noted >= manifestBytes || now.After(next) {
			w.noteReceived(f.size)
			noted, next = f.size, now.Add(manifestInterval)
		}
	}
}

// fill reads until buf is full or body ends: bodies come in small pieces, and each write costs. An error of body is returned unchanged,
// with the bytes before it.
func fill(ctx context.Context, body io.Reader, buf []byte) (n int, err error) {
	for n < len(buf) && err == nil {
		if ctx.Err() != nil {
			return n, context.Cause(ctx)
		}
		var more int
		more, err = body.Read(buf[n:])
		n += more
	}
	return n, err
}

// noteReceived keeps the manifest up to date. An upload does not fail for want of an autopsy.
func (w *Workspace) noteReceived(n int64) {
	if err := w.Update(func(m *Manifest) { m.Received = n }); err != nil {
		w.spool.log.Warn("manifest not updated", "workspace", w.id, "err", err)
	}
}
