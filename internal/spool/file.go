package spool

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// A file has no name, and room reserved ahead of its writes. It belongs to one goroutine, except close.
type file struct {
	*os.File
	spool *Spool
	room  room
	limit int64 // bytes reserved: room.reserved, for its owner
	size  int64 // bytes written
}

// newFile reserves room for a file of w, to be made by create.
func (w *Workspace) newFile(ctx context.Context, least, want int64) (f *file, err error) {
	f = &file{spool: w.spool, room: room{owner: w}}
	if want == 0 {
		return f, context.Cause(ctx)
	}
	if f.limit, err = w.spool.reserve(ctx, &f.room, least, want); err != nil {
		return nil, err
	}
	return f, nil
}

// create opens the file in the directory dir and allocates its reserved room.
func (f *file) create(ctx context.Context, dir *os.File) (err error) {
	if f.File, err = f.spool.openUnlinked(dir); err != nil {
		return full(err)
	}
	return f.allocate(ctx, 0, f.limit)
}

// openUnlinked makes a file without a name in dir.
func (s *Spool) openUnlinked(dir *os.File) (*os.File, error) {
	const name = "unnamed"
	at := int(dir.Fd())
	if !s.noTmpfile.Load() {
		fd, err := openat(at, ".", unix.O_TMPFILE|unix.O_EXCL|unix.O_RDWR)
		if err == nil {
			return os.NewFile(uintptr(fd), name), nil
		}
		// A kernel that takes O_TMPFILE for O_DIRECTORY returns EISDIR.
		if !unsupported(err) && !errors.Is(err, unix.EISDIR) {
			return nil, fmt.Errorf("make a file in the spool: %w", err)
		}
		s.noTmpfile.Store(true)
	}
	temp := ".file-" + rand.Text()
	fd, err := openat(at, temp, unix.O_CREAT|unix.O_EXCL|unix.O_RDWR|unix.O_NOFOLLOW)
	if err != nil {
		return nil, fmt.Errorf("make a file in the spool: %w", err)
	}
	if err := unix.Unlinkat(at, temp, 0); err != nil {
		return nil, errors.Join(fmt.Errorf("unlink a file in the spool: %w", err), unix.Close(fd))
	}
	return os.NewFile(uintptr(fd), name), nil
}

func openat(at int, name string, flags int) (int, error) {
	return retry(func() (int, error) { return unix.Openat(at, name, flags|unix.O_CLOEXEC, 0o600) })
}

// allocate allocates n bytes from offset from on, if the file system can.
func (f *file) allocate(ctx context.Context, from, n int64) error {
	for end := from + n; from < end && !f.spool.noFallocate.Load(); {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		step := min(end-from, allocateStep)
		f.room.pending.Store(step)
		_, err := retry(func() (int, error) {
			return 0, unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_KEEP_SIZE, from, step)
		})
		switch {
		case unsupported(err):
			f.spool.noFallocate.Store(true)
			f.spool.log.Warn("spool cannot allocate ahead: room is only counted", "dir", f.spool.dir)
		case err != nil:
			return full(fmt.Errorf("allocate %d bytes in the spool: %w", step, err))
		default:
			from += step
			f.room.held.Store(from)
			f.room.pending.Store(0)
		}
	}
	return nil
}

// append writes p at the end, and reserves more room if needed.
func (f *file) append(ctx context.Context, p []byte) error {
	if missing := f.size + int64(len(p)) - f.limit; missing > 0 {
		// Many simultaneous files are mostly small: none reserves more ahead than it has shown to need.
		granted, err := f.spool.reserve(ctx, &f.room, missing, max(missing, min(f.limit, growStep)))
		if err != nil {
			return err
		}
		from := f.limit
		f.limit += granted
		if err := f.allocate(ctx, from, granted); err != nil {
			return err
		}
	}
	if f.spool.noFallocate.Load() {
		f.room.pending.Store(int64(len(p)))
	}
	n, err := f.WriteAt(p, f.size)
	f.size += int64(n)
	if f.spool.noFallocate.Load() {
		f.room.held.Store(max(f.room.held.Load(), f.size))
		f.room.pending.Store(0)
	}
	return full(err)
}

// trim frees the room beyond the last byte written, and rewinds.
func (f *file) trim() error {
	// Truncate frees allocated blocks beyond the end even though the size stays.
	if err := f.Truncate(f.size); err != nil {
		return fmt.Errorf("trim a file in the spool: %w", err)
	}
	f.limit = f.size
	f.spool.shrink(&f.room, f.size)
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return fmt.Errorf("rewind a file in the spool: %w", err)
	}
	return nil
}

// close gives the room back, disk first. Only its first call has an effect.
func (f *file) close() error {
	var errs []error
	if f.File != nil {
		// XFS empties an unnamed file some time after its close; this does it at once.
		errs = append(errs, f.Truncate(0), f.Close())
	}
	f.spool.release(&f.room)
	return errors.Join(errs...)
}

// full turns the kernel's error for a full disk into a *FullError.
func full(err error) error {
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		return &FullError{Err: err}
	}
	return err
}

func unsupported(err error) bool {
	return errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOSYS)
}

// retry calls f until no signal interrupts it.
func retry(f func() (int, error)) (int, error) {
	for {
		n, err := f()
		if !errors.Is(err, unix.EINTR) {
			return n, err
		}
	}
}
