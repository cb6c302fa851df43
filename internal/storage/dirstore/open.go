package dirstore

import (
	"context"
	"io"

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
