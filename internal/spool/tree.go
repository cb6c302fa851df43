package spool

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	batchSize = 256 // names read from a directory at a time, so that memory is bounded
	maxDepth  = 100 // directories in each other, each of which is an open descriptor
	maxErrors = 8   // errors of one tree that are told one by one
)

var errOtherFS = errors.New("another file system")

// openDir opens the directory name in at: never by a symlink, never one on which something is mounted.
func (s *Spool) openDir(at int, name string) (*os.File, error) {
	const flags = unix.O_RDONLY | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC
	how := unix.OpenHow{Flags: flags, Resolve: unix.RESOLVE_NO_XDEV | unix.RESOLVE_NO_SYMLINKS}
	fd, err := retry(func() (int, error) { return unix.Openat2(at, name, &how) })
	switch {
	case errors.Is(err, unix.EXDEV):
		return nil, &fs.PathError{Op: "open", Path: name, Err: errOtherFS}
	case errors.Is(err, unix.ENOSYS), errors.Is(err, unix.EPERM):
		// An old kernel, or a sandbox that does not know the call.
		fd, err = openat(at, name, flags)
		if err == nil {
			if mount, mountErr := mountID(fd); mountErr != nil || mount != s.mount {
				return nil, errors.Join(&fs.PathError{Op: "open", Path: name, Err: errOtherFS}, mountErr, unix.Close(fd))
			}
		}
	}
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	dir := os.NewFile(uintptr(fd), name)
	var st unix.Stat_t
	if err = unix.Fstat(fd, &st); err == nil && st.Dev != s.dev {
		err = errOtherFS
	}
	if err != nil {
		return nil, errors.Join(&fs.PathError{Op: "open", Path: name, Err: err}, dir.Close())
	}
	return dir, nil
}

// mountID returns the number of the mount that an open file lies in: a bind mount has another one, though the
// device is the same. https://man7.org/linux/man-pages/man5/proc_pid_fdinfo.5.html
func mountID(fd int) (string, error) {
	text, err := os.ReadFile("/proc/self/fdinfo/" + strconv.Itoa(fd))
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(text)) {
		if id, ok := strings.CutPrefix(line, "mnt_id:"); ok {
			return strings.TrimSpace(id), nil
		}
	}
	return "", errors.New("the kernel does not tell mounts apart")
}

// A visit is called for everything in a tree, what is in a directory before the directory itself. Directories on
// other file systems are not visited, and are an error.
type visit func(at int, name string, st *unix.Stat_t) error

// A walk goes through a tree in bounded memory. One entry that fails does not stop the rest.
type walk struct {
	ctx    context.Context
	spool  *Spool
	visit  visit
	errs   []error // the first of them
	failed int
}

func (k *walk) fail(err error) {
	if err == nil || errors.Is(err, fs.ErrNotExist) {
		return // gone is as good
	}
	if k.failed++; k.failed <= maxErrors {
		k.errs = append(k.errs, err)
	}
}

// err says what failed.
func (k *walk) err() error {
	if more := k.failed - len(k.errs); more > 0 {
		return errors.Join(append(k.errs, fmt.Errorf("and %d more", more))...)
	}
	return errors.Join(k.errs...)
}

// entry visits name in at and all that is in it.
func (k *walk) entry(at int, name string, depth int) {
	var st unix.Stat_t
	if err := unix.Fstatat(at, name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		k.fail(&fs.PathError{Op: "stat", Path: name, Err: err})
		return
	}
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		dir, err := k.spool.openDir(at, name)
		if err != nil {
			k.fail(err)
			return
		}
		k.inside(dir, depth)
		k.fail(dir.Close())
	}
	k.fail(k.visit(at, name, &st))
}

// inside visits what is in dir.
func (k *walk) inside(dir *os.File, depth int) {
	if depth >= maxDepth {
		k.fail(fmt.Errorf("%s: more than %d directories deep", dir.Name(), maxDepth))
		return
	}
	k.fail(eachName(k.ctx, dir, func(name string) bool {
		k.entry(int(dir.Fd()), name, depth+1)
		return true
	}))
}

// eachName calls f with the names in dir, from its start, until it returns false.
func eachName(ctx context.Context, dir *os.File, f func(name string) bool) error {
	if _, err := dir.Seek(0, io.SeekStart); err != nil {
		return err
	}
	for {
		names, err := dir.Readdirnames(batchSize)
		for _, name := range names {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			if !f(name) {
				return nil
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// removeInside empties dir, and returns how many bytes that freed.
func (s *Spool) removeInside(ctx context.Context, dir *os.File) (freed int64, err error) {
	for {
		removed := 0
		k := &walk{ctx: ctx, spool: s}
		k.visit = func(at int, name string, st *unix.Stat_t) error {
			n, err := unlink(at, name, st)
			if err == nil {
				removed++
				freed += n
			}
			return err
		}
		k.inside(dir, 0)
		// Some file systems lose their place in a directory that shrinks under them: as long as there is
		// progress, what failed is worth another try.
		if k.failed == 0 || removed == 0 || ctx.Err() != nil {
			return freed, k.err()
		}
	}
}

// unlink removes one entry, and returns how many bytes that freed.
func unlink(at int, name string, st *unix.Stat_t) (int64, error) {
	flags := 0
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		flags = unix.AT_REMOVEDIR
	}
	if err := unix.Unlinkat(at, name, flags); err != nil {
		return 0, &fs.PathError{Op: "remove", Path: name, Err: err}
	}
	return blocks(st), nil
}

// blocks returns how many bytes come free when the entry goes; those of a file with other names don't.
func blocks(st *unix.Stat_t) int64 {
	if st.Mode&unix.S_IFMT == unix.S_IFREG && st.Nlink > 1 {
		return 0
	}
	return st.Blocks * 512
}
