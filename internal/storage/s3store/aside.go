package s3store

import (
	"context"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"tecken-upload/internal/storage"
	"tecken-upload/internal/upload"
)

// Open opens the object at loc for a comparison with its metadata, or returns upload.ErrNotFound. The caller closes it. Without metadata
// the object's Size is -1. Reading fails once ctx ends or storage stops sending. It continues past a mismatch with storage's own checksum,
// since the bytes are what is compared.
func (s *Store) Open(ctx context.Context, loc upload.Location) (*storage.Stored, error) {
	ctx = remembering(ctx)
	got, err := s.client.GetObject(ctx, &s3.GetObjectInput{Bucket: &s.bucket, Key: s.key(loc)}, func(o *s3.Options) {
		o.ResponseChecksumValidation = aws.ResponseChecksumValidationWhenRequired
	})
	if err != nil {
		return nil, s.fail(ctx, "open", loc, missing(err))
	}
	return &storage.Stored{
		ReadCloser: got.Body,
		Object:     describe(got.Metadata, got.ContentEncoding, got.LastModified),
		Version:    versionOf(got.ETag, got.LastModified),
	}, nil
}

// SetAside moves the object at loc with its metadata to its storage.BrokenKey, replacing an object there. It fails with storage.ErrChanged
// if the object has another version, and with upload.ErrNotFound if there is none.
//
// It copies first: if the process dies, the object is at one of the keys or at both.
func (s *Store) SetAside(ctx context.Context, loc upload.Location, version string) error {
	ctx = remembering(ctx)
	err := s.setAside(ctx, loc, version)
	if status(err) == http.StatusPreconditionFailed {
		err = storage.ErrChanged
	}
	return s.fail(ctx, "set aside", loc, s.blameProxy(ctx, missing(err)))
}

func (s *Store) setAside(ctx context.Context, loc upload.Location, version string) error {
	head, err := s.unchanged(ctx, loc, version)
	if err != nil {
		return err
	}
	if _, err := s.copyTo(ctx, loc, aws.String(s.prefix+storage.BrokenKey(loc)), head); err != nil {
		return err
	}
	// Some servers ignore the condition of the DELETE.
	if _, err := s.unchanged(ctx, loc, version); err != nil {
		return err
	}
	_, err = s.client.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &s.bucket, Key: s.key(loc), IfMatch: head.ETag})
	return err
}

// unchanged describes the object at loc, or fails with storage.ErrChanged if it has another version.
func (s *Store) unchanged(ctx context.Context, loc upload.Location, version string) (*s3.HeadObjectOutput, error) {
	head, err := s.head(ctx, s.key(loc))
	if err == nil && versionOf(head.ETag, head.LastModified) != version {
		err = storage.ErrChanged
	}
	return head, err
}

// versionOf differs for each object stored at a key, and after a refresh.
func versionOf(etag *string, modified *time.Time) string {
	return aws.ToString(etag) + " " + aws.ToTime(modified).UTC().Format(time.RFC3339)
}
