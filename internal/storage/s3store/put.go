package s3store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"tecken-upload/internal/storage"
	"tecken-upload/internal/upload"
)

// Put stores body at loc, replacing what is there.
func (s *Store) Put(ctx context.Context, loc upload.Location, obj upload.Object, body upload.Body) error {
	ctx = remembering(ctx)
	var err error
	if body.Size > s.opts.maxWhole {
		err = s.putParts(ctx, loc, obj, body)
	} else {
		err = s.putWhole(ctx, loc, obj, body)
	}
	return s.fail(ctx, "put", loc, s.blameProxy(ctx, err))
}

func (s *Store) putWhole(ctx context.Context, loc upload.Location, obj upload.Object, body upload.Body) error {
	r := storage.Verify(ctx, body)
	if body.Size == 0 {
		// An empty body is not read by the request, so read it here to find its faults.
		if _, err := io.Copy(io.Discard, r); err != nil {
			return err
		}
		r = bytes.NewReader(nil)
	}
	sums, err := s.sumsOfBody(obj, body, r)
	if err != nil {
		return err
	}
	out, err := s.client.PutObject(ctx, &s3.PutObjectInput{
		Bucket: &s.bucket, Key: s.key(loc),
		Body: r, ContentLength: &body.Size, ChecksumCRC32: sums.crc32, ContentMD5: sums.md5,
		Metadata: storage.Metadata(obj), ContentType: aws.String(storage.ContentType(loc.Key)),
		ContentEncoding: encoding(obj),
	}, s.payload)
	if err != nil {
		return err
	}
	return s.checkMetadata(ctx, s.key(loc), obj, out.ETag)
}

func (s *Store) putParts(ctx context.Context, loc upload.Location, obj upload.Object, body upload.Body) error {
	staged, err := s.stage(ctx, loc, obj, body, func(string) error { return nil })
	if err != nil {
		return err
	}
	if err := staged.commit(ctx); err != nil {
		return errors.Join(err, staged.Abort(ctx))
	}
	return nil
}

// Refresh renews the object at loc by copying it onto itself, or returns upload.ErrNotFound.
func (s *Store) Refresh(ctx context.Context, loc upload.Location, _ upload.Object) error {
	head, err := s.head(ctx, s.key(loc))
	if err == nil {
		err = s.renew(ctx, loc, head)
	}
	if status(err) == http.StatusPreconditionFailed {
		return nil // it was replaced a moment ago, so it is new
	}
	return s.fail(ctx, "refresh", loc, s.blameProxy(ctx, missing(err)))
}

// renew copies the object at loc onto itself.
func (s *Store) renew(ctx context.Context, loc upload.Location, head *s3.HeadObjectOutput) error {
	modified, err := s.copyTo(ctx, loc, s.key(loc), head)
	// versitygw keeps the age of an object that is copied onto itself; only its metadata are written. An object made of parts is new; an
	// empty object has no parts and stays old.
	if err == nil && modified != nil && !modified.After(aws.ToTime(head.LastModified)) && aws.ToInt64(head.ContentLength) > 0 {
		err = s.copyParts(ctx, loc, s.key(loc), head)
	}
	return err
}

// copyTo copies the object at loc with its metadata to a key, if it still is the one head describes. It returns when the copy was made, or
// nil if storage does not say.
func (s *Store) copyTo(ctx context.Context, loc upload.Location, to *string, head *s3.HeadObjectOutput) (modified *time.Time, err error) {
	if aws.ToInt64(head.ContentLength) > s.opts.maxWhole {
		return nil, s.copyParts(ctx, loc, to, head)
	}
	out, err := s.client.CopyObject(ctx, &s3.CopyObjectInput{
		Bucket: &s.bucket, Key: to,
		CopySource: s.copySource(loc), CopySourceIfMatch: head.ETag,
		MetadataDirective: types.MetadataDirectiveReplace,
		Metadata:          head.Metadata, ContentType: head.ContentType, ContentEncoding: head.ContentEncoding,
	})
	if err != nil || out.CopyObjectResult == nil {
		return nil, err
	}
	return out.CopyObjectResult.LastModified, nil
}

func (s *Store) copyParts(ctx context.Context, loc upload.Location, to *string, head *s3.HeadObjectOutput) error {
	create := &s3.CreateMultipartUploadInput{
		Metadata: head.Metadata, ContentType: head.ContentType, ContentEncoding: head.ContentEncoding,
	}
	size := aws.ToInt64(head.ContentLength)
	m, err := s.begin(ctx, to, create)
	if err != nil {
		return err
	}
	err = m.send(ctx, max(1, (size+s.opts.slice-1)/s.opts.slice), func(ctx context.Context, number int32) (sending, error) {
		first := int64(number-1) * s.opts.slice
		last := min(first+s.opts.slice, size) - 1
		return func() (*types.CompletedPart, error) {
			out, err := s.client.UploadPartCopy(ctx, &s3.UploadPartCopyInput{
				Bucket: &s.bucket, Key: to, UploadId: m.id, PartNumber: &number,
				CopySource: s.copySource(loc), CopySourceIfMatch: head.ETag,
				CopySourceRange: aws.String(fmt.Sprintf("bytes=%d-%d", first, last)),
			})
			if err != nil {
				return nil, err
			}
			return &types.CompletedPart{ETag: out.CopyPartResult.ETag}, nil
		}, nil
	})
	if err == nil {
		_, err = m.complete(ctx)
	}
	if err != nil {
		return errors.Join(err, m.abort(ctx))
	}
	return nil
}

// encoding returns the Content-Encoding of obj.
func encoding(obj upload.Object) *string {
	if obj.Gzip {
		return aws.String("gzip")
	}
	return nil
}
