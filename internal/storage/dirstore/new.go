package dirstore

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"hash/fnv"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"tecken-upload/internal/storage"
	"tecken-upload/internal/upload"
)

// A newFile is being written where no reader sees it. It has no name, and is gone with its process; or, where the file system has no such
// files and while it moves into place, a temporary one. It is held by flock, so that other processes do not delete it as a dead writer's.
type newFile struct {
	*os.File
	store *Store
	name  string // the temporary one; empty: none
}

// create makes an empty file to write to.
func (s *Store) create(ctx context.Context) (*newFile, error) {
	if s.unnamed {
		f, err := os.OpenFile(filepath.Join(s.dir, newDir), os.O_RDWR|unix.O_TMPFILE, 0o644)
		switch {
		case err == nil:
			if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
				f.Close()
				return nil, fmt.Errorf("lock a new file: %w", err)
			}
			return &newFile{File: f, store: s}, nil
		case !errors.Is(err, unix.EOPNOTSUPP) && !errors.Is(err, unix.EISDIR):
			return nil, err
		}
	}
	return s.createNamed(ctx)
}

func (s *Store) createNamed(ctx context.Context) (*newFile, error) {
	for {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		name := s.newName()
		f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o644)
		if err != nil {
			return nil, err
		}
		held, err := hold(f)
		if held {
			return &newFile{File: f, store: s, name: name}, nil
		}
		f.Close()
		if err != nil {
			return nil, errors.Join(err, os.Remove(name))
		}
		// Another process opened the directory between the making and the locking of the file.
	}
}

// newName returns an unused temporary name.
func (s *Store) newName() string { return filepath.Join(s.dir, newDir, rand.Text()) }

// moveTo gives the file its final name, replacing another file. A link can't replace one, so a file without a name gets a temporary one first.
func (f *newFile) moveTo(path string) error {
	if f.name == "" {
		name := f.store.newName()
		if err := unix.Linkat(unix.AT_FDCWD, procPath(f.File), unix.AT_FDCWD, name, unix.AT_SYMLINK_FOLLOW); err != nil {
			return &os.LinkError{Op: "link", Old: procPath(f.File), New: name, Err: err}
		}
		f.name = name
	}
	return os.Rename(f.name, path)
}

// discard closes the file, and removes it unless it was moved.
func (f *newFile) discard() {
	if f.name != "" {
		// Remove before the lock is freed. A moved file has another name, and this one is free.
		os.Remove(f.name)
	}
	f.Close()
}

// procPath names an open file, with or without a name of its own.
func procPath(f *os.File) string { return fmt.Sprintf("/proc/self/fd/%d", f.Fd()) }

// hold takes the lock of a new file and reports whether the file still has its name. It returns false without an error if another
// process has the lock or has removed the file.
func hold(f *os.File) (bool, error) {
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); errors.Is(err, unix.EWOULDBLOCK) {
		return false, nil
	} else if err != nil {
		return false, fmt.Errorf("lock %s: %w", f.Name(), err)
	}
	mine, err := f.Stat()
	if err != nil {
		return false, err
	}
	named, err := os.Lstat(f.Name())
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil && os.SameFile(mine, named), err
}

// Leftovers yields the files of dead writers, of any age. Their ids are their temporary names.
func (s *Store) Leftovers(ctx context.Context, _ time.Time) iter.Seq2[storage.Leftover, error] {
	return func(yield func(storage.Leftover, error) bool) {
		entries, err := os.ReadDir(filepath.Join(s.dir, newDir))
		if err != nil {
			yield(storage.Leftover{}, fault(ctx, "list new files", err))
			return
		}
		for _, e := range entries {
			found, err := s.leftover(ctx, e.Name())
			switch {
			case err != nil:
				yield(storage.Leftover{}, fault(ctx, "look at a new file", err))
				return
			case found.ID != "" && !yield(found, nil):
				return
			}
		}
	}
}

// leftover returns the file below .new of that name, if it is there and its writer is dead.
func (s *Store) leftover(ctx context.Context, name string) (found storage.Leftover, err error) {
	if ctx.Err() != nil {
		return found, context.Cause(ctx)
	}
	err = s.ofTheDead(name, func(f *os.File) error {
		info, err := f.Stat()
		if err == nil {
			found = storage.Leftover{ID: name, Since: info.ModTime()}
		}
		return err
	})
	return found, err
}

// Discard removes the file of a dead writer, by its temporary name.
func (s *Store) Discard(ctx context.Context, id string) error {
	if id == "" || id == "." || id == ".." || filepath.Base(id) != id {
		return nil // not ours
	}
	return fault(ctx, "discard a new file", s.ofTheDead(id, func(f *os.File) error { return os.Remove(f.Name()) }))
}

// ofTheDead calls do with a file below .new, if it is there and its writer is dead.
func (s *Store) ofTheDead(name string, do func(*os.File) error) error {
	f, err := os.Open(filepath.Join(s.dir, newDir, name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	held, err := hold(f)
	if held {
		err = do(f)
	}
	return errors.Join(err, f.Close())
}

// reclaim deletes the files of dead writers.
func (s *Store) reclaim(ctx context.Context) error {
	for found, err := range s.Leftovers(ctx, time.Time{}) {
		if err == nil {
			err = s.Discard(ctx, found.ID)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// lock takes the lock of loc's object key, shared with readers (unix.F_RDLCK) or exclusive for a writer (unix.F_WRLCK). It fails with ctx's
// cause if ctx ends first.
func (s *Store) lock(ctx context.Context, loc upload.Location, how int16) (unlock func(), err error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	mode := os.O_RDWR | os.O_CREATE
	if how == unix.F_RDLCK {
		// A file system may be mounted read-only. Without Open's lock file the objects are gone too, perhaps unmounted: finding none would
		// mean nothing.
		mode = os.O_RDONLY
	}
	// The lock belongs to this open file and ends with its close.
	f, err := os.OpenFile(filepath.Join(s.dir, lockFile), mode, 0o644)
	if err != nil {
		return nil, err
	}
	hash := fnv.New32a()
	hash.Write([]byte(storage.ObjectKey(loc)))
	region := unix.Flock_t{Type: how, Start: int64(hash.Sum32()), Len: 1}

	ticker := time.NewTicker(lockPoll)
	defer ticker.Stop()
	for {
		err := unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLK, &region)
		if err == nil {
			return func() { f.Close() }, nil
		}
		if !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EACCES) {
			f.Close()
			return nil, &os.PathError{Op: "lock", Path: f.Name(), Err: err}
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			f.Close()
			return nil, context.Cause(ctx)
		}
	}
}
