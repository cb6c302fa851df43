package dirstore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"tecken-upload/internal/storage"
	"tecken-upload/internal/upload"
)

// lockPoll is the interval of tries for a lock in use. A lock is held for a few renames and their sync, a matter of milliseconds.
const lockPoll = 2 * time.Millisecond

// proofSize is the size of a proof in bytes: more than a file system keeps without a block.
const proofSize = 64 << 10

// Our files in the directory.
const (
	newDir   = ".new"
	lockFile = ".lock"
)

// A Store is a directory of symbol files. It implements upload.Storage.
type Store struct {
	dir     string // absolute
	unnamed bool   // new files have no name, where the file system has such files
}

// New returns a Store without Prepare: an existing directory can be read.
func New(dir string) (*Store, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("open symbol directory %s: %w", dir, err)
	}
	_, err = os.Stat("/proc/self/fd") // through which a file without a name gets one
	return &Store{dir: abs, unnamed: err == nil}, nil
}

// Open returns a Store of a prepared directory.
func Open(ctx context.Context, dir string) (*Store, error) {
	s, err := New(dir)
	if err != nil {
		return nil, err
	}
	return s, s.Prepare(ctx)
}

// Prepare makes a missing directory and deletes the remains of killed writers.
func (s *Store) Prepare(ctx context.Context) error {
	if err := os.MkdirAll(filepath.Join(s.dir, newDir), 0o755); err != nil {
		return fmt.Errorf("open symbol directory: %w", err)
	}
	lock, err := os.OpenFile(filepath.Join(s.dir, lockFile), os.O_RDONLY|os.O_CREATE, 0o644)
	if err != nil {
		return fmt.Errorf("open symbol directory: %w", err)
	}
	lock.Close()
	if err := s.reclaim(ctx); err != nil {
		return fmt.Errorf("open symbol directory %s: %w", s.dir, err)
	}
	return nil
}

// Name returns the directory's base name.
func (s *Store) Name() string { return filepath.Base(s.dir) }

// Stat describes the object at loc, or returns upload.ErrNotFound.
func (s *Store) Stat(ctx context.Context, loc upload.Location) (upload.Object, error) {
	f, obj, err := s.open(ctx, loc)
	if err != nil {
		return upload.Object{}, fail(ctx, "stat", loc, err)
	}
	return obj, f.Close()
}

// Refresh sets the object's time of modification to now, or returns upload.ErrNotFound.
func (s *Store) Refresh(ctx context.Context, loc upload.Location, _ upload.Object) error {
	unlock, err := s.lock(ctx, loc, unix.F_WRLCK)
	if err != nil {
		return fail(ctx, "refresh", loc, err)
	}
	defer unlock()
	now := time.Now()
	if err := os.Chtimes(s.path(loc), now, now); err != nil {
		return fail(ctx, "refresh", loc, missing(err))
	}
	if err := os.Chtimes(s.metaPath(loc), now, now); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fail(ctx, "refresh", loc, err)
	}
	return nil
}

// Check returns an error wrapping upload.ErrUnavailable if the directory is missing. It may take as long as the disk takes.
func (s *Store) Check(ctx context.Context) error {
	info, err := os.Stat(s.dir)
	if err == nil && !info.IsDir() {
		err = unix.ENOTDIR
	}
	return fault(ctx, "check the symbol directory", err)
}

// Prove writes data that need new space to the directory. It returns nil if they are durable, else an error wrapping upload.ErrUnavailable.
// It leaves nothing behind, and may take as long as the disk takes.
func (s *Store) Prove(ctx context.Context) error {
	return fault(ctx, "write to the symbol directory", s.prove(ctx))
}

func (s *Store) prove(ctx context.Context) error {
	f, err := s.create(ctx)
	if err != nil {
		return err
	}
	defer f.discard()
	if _, err := f.Write(make([]byte, proofSize)); err != nil {
		return err
	}
	return f.Sync()
}

func (s *Store) path(loc upload.Location) string {
	return filepath.Join(s.dir, filepath.FromSlash(storage.ObjectKey(loc)))
}

func (s *Store) metaPath(loc upload.Location) string { return metaPathOf(s.path(loc)) }

// metaPathOf returns the path of the metadata of the object at a path.
func metaPathOf(path string) string {
	return filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+".meta")
}

// pair is an object's open data and the metadata beside them.
type pair struct {
	*os.File
	info fs.FileInfo
	meta map[string]string
}

// openPair opens the data at loc with their metadata.
func (s *Store) openPair(ctx context.Context, loc upload.Location) (pair, error) {
	unlock, err := s.lock(ctx, loc, unix.F_RDLCK)
	if err != nil {
		return pair{}, err
	}
	defer unlock()
	f, err := os.Open(s.path(loc))
	if err != nil {
		return pair{}, missing(err)
	}
	p := pair{File: f}
	if p.info, err = f.Stat(); err == nil && !p.info.Mode().IsRegular() {
		err = &fs.PathError{Op: "open", Path: f.Name(), Err: errors.New("not a regular file")}
	}
	if err == nil {
		p.meta, err = readMeta(s.metaPath(loc))
	}
	if err != nil {
		f.Close()
		return pair{}, err
	}
	return p, nil
}

// open opens the data at loc with their description.
func (s *Store) open(ctx context.Context, loc upload.Location) (*os.File, upload.Object, error) {
	p, err := s.openPair(ctx, loc)
	if err != nil {
		return nil, upload.Object{}, err
	}
	return p.File, p.describe(loc), nil
}

// missing turns the error for a missing file into upload.ErrNotFound.
func missing(err error) error {
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) {
		return upload.ErrNotFound
	}
	return err
}

// fail returns err with what was being done to the object at loc, and its kind.
func fail(ctx context.Context, doing string, loc upload.Location, err error) error {
	return fault(ctx, doing+" "+loc.Key.String(), err)
}

// fault returns err with what was being done, and its kind: an error of the file system is storage's fault.
func fault(ctx context.Context, doing string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, upload.ErrNotFound), errors.Is(err, storage.ErrBody), errors.Is(err, storage.ErrChanged),
		ctx.Err() != nil && errors.Is(err, context.Cause(ctx)):
		return fmt.Errorf("%s: %w", doing, err)
	}
	if disk, ok := upload.DiskFaultOf(err); ok {
		err = &upload.DiskError{Disk: upload.DiskStorage, Fault: disk, Err: err}
	}
	return fmt.Errorf("%s: %w: %w", doing, upload.ErrUnavailable, err)
}
