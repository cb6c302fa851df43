package dirstore

import (
	"context"
	"io"

	"tecken-upload/internal/storage"
	"tecken-upload/internal/upload"
)

// OpenContent opens the stored bytes of the object at loc, compressed if obj.Gzip, or returns upload.ErrNotFound. The caller closes it.
// Data and description belong together even during a replacement, and the reader keeps the former object until it is closed.
//
// Without valid metadata (a writer died between data and metadata, or a file was put there by hand) the content is unknown: obj.Size is -1.
// The file is whole, so it is served.
func (s *Store) OpenContent(ctx context.Context, loc upload.Location) (io.ReadSeekCloser, upload.Object, error) {
	f, obj, err := s.open(ctx, loc)
	if err != nil {
		return nil, upload.Object{}, fail(ctx, "open", loc, err)
	}
	return f, obj, nil
}

// Open opens the object at loc for a comparison with its metadata, or returns upload.ErrNotFound. The caller closes it. Metadata count even
// if the file has another size: then one of the two is broken. Without metadata the object's Size is -1. The reader keeps the object when
// it is replaced meanwhile.
func (s *Store) Open(ctx context.Context, loc upload.Location) (*storage.Stored, error) {
	p, err := s.openPair(ctx, loc)
	if err != nil {
		return nil, fail(ctx, "open", loc, err)
	}
	return &storage.Stored{ReadCloser: p, Object: p.recorded(), Version: versionOf(p.info)}, nil
}
