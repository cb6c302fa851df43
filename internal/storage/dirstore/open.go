package dirstore

import (
	"context"
	"io"

	"tecken-upload/internal/storage"
	"tecken-upload/internal/upload"
)

// OpenContent opens the object at loc as it is stored, still compressed where obj.Gzip says so, to be closed by the
// caller; or returns upload.ErrNotFound. Data and description belong together even where the object is being
// replaced, and what is read stays the same afterwards: the former object's, until it is closed.
//
// Of an object without valid metadata (a writer died between data and metadata, or a file was put there by hand) the
// content is unknown: obj.Size is -1. It is served all the same, it is whole.
func (s *Store) OpenContent(ctx context.Context, loc upload.Location) (io.ReadSeekCloser, upload.Object, error) {
	f, obj, err := s.open(ctx, loc)
	if err != nil {
		return nil, upload.Object{}, fail(ctx, "open", loc, err)
	}
	return f, obj, nil
}

// Open opens the object at loc to be compared with its metadata, to be closed by the caller; or returns
// upload.ErrNotFound. Metadata count here even where the file has another size than they say: then one of the two is
// broken. Without metadata the object's Size is -1. What is read stays the same when the object is replaced meanwhile.
func (s *Store) Open(ctx context.Context, loc upload.Location) (*storage.Stored, error) {
	p, err := s.openPair(ctx, loc)
	if err != nil {
		return nil, fail(ctx, "open", loc, err)
	}
	return &storage.Stored{ReadCloser: p, Object: p.recorded(), Version: versionOf(p.info)}, nil
}
