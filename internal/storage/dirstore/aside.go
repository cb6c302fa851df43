package dirstore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"

	"tecken-upload/internal/storage"
	"tecken-upload/internal/upload"
)

// SetAside moves the object at loc with its metadata to its storage.BrokenKey, replacing an object there. It fails with storage.ErrChanged
// if the object has another version, and with upload.ErrNotFound if there is none.
//
// The data go first. A process that dies in between leaves metadata without data: no object, and replaced by the next Put.
func (s *Store) SetAside(ctx context.Context, loc upload.Location, version string) error {
	return fail(ctx, "set aside", loc, s.setAside(ctx, loc, version))
}

func (s *Store) setAside(ctx context.Context, loc upload.Location, version string) error {
	unlock, err := s.lock(ctx, loc, unix.F_WRLCK)
	if err != nil {
		return err
	}
	defer unlock()
	info, err := os.Stat(s.path(loc))
	switch {
	case err != nil:
		return missing(err)
	case versionOf(info) != version:
		return storage.ErrChanged
	}
	aside := filepath.Join(s.dir, filepath.FromSlash(storage.BrokenKey(loc)))
	if err := s.makeDirs(filepath.Dir(aside)); err != nil {
		return err
	}
	if err := move(s.path(loc), aside); err != nil {
		return err
	}
	err = move(s.metaPath(loc), metaPathOf(aside))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// move renames a file, durably.
func move(from, to string) error {
	if err := os.Rename(from, to); err != nil {
		return err
	}
	return errors.Join(syncDir(filepath.Dir(to)), syncDir(filepath.Dir(from)))
}

// versionOf differs for each file at a key, and after a refresh.
func versionOf(info fs.FileInfo) string {
	inode := uint64(0)
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		inode = stat.Ino
	}
	return fmt.Sprintf("%d-%d-%d", inode, info.Size(), info.ModTime().UnixNano())
}
