package dirstore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"tecken-upload/internal/background"
	"tecken-upload/internal/storage"
	"tecken-upload/internal/symbol"
	"tecken-upload/internal/upload"
)

const (
	// maxFaults bounds the errors that Expire returns.
	maxFaults = 10
	// clockSlack is the largest lead of this machine's clock over the directory's.
	clockSlack = time.Hour
)

// Expired is the result of one Expire.
type Expired struct {
	Objects int
	Bytes   int64 // of their files
}

// Expire removes the try objects that were last stored or refreshed before a time, and the directories left empty. Regular objects stay. It
// may run at any time, in several processes at once. It skips what can't be removed and returns the first ten errors; it ends with ctx. It
// removes nothing and fails if this machine's clock is over an hour ahead of the file system's, which is another machine's for a network
// mount.
func (s *Store) Expire(ctx context.Context, before time.Time) (Expired, error) {
	if err := s.compareClocks(); err != nil {
		return Expired{}, fmt.Errorf("expire try symbols: %w", err)
	}
	e := expiry{store: s, ctx: ctx, before: before, top: filepath.Join(s.dir, filepath.FromSlash(storage.TryPrefix))}
	e.dir(e.top)
	err := errors.Join(e.faults...)
	if ctx.Err() != nil {
		err = errors.Join(err, context.Cause(ctx))
	}
	if err != nil {
		err = fmt.Errorf("expire try symbols: %w", err)
	}
	return e.done, err
}

// RunExpiry expires try objects of that age, every interval until ctx ends, and returns nil. Instances that start together do so at different
// times. report is called after a pass that removed objects or failed.
func (s *Store) RunExpiry(ctx context.Context, age, interval time.Duration, report func(Expired, error)) error {
	pause := time.Minute // not during the start
	for {
		if background.Sleep(ctx, pause/2+rand.N(pause)) != nil {
			return nil
		}
		pause = interval
		gone, err := s.Expire(ctx, time.Now().Add(-age))
		if ctx.Err() != nil {
			return nil
		}
		if err != nil || gone.Objects > 0 {
			report(gone, err)
		}
	}
}

// compareClocks lets the file system set a time by its own clock. That needs no free space.
func (s *Store) compareClocks() error {
	path := filepath.Join(s.dir, lockFile)
	now := unix.Timespec{Nsec: unix.UTIME_NOW}
	if err := unix.UtimesNanoAt(unix.AT_FDCWD, path, []unix.Timespec{now, now}, 0); err != nil {
		return &os.PathError{Op: "touch", Path: path, Err: err}
	}
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if ahead := time.Since(info.ModTime()); ahead > clockSlack {
		return fmt.Errorf("this machine's clock is %v ahead of the directory's", ahead.Round(time.Second))
	}
	return nil
}

// expiry is one pass.
type expiry struct {
	store  *Store
	ctx    context.Context //nolint:containedctx // of one Expire
	top    string
	before time.Time
	done   Expired
	faults []error
}

// dir expires the contents of a directory, and reports whether it is gone.
func (e *expiry) dir(path string) bool {
	entries, err := os.ReadDir(path)
	if err != nil {
		e.note(err)
		return errors.Is(err, fs.ErrNotExist)
	}
	left := 0
	for _, entry := range entries {
		if e.ctx.Err() != nil {
			return false
		}
		gone := false
		switch name := filepath.Join(path, entry.Name()); {
		case entry.IsDir():
			gone = e.dir(name)
		case strings.HasPrefix(entry.Name(), "."):
			gone = true // metadata go with their object, and keep no directory
		default:
			gone = e.file(name)
		}
		if !gone {
			left++
		}
	}
	if left > 0 || path == e.top {
		return false
	}
	// Fails if an upload has just come to the directory, or something else is in it.
	return os.Remove(path) == nil
}

// file removes an object that is old enough, and reports whether it is gone.
func (e *expiry) file(path string) bool {
	info, err := os.Lstat(path)
	if err != nil || !info.Mode().IsRegular() || !info.ModTime().Before(e.before) {
		e.note(err)
		return errors.Is(err, fs.ErrNotExist)
	}
	loc, ok := e.location(path)
	if !ok {
		return false // not ours
	}
	size, err := e.store.expire(e.ctx, loc, e.before)
	if err != nil || size < 0 {
		e.note(err)
		return false
	}
	e.done.Objects++
	e.done.Bytes += size
	return true
}

// location returns the location of a path.
func (e *expiry) location(path string) (upload.Location, bool) {
	rel, err := filepath.Rel(e.top, path)
	if err != nil {
		return upload.Location{}, false
	}
	parts := strings.Split(filepath.ToSlash(rel), "/")
	if len(parts) != 3 {
		return upload.Location{}, false
	}
	key, err := symbol.NewKey(parts[0], parts[1], parts[2])
	loc := upload.Location{Key: key, Try: true}
	return loc, err == nil && e.store.path(loc) == path
}

func (e *expiry) note(err error) {
	if err != nil && !errors.Is(err, fs.ErrNotExist) && len(e.faults) < maxFaults && e.ctx.Err() == nil {
		e.faults = append(e.faults, err)
	}
}

// expire removes the object at loc unless it has been stored or refreshed since. It returns its size, or -1 if it stays.
func (s *Store) expire(ctx context.Context, loc upload.Location, before time.Time) (size int64, err error) {
	unlock, err := s.lock(ctx, loc, unix.F_WRLCK)
	if err != nil {
		return -1, err
	}
	defer unlock()
	info, err := os.Lstat(s.path(loc))
	if err != nil || !info.ModTime().Before(before) {
		return -1, err
	}
	// Metadata first: they never stand beside other data.
	if err := os.Remove(s.metaPath(loc)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return -1, err
	}
	if err := os.Remove(s.path(loc)); err != nil {
		return -1, err
	}
	return info.Size(), nil
}
