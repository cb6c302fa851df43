package dirstore

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"

	"tecken-upload/internal/storage"
	"tecken-upload/internal/upload"
)

// placeAttempts bounds how often an object's directory is made and found removed again.
const placeAttempts = 100

// errAborted reports a Commit after Abort.
var errAborted = errors.New("it was aborted")

// staged is an object in two new files, both durable. It holds them open.
type staged struct {
	store      *Store
	loc        upload.Location
	data, meta *newFile

	mu      sync.Mutex // guards what follows
	moving  bool       // Commit is in progress
	aborted bool       // Abort was called meanwhile
	closed  bool       // data and meta are
}

// Stage writes body to a new file. It does not call note: the file is gone with the process, or among the Leftovers.
func (s *Store) Stage(ctx context.Context, loc upload.Location, obj upload.Object, body upload.Body,
	_ func(ctx context.Context, id string) error) (upload.Staged, error) {
	staged, err := s.stage(ctx, loc, obj, body)
	if err != nil {
		return nil, fail(ctx, "stage", loc, err)
	}
	return staged, nil
}

func (s *Store) stage(ctx context.Context, loc upload.Location, obj upload.Object, body upload.Body) (*staged, error) {
	data, err := s.fill(ctx, storage.Verify(ctx, body))
	if err != nil {
		return nil, err
	}
	meta, err := s.fill(ctx, bytes.NewReader(encodeMeta(obj, body.Size)))
	if err != nil {
		data.discard()
		return nil, err
	}
	return &staged{store: s, loc: loc, data: data, meta: meta}, nil
}

// Commit moves the object into place.
func (st *staged) Commit(ctx context.Context) error {
	return fail(ctx, "commit", st.loc, st.commit(ctx))
}

func (st *staged) commit(ctx context.Context) error {
	if !st.begin() {
		return errAborted
	}
	placed := false
	defer func() { st.end(placed) }() // even after a panic
	err := st.place(ctx)
	placed = err == nil
	return err
}

// begin reports whether a Commit may begin.
func (st *staged) begin() bool {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.moving = !st.closed
	return st.moving
}

// end ends a Commit.
func (st *staged) end(placed bool) {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.moving = false
	if placed || st.aborted {
		st.close()
	}
}

func (st *staged) place(ctx context.Context) error {
	unlock, err := st.store.lock(ctx, st.loc, unix.F_WRLCK)
	if err != nil {
		return err
	}
	defer unlock()
	path := st.store.path(st.loc)
	for range placeAttempts {
		if err = st.store.makeDirs(filepath.Dir(path)); err != nil {
			return err
		}
		// Expire may have removed the directory while it was empty.
		if err = replace(path, metaPathOf(path), st.data, st.meta); !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return err
}

// Abort removes the files, or leaves that to a Commit that is in progress.
func (st *staged) Abort(context.Context) error {
	st.discard()
	return nil
}

func (st *staged) discard() {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.closed {
		return
	}
	st.aborted = true
	if !st.moving {
		st.close()
	}
}

// close releases the files: it removes those that are not in place.
func (st *staged) close() {
	st.data.discard()
	st.meta.discard()
	st.closed = true
}
