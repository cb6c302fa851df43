package s3store

import (
	"bytes"
	"context"
	"crypto/md5"
	"errors"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"tecken-upload/internal/storage"
	"tecken-upload/internal/upload"
)

// proofKey is where a proof is put: beside regular symbols, so that who may put those may put it, and under a name that no symbol can have.
const proofKey = storage.RegularPrefix + ".tecken-proof"

// absentKey is where nothing ever is.
const absentKey = storage.RegularPrefix + ".tecken-absent"

// proof is what is put.
const proof = "This object is written to find out whether the bucket takes objects.\n"

// Prove puts a few bytes into the bucket, as a symbol file is put, with metadata and checksum, and asks for an object that is not there,
// as an upload does for each of its files. It returns nil if the bucket does both, else an error wrapping upload.ErrUnavailable: a bucket
// that answers may refuse every HEAD of an object, or every PUT.
func (s *Store) Prove(ctx context.Context) error {
	to := aws.String(s.prefix + proofKey)
	err := s.prove(ctx, to)
	return checked(ctx, fmt.Sprintf("put %s into bucket %s", *to, s.bucket), s.blameProxy(ctx, err))
}

func (s *Store) prove(ctx context.Context, to *string) error {
	obj, sums := upload.Object{Size: int64(len(proof)), MD5: md5.Sum([]byte(proof))}, s.sumsOf([]byte(proof))
	out, err := s.client.PutObject(ctx, &s3.PutObjectInput{
		Bucket: &s.bucket, Key: to, Body: bytes.NewReader([]byte(proof)), ContentLength: &obj.Size,
		ChecksumCRC32: sums.crc32, ContentMD5: sums.md5, Metadata: storage.Metadata(obj), ContentType: aws.String("text/plain"),
	}, s.payload, func(o *s3.Options) { o.RetryMaxAttempts = checkAttempts })
	if err != nil {
		return err
	}
	// Behind the PUT, whose refusal has a body that says why.
	if _, err := s.head(ctx, aws.String(s.prefix+absentKey)); err != nil && !errors.Is(missing(err), upload.ErrNotFound) {
		return err
	}
	return s.checkMetadata(ctx, to, obj, out.ETag)
}
