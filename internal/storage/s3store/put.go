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
	r := storage.Verify(ctx, body)
	var err error
	if body.Size > s.opts.maxWhole {
		err = s.putParts(ctx, loc, obj, r)
	} else {
		err = s.putWhole(ctx, loc, obj, body, r)
	}
	return s.fail(ctx, "put", loc, s.blameProxy(ctx, err))
}

func (s *Store) putWhole(ctx context.Context, loc upload.Location, obj upload.Object, body upload.Body, r io.ReadSeeker) error {
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

// putParts stores what r reads in several requests. Each part is read into memory, so that r is read only once, however often a part is
// sent.
func (s *Store) putParts(ctx context.Context, loc upload.Location, obj upload.Object, r io.Reader) error {
	create := &s3.CreateMultipartUploadInput{
		Metadata: storage.Metadata(obj), ContentType: aws.String(storage.ContentType(loc.Key)),
		ContentEncoding: encoding(obj),
	}
	if s.checksum == storage.CRC32 {
		create.ChecksumAlgorithm = types.ChecksumAlgorithmCrc32
	}
	buf := make([]byte, s.opts.partSize)
	return s.multipart(ctx, s.key(loc), create, func(id *string, part int32) (*types.CompletedPart, error) {
		n, err := io.ReadFull(r, buf)
		atEnd := errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
		switch {
		case errors.Is(err, storage.ErrBody), err != nil && !atEnd:
			return nil, err
		case n == 0:
			return nil, nil
		}
		sums := s.sumsOf(buf[:n])
		out, err := s.client.UploadPart(ctx, &s3.UploadPartInput{
			Bucket: &s.bucket, Key: s.key(loc), UploadId: id, PartNumber: &part,
			Body: bytes.NewReader(buf[:n]), ContentLength: aws.Int64(int64(n)), ChecksumCRC32: sums.crc32, ContentMD5: sums.md5,
		}, s.payload)
		if err != nil {
			return nil, fmt.Errorf("part %d: %w", part, err)
		}
		return &types.CompletedPart{PartNumber: &part, ETag: out.ETag, ChecksumCRC32: sums.crc32}, nil
	})
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
	return s.multipart(ctx, to, create, func(id *string, part int32) (*types.CompletedPart, error) {
		first := int64(part-1) * s.opts.slice
		if first >= size {
			return nil, nil
		}
		last := min(first+s.opts.slice, size) - 1
		out, err := s.client.UploadPartCopy(ctx, &s3.UploadPartCopyInput{
			Bucket: &s.bucket, Key: to, UploadId: id, PartNumber: &part,
			CopySource: s.copySource(loc), CopySourceIfMatch: head.ETag,
			CopySourceRange: aws.String(fmt.Sprintf("bytes=%d-%d", first, last)),
		})
		if err != nil {
			return nil, fmt.Errorf("part %d: %w", part, err)
		}
		return &types.CompletedPart{PartNumber: &part, ETag: out.CopyPartResult.ETag}, nil
	})
}

// multipart stores an object at a key in parts, counted from 1. next sends one part a call and returns nil after the last. An error of next
// aborts the upload.
func (s *Store) multipart(ctx context.Context, to *string, create *s3.CreateMultipartUploadInput,
	next func(id *string, part int32) (*types.CompletedPart, error)) (err error) {
	create.Bucket, create.Key = &s.bucket, to
	created, err := s.client.CreateMultipartUpload(ctx, create)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.abort(ctx, to, created.UploadId))
		}
	}()
	var parts []types.CompletedPart
	for {
		part, err := next(created.UploadId, int32(len(parts)+1))
		if err != nil {
			return err
		}
		if part == nil {
			break
		}
		parts = append(parts, *part)
	}
	_, err = s.client.CompleteMultipartUpload(ctx, &s3.CompleteMultipartUploadInput{
		Bucket: &s.bucket, Key: to, UploadId: created.UploadId,
		MultipartUpload: &types.CompletedMultipartUpload{Parts: parts},
	})
	return err
}

// abort ends a multipart upload, so that its parts are not kept, and paid for, for ever.
func (s *Store) abort(ctx context.Context, to, id *string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), abortTimeout)
	defer cancel()
	_, err := s.client.AbortMultipartUpload(ctx, &s3.AbortMultipartUploadInput{
		Bucket: &s.bucket, Key: to, UploadId: id,
	})
	if err != nil {
		return fmt.Errorf("abort the multipart upload: %w", err)
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
