package spool

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"math"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// gonePrefix names what is being removed. The remains of an interrupted sweep are old at any age.
const gonePrefix = ".gone-"

// An Orphan is something in the spool that has no owner.
type Orphan struct {
	Name      string        // in the spool
	Workspace bool          // a workspace, with a dead owner for certain; otherwise a stray
	Manifest  *Manifest     // nil: none, or unreadable
	Age       time.Duration // since the last change of anything in it; never negative
	Bytes     int64         // on disk

	dev, ino uint64 // what was found
	whole    bool   // all of it was examined
}

// Orphans yields what has no owner, in any order and in bounded memory. An entry that can't be examined is yielded with its name and an
// error, and the search goes on. Workspaces in use and mounts are not yielded. An mtime in the future is set to now (unless
// Options.ReadOnly): the age counts from there. A yielded orphan may be reclaimed at once.
func (s *Spool) Orphans(ctx context.Context) iter.Seq2[Orphan, error] {
	return func(yield func(Orphan, error) bool) {
		dir, err := s.root.Open(".")
		if err != nil {
			yield(Orphan{}, fmt.Errorf("list spool: %w", err))
			return
		}
		defer dir.Close()
		stopped := false
		err = eachName(ctx, dir, func(name string) bool {
			o, err := s.examine(ctx, name)
			if errors.Is(err, errKept) || errors.Is(err, fs.ErrNotExist) {
				return true
			}
			if err != nil {
				err = fmt.Errorf("examine %q: %w", name, err)
			}
			stopped = !yield(o, err)
			return !stopped
		})
		if err != nil && !stopped {
			yield(Orphan{}, fmt.Errorf("list spool: %w", err))
		}
	}
}

// OldestOrphan returns the age of the oldest workspace of a dead server in dir, or 0, and changes nothing.
func OldestOrphan(ctx context.Context, dir string) (oldest time.Duration, err error) {
	view, err := Attach(dir, Options{ReadOnly: true})
	if err != nil {
		return 0, err
	}
	defer view.Close()
	for o, err := range view.Orphans(ctx) {
		if err != nil && o.Name == "" {
			return 0, err
		}
		if o.Workspace {
			oldest = max(oldest, o.Age)
		}
	}
	return oldest, nil
}

// Live counts the workspaces with an owner in any process, and returns the age of the oldest. Those that can't be examined are not counted.
func (s *Spool) Live(ctx context.Context) (n int, oldest time.Duration, err error) {
	dir, err := s.root.Open(".")
	if err != nil {
		return 0, 0, fmt.Errorf("list spool: %w", err)
	}
	defer dir.Close()
	now := s.now()
	err = eachName(ctx, dir, func(name string) bool {
		if isWorkspace(name) && s.owned(name) {
			n++
			made, _ := time.Parse(idTime, name[:len(idTime)])
			oldest = max(oldest, now.Sub(made))
		}
		return true
	})
	if err != nil {
		return n, oldest, fmt.Errorf("list spool: %w", err)
	}
	return n, oldest, nil
}

// owned reports whether the workspace name has an owner.
func (s *Spool) owned(name string) bool {
	dir, err := s.openDir(s.fdnum(), name)
	if err != nil {
		return false
	}
	defer dir.Close()
	return errors.Is(lock(dir, unix.LOCK_SH), ErrInUse)
}

// errKept reports that an entry is no orphan.
var errKept = errors.New("kept")

// examine describes the entry name.
func (s *Spool) examine(ctx context.Context, name string) (Orphan, error) {
	o := Orphan{Name: name}
	if name == markName || name == foundName {
		return o, errKept
	}
	var st unix.Stat_t
	if err := unix.Fstatat(s.fdnum(), name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return o, err
	}
	o.dev, o.ino = st.Dev, st.Ino
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		dir, err := s.openDir(s.fdnum(), name)
		if errors.Is(err, errOtherFS) {
			return o, errKept
		}
		if err != nil {
			return o, err
		}
		defer dir.Close()
		// Shared, so that two looks don't take each other for the owner.
		if err := lock(dir, unix.LOCK_SH); errors.Is(err, ErrInUse) {
			return o, errKept
		} else if err != nil {
			return o, err
		}
		o.Workspace = isWorkspace(name)
		o.Manifest = readManifest(dir)
	}
	err := s.survey(ctx, &o)
	return o, err
}

// survey sets o's age and bytes.
func (s *Spool) survey(ctx context.Context, o *Orphan) error {
	now := s.now()
	var newest time.Time
	k := &walk{ctx: ctx, spool: s}
	k.visit = func(at int, name string, st *unix.Stat_t) error {
		o.Bytes += blocks(st)
		mtime := time.Unix(st.Mtim.Unix())
		if mtime.After(newest) {
			newest = mtime
		}
		if mtime.After(now) && !s.opts.ReadOnly {
			return touch(at, name, now)
		}
		return nil
	}
	k.entry(s.fdnum(), o.Name, 0)
	if err := k.err(); err != nil {
		return err
	}
	if newest.IsZero() {
		return fs.ErrNotExist // it was removed meanwhile
	}
	o.whole = true
	o.Age = max(0, now.Sub(newest))
	if strings.HasPrefix(o.Name, gonePrefix) {
		o.Age = math.MaxInt64
	}
	return nil
}

// touch sets the mtime of an entry.
func touch(at int, name string, to time.Time) error {
	ts := unix.NsecToTimespec(to.UnixNano())
	times := []unix.Timespec{{Nsec: unix.UTIME_OMIT}, ts}
	if err := unix.UtimesNanoAt(at, name, times, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return &fs.PathError{Op: "touch", Path: name, Err: err}
	}
	return nil
}

// Reclaim removes an orphan and its content, and returns the bytes freed, even if it fails midway. It never follows a symlink or enters
// another file system, and goes on past what can't be removed. ErrInUse means that the orphan has an owner after all, or has been replaced.
// A missing orphan is no error.
func (s *Spool) Reclaim(ctx context.Context, o Orphan) (freed int64, err error) {
	freed, err = s.reclaim(ctx, o)
	if errors.Is(err, fs.ErrNotExist) {
		return freed, nil
	}
	if err != nil {
		return freed, fmt.Errorf("reclaim %q: %w", o.Name, err)
	}
	return freed, nil
}

// condemn renames an orphan with gonePrefix, and returns its name: emptying it makes it look young, and an interrupted sweep must not give
// it another age. One that could not be examined, or can't be renamed, keeps its name.
func (s *Spool) condemn(o Orphan) string {
	gone := gonePrefix + rand.Text()
	if !o.whole || strings.HasPrefix(o.Name, gonePrefix) || s.root.Rename(o.Name, gone) != nil {
		return o.Name
	}
	return gone
}

func (s *Spool) reclaim(ctx context.Context, o Orphan) (freed int64, err error) {
	if o.Name == markName || o.Name == foundName || !fs.ValidPath(o.Name) || strings.Contains(o.Name, "/") || o.Name == "." {
		return 0, fs.ErrInvalid
	}
	var st unix.Stat_t
	if err := unix.Fstatat(s.fdnum(), o.Name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return 0, err
	}
	if st.Dev != o.dev || st.Ino != o.ino {
		return 0, fmt.Errorf("%w: it is not what was found", ErrInUse)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		if s.opts.ReadOnly {
			return blocks(&st), nil
		}
		return unlink(s.fdnum(), o.Name, &st)
	}
	dir, err := s.openDir(s.fdnum(), o.Name)
	if err != nil {
		return 0, err
	}
	defer dir.Close()
	if err := lock(dir, unix.LOCK_EX); err != nil {
		return 0, err
	}
	if err := s.checkSame(dir, o.Name); err != nil {
		return 0, err
	}
	if s.opts.ReadOnly {
		return o.Bytes, nil
	}
	name := s.condemn(o)
	freed, err = s.removeInside(ctx, dir)
	if err != nil {
		return freed, err
	}
	n, err := unlink(s.fdnum(), name, &st)
	return freed + n, err
}
