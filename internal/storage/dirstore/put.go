package dirstore

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"tecken-upload/internal/upload"
)

// Put stores body at loc, replacing an object there, and returns once that is durable.
func (s *Store) Put(ctx context.Context, loc upload.Location, obj upload.Object, body upload.Body) error {
	staged, err := s.stage(ctx, loc, obj, body)
	if err == nil {
		defer staged.discard()
		err = staged.commit(ctx)
	}
	return fail(ctx, "put", loc, err)
}

// replace moves data and metadata into place.
func replace(path, metaPath string, data, meta *newFile) error {
	dir := filepath.Dir(path)
	switch err := os.Remove(metaPath); {
	case err == nil:
		// Else the new data could become durable first, beside the former metadata.
		if err := syncDir(dir); err != nil {
			return err
		}
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	if err := data.moveTo(path); err != nil {
		return err
	}
	if err := meta.moveTo(metaPath); err != nil {
		return err
	}
	return syncDir(dir)
}

// fill writes what r gives to a new file, synced.
func (s *Store) fill(ctx context.Context, r io.Reader) (*newFile, error) {
	f, err := s.create(ctx)
	if err != nil {
		return nil, err
	}
	_, err = io.Copy(f.File, r)
	if err == nil {
		err = f.Sync()
	}
	if err != nil {
		f.discard()
		return nil, err
	}
	return f, nil
}

// makeDirs makes dir, below the store's directory, and its missing parents, durably.
func (s *Store) makeDirs(dir string) error {
	err := os.Mkdir(dir, 0o755)
	switch {
	case errors.Is(err, fs.ErrExist):
		return nil
	case errors.Is(err, fs.ErrNotExist) && dir != s.dir:
		if err := s.makeDirs(filepath.Dir(dir)); err != nil {
			return err
		}
		if err := os.Mkdir(dir, 0o755); errors.Is(err, fs.ErrNotExist) {
			return s.makeDirs(dir) // Expire has removed the parent
		} else if err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	case err != nil:
		return err
	}
	if err := syncDir(filepath.Dir(dir)); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return s.makeDirs(dir)
}

// syncDir makes the names in dir durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
