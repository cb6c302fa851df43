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

// keyDepth is how many components a symbol key has.
const keyDepth = 3

// List yields the symbol files whose object keys begin with prefix and come after the key after, in the order of the
// bytes of their keys. An error is the last thing that it yields. What comes or goes meanwhile may be listed or not.
// Other files are passed over. It holds the names in one directory of each level in memory.
func (s *Store) List(ctx context.Context, prefix, after string) iter.Seq2[storage.Entry, error] {
	return func(yield func(storage.Entry, error) bool) {
		l := listing{store: s, ctx: ctx, prefix: prefix, after: after, yield: yield}
		err := l.dir(storage.TryPrefix, keyDepth)
		if err == nil {
			err = l.dir(storage.RegularPrefix, keyDepth)
		}
		if err == nil {
			// Where the lock file is gone the directory was unmounted, say: that nothing is found means nothing.
			_, err = os.Stat(filepath.Join(s.dir, lockFile))
		}
		if err != nil && !errors.Is(err, errEnough) {
			yield(storage.Entry{}, fault(ctx, "list symbol directory", err))
		}
	}
}

// errEnough ends a listing of which no more is wanted.
var errEnough = errors.New("no more is wanted")

// listing is one pass of List.
type listing struct {
	store         *Store
	ctx           context.Context //nolint:containedctx // of one call of List
	prefix, after string
	yield         func(storage.Entry, error) bool
}

// dir lists a directory, whose object key ends with a slash and lacks so many components.
func (l *listing) dir(key string, depth int) error {
	if !l.wants(key) {
		return nil
	}
	entries, err := os.ReadDir(l.path(key))
	switch {
	case errors.Is(missing(err), upload.ErrNotFound):
		return nil // it has just gone, or is a file
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

// wants reports whether keys that begin with that of a directory may be wanted.
func (l *listing) wants(key string) bool {
	passed := key <= l.after && !strings.HasPrefix(l.after, key)
	return !passed && (strings.HasPrefix(key, l.prefix) || strings.HasPrefix(l.prefix, key))
}

// file yields a file if it is a symbol file that is wanted.
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
