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
	batchSize = 256 // names read from a directory at a time, to bound memory
	maxDepth  = 100 // nested directories, each an open descriptor
	maxErrors = 8   // errors of one tree that are returned
)

var errOtherFS = errors.New("another file system")

// openDir opens the directory name in at: never through a symlink, never a mount point.
func (s *Spool) openDir(at int, name string) (*os.File, error) {
	const flags = unix.O_RDONLY | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC
	how := unix.OpenHow{Flags: flags, Resolve: unix.RESOLVE_NO_XDEV | unix.RESOLVE_NO_SYMLINKS}
	fd, err := retry(func() (int, error) { return unix.Openat2(at, name, &how) })
	switch {
	case errors.Is(err, unix.EXDEV):
		return nil, &fs.PathError{Op: "open", Path: name, Err: errOtherFS}
	case errors.Is(err, unix.ENOSYS), errors.Is(err, unix.EPERM):
		// An old kernel, or a sandbox without the call.
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

// mountID returns the number of an open file's mount: a bind mount has another one on the same device.
// https://man7.org/linux/man-pages/man5/proc_pid_fdinfo.5.html
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

// A visit is called for everything in a tree, a directory's content before the directory. Directories on other file systems are an error.
type visit func(at int, name string, st *unix.Stat_t) error

// A walk goes through a tree in bounded memory. A failed entry does not stop the rest.
type walk struct {
	ctx    context.Context
	spool  *Spool
	visit  visit
	errs   []error // the first ones
	failed int
}

func (k *walk) fail(err error) {
	if err == nil || errors.Is(err, fs.ErrNotExist) {
		return // removed meanwhile
	}
	if k.failed++; k.failed <= maxErrors {
		k.errs = append(k.errs, err)
	}
}

// err returns the errors.
func (k *walk) err() error {
	if more := k.failed - len(k.errs); more > 0 {
		return errors.Join(append(k.errs, fmt.Errorf("and %d more", more))...)
	}
	return errors.Join(k.errs...)
}

// entry visits name in at and its content.
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

// inside visits the content of dir.
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

// removeInside empties dir, and returns the bytes freed.
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
		// Some file systems lose their position in a directory that shrinks: while there is progress, retry what failed.
		if k.failed == 0 || removed == 0 || ctx.Err() != nil {
			return freed, k.err()
		}
	}
}

// unlink removes one entry, and returns the bytes freed.
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

// blocks returns the bytes freed by the entry's removal; none for a file with other names.
func blocks(st *unix.Stat_t) int64 {
	if st.Mode&unix.S_IFMT == unix.S_IFREG && st.Nlink > 1 {
		return 0
	}
	return st.Blocks * 512
}
