package spool

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

const (
	newPrefix = ".new-"
	// createTries bounds how often Create makes a directory again because a janitor took it.
	createTries = 100
	// idTime is the time in an id.
	idTime = "20060102T150405Z"
)

var (
	idPattern  = regexp.MustCompile(`^\d{8}T\d{6}Z-[a-z2-7]{12}$`)
	errWritten = errors.New("already written")
)

// A Workspace is one upload's part of the spool. Its methods are safe for concurrent use.
type Workspace struct {
	spool  *Spool
	id     string
	dir    *os.File // locked
	living bool     // has its first room: set before others see it

	reserved atomic.Int64 // bytes, of all its files; changed with Spool.mu held
	refused  atomic.Bool  // see Refused

	mu       sync.Mutex // guards the fields below; taken before Spool.mu
	manifest Manifest
	archive  *file              // nil once received
	files    map[*file]struct{} // open, the archive included
	closed   bool
}

// Create makes a workspace with room for an archive of size bytes; for -1, an unknown size, room is reserved in steps of 16 MiB as bytes
// arrive. It does not wait for room, and gets none that live workspaces wait for. The error is a *FullError, a *LimitError, the context's
// cause, or the file system's. A size of 0 needs no room.
func (s *Spool) Create(ctx context.Context, size int64) (*Workspace, error) {
	w := &Workspace{spool: s, files: make(map[*file]struct{})}
	f, err := w.firstRoom(ctx, size)
	if err != nil {
		return nil, fmt.Errorf("reserve room: %w", err)
	}
	s.mu.Lock()
	s.live++
	s.mu.Unlock()
	w.living = true
	now := s.now().UTC()
	w.manifest = Manifest{Instance: s.opts.Instance, PID: os.Getpid(), Started: now, Updated: now, Declared: max(size, -1)}
	w.archive = f
	if err := w.build(ctx, f); err != nil {
		return nil, errors.Join(fmt.Errorf("make workspace: %w", err), w.Close())
	}
	return w, nil
}

// firstRoom reserves room for the archive.
func (w *Workspace) firstRoom(ctx context.Context, size int64) (*file, error) {
	if size >= 0 {
		return w.newFile(ctx, size, size)
	}
	f, err := w.newFile(ctx, growStep, growStep)
	if no, ok := errors.AsType[*FullError](err); ok && !no.Busy || errors.Is(err, ErrTooLarge) {
		// A small disk has room for a small archive.
		return w.newFile(ctx, bufferSize, bufferSize)
	}
	return f, err
}

// build makes the directory, the archive and the manifest.
func (w *Workspace) build(ctx context.Context, archive *file) error {
	w.files[archive] = struct{}{}
	if err := w.spool.check(); err != nil {
		return err
	}
	for range createTries {
		err := w.makeDir()
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, ErrInUse) {
			continue // a janitor has taken it
		}
		if err != nil {
			return full(err)
		}
		if err := w.manifest.write(w.dir); err != nil {
			return err
		}
		return archive.create(ctx, w.dir)
	}
	return fmt.Errorf("lost %d directories to a janitor: %w", createTries, ErrInUse)
}

// makeDir makes a directory, locks it, and only then gives it its name.
func (w *Workspace) makeDir() error {
	root := w.spool.root
	id := w.spool.now().UTC().Format(idTime) + "-" + strings.ToLower(rand.Text()[:12])
	if err := root.Mkdir(newPrefix+id, 0o700); err != nil {
		return err
	}
	dir, err := root.Open(newPrefix + id)
	if err != nil {
		return err
	}
	err = lock(dir, unix.LOCK_EX)
	if err == nil {
		err = w.spool.checkSame(dir, newPrefix+id)
	}
	if err == nil {
		err = root.Rename(newPrefix+id, id)
	}
	if err != nil {
		// On an error it is gone, or a janitor is about to remove it.
		_ = root.Remove(newPrefix + id)
		return errors.Join(err, dir.Close())
	}
	w.id, w.dir = id, dir
	return nil
}

// Reserved returns the bytes reserved for its files, used or not.
func (w *Workspace) Reserved() int64 { return w.reserved.Load() }

// Refused reports whether w was refused room that other workspaces held.
func (w *Workspace) Refused() bool { return w.refused.Load() }

// ID returns the workspace's id, the name of its directory.
func (w *Workspace) ID() string { return w.id }

// Update changes the manifest, and replaces the file as a whole. It costs a small file and a rename, so it is for the steps of an upload,
// not for its blocks. Nothing is synced.
func (w *Workspace) Update(change func(*Manifest)) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return fmt.Errorf("update workspace %s: %w", w.id, os.ErrClosed)
	}
	change(&w.manifest)
	w.manifest.Updated = w.spool.now().UTC()
	if err := w.manifest.write(w.dir); err != nil {
		return fmt.Errorf("update workspace %s: %w", w.id, err)
	}
	return nil
}

// adopt makes f a file of w.
func (w *Workspace) adopt(ctx context.Context, f *file) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	err := os.ErrClosed
	if !w.closed {
		err = f.create(ctx, w.dir)
	}
	if err != nil {
		return errors.Join(err, f.close())
	}
	w.files[f] = struct{}{}
	return nil
}

// drop closes a file of w, unless Close has.
func (w *Workspace) drop(f *file) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if _, ok := w.files[f]; !ok {
		return nil
	}
	delete(w.files, f)
	return f.close()
}

// Close closes open files, removes the directory, and gives the room back, first to waiting workspaces. Further calls do nothing.
func (w *Workspace) Close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return nil
	}
	w.closed = true
	errs := []error{w.removeDir()}
	for f := range w.files {
		errs = append(errs, f.close())
	}
	clear(w.files)
	w.spool.mu.Lock()
	w.spool.live--
	w.spool.mu.Unlock()
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("close workspace %s: %w", w.id, err)
	}
	return nil
}

// removeDir removes the directory and its files, and only then unlocks it.
func (w *Workspace) removeDir() error {
	if w.dir == nil {
		return nil
	}
	var errs []error
	for _, name := range []string{manifestName, manifestTemp} {
		if err := unix.Unlinkat(int(w.dir.Fd()), name, 0); err != nil && !errors.Is(err, unix.ENOENT) {
			errs = append(errs, &fs.PathError{Op: "remove", Path: name, Err: err})
		}
	}
	if err := w.spool.root.Remove(w.id); !errors.Is(err, fs.ErrNotExist) {
		errs = append(errs, err)
	}
	return errors.Join(append(errs, w.dir.Close())...)
}

// lock takes a lock on an open directory without waiting: unix.LOCK_EX as its owner, LOCK_SH to check for one. ErrInUse means that another
// has it.
func lock(dir *os.File, how int) error {
	_, err := retry(func() (int, error) { return 0, unix.Flock(int(dir.Fd()), how|unix.LOCK_NB) })
	if errors.Is(err, unix.EWOULDBLOCK) {
		return ErrInUse
	}
	return err
}

// checkSame returns an error unless dir is still at name: a directory may be locked just after its removal.
func (s *Spool) checkSame(dir *os.File, name string) error {
	var open, named unix.Stat_t
	if err := unix.Fstat(int(dir.Fd()), &open); err != nil {
		return err
	}
	if err := unix.Fstatat(s.fdnum(), name, &named, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return err
	}
	if open.Dev != named.Dev || open.Ino != named.Ino || open.Nlink == 0 {
		return fs.ErrNotExist
	}
	return nil
}

// isWorkspace recognises a workspace's directory, always locked while its owner lives.
func isWorkspace(name string) bool { return idPattern.MatchString(name) }
