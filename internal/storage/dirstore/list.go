package dirstore

import (
	"context"
	"errors"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"tecken-upload/internal/storage"
	"tecken-upload/internal/upload"
)

// keyDepth is the number of components of a symbol key.
const keyDepth = 3

// List yields the symbol files with object keys that begin with prefix and come after the key after, in the byte order of their keys. An error
// is the last value. Objects that come or go meanwhile may be listed or not. Other files are skipped. It holds the names of one directory
// of each level in memory.
func (s *Store) List(ctx context.Context, prefix, after string) iter.Seq2[storage.Entry, error] {
	return func(yield func(storage.Entry, error) bool) {
		l := listing{store: s, ctx: ctx, prefix: prefix, after: after, yield: yield}
		err := l.dir(storage.TryPrefix, keyDepth)
		if err == nil {
			err = l.dir(storage.RegularPrefix, keyDepth)
		}
		if err == nil {
			// Without the lock file the directory may be unmounted, so an empty list means nothing.
			_, err = os.Stat(filepath.Join(s.dir, lockFile))
		}
		if err != nil && !errors.Is(err, errEnough) {
			yield(storage.Entry{}, fault(ctx, "list symbol directory", err))
		}
	}
}

// errEnough ends a listing after its consumer has stopped.
var errEnough = errors.New("no more is wanted")

// listing is one pass of List.
type listing struct {
	store         *Store
	ctx           context.Context //nolint:containedctx // of one List
	prefix, after string
	yield         func(storage.Entry, error) bool
}

// dir lists a directory. Its object key ends with a slash and lacks depth components.
func (l *listing) dir(key string, depth int) error {
	if !l.wants(key) {
		return nil
	}
	entries, err := os.ReadDir(l.path(key))
	switch {
	case errors.Is(missing(err), upload.ErrNotFound):
		return nil // just removed, or a file
	case err != nil:
		return err
	}
	names := make([]string, 0, len(entries))
	for _, e := range entries {
		name := e.Name()
		if strings.HasPrefix(name, ".") {
			continue // metadata: no component of a key has a leading dot
		}
		if depth > 1 {
			name += "/" // it counts in the order of keys: "a b/" comes before "a/"
		}
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		if l.ctx.Err() != nil {
			return context.Cause(l.ctx)
		}
		if depth > 1 {
			err = l.dir(key+name, depth-1)
		} else {
			err = l.file(key + name)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// wants reports whether a directory may hold wanted keys.
func (l *listing) wants(key string) bool {
	passed := key <= l.after && !strings.HasPrefix(l.after, key)
	return !passed && (strings.HasPrefix(key, l.prefix) || strings.HasPrefix(l.prefix, key))
}

// file yields a wanted symbol file.
func (l *listing) file(key string) error {
	if key <= l.after || !strings.HasPrefix(key, l.prefix) {
		return nil
	}
	loc, ok := storage.ParseObjectKey(key)
	if !ok {
		return nil
	}
	info, err := os.Stat(l.path(key))
	switch {
	case errors.Is(missing(err), upload.ErrNotFound):
		return nil
	case err != nil:
		return err
	case !info.Mode().IsRegular():
		return nil
	}
	if !l.yield(storage.Entry{Location: loc, Modified: info.ModTime()}, nil) {
		return errEnough
	}
	return nil
}

func (l *listing) path(key string) string { return filepath.Join(l.store.dir, filepath.FromSlash(key)) }
