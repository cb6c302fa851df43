package s3store

import (
	"context"
	"crypto/md5"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"tecken-upload/internal/storage"
	"tecken-upload/internal/upload"
)

// proofKey is where a proof is put: beside regular symbols, so the same rights suffice, under a name that no symbol can have.
const proofKey = storage.RegularPrefix + ".tecken-proof"

// absentKey never holds an object.
const absentKey = storage.RegularPrefix + ".tecken-absent"

// proof is the proof's content.
const proof = "This object is written to find out whether the bucket takes objects.\n"

// Prove puts a few bytes into the bucket like a symbol file, with metadata and checksum, and asks for an absent object, as an upload does
// for each of its files. It returns nil if the bucket does both, else an error wrapping upload.ErrUnavailable. A bucket that answers may
// still refuse every HEAD or every PUT.
func (s *Store) Prove(ctx context.Context) error {
	to := aws.String(s.prefix + proofKey)
	err := s.prove(ctx, to)
	return checked(ctx, fmt.Sprintf("put %s into bucket %s", *to, s.bucket), s.blameProxy(ctx, err))
}

func (s *Store) prove(ctx context.Context, to *string) error {
	obj, body := upload.Object{Size: int64(len(proof)), MD5: md5.Sum([]byte(proof))}, io.NewSectionReader(strings.NewReader(proof), 0, int64(len(proof)))
	sums, _, err := s.sumsOf(body)
	if err != nil {
		return err
	}
	out, err := s.client.PutObject(ctx, &s3.PutObjectInput{
		Bucket: &s.bucket, Key: to, Body: body, ContentLength: &obj.Size,
		ChecksumCRC32: sums.crc32, ContentMD5: sums.md5, Metadata: storage.Metadata(obj), ContentType: aws.String("text/plain"),
	}, s.payload, func(o *s3.Options) { o.RetryMaxAttempts = checkAttempts })
	if err != nil {
		return err
	}
	// After the PUT: only its refusal has a body with a reason.
	if _, err := s.head(ctx, aws.String(s.prefix+absentKey)); err != nil && !errors.Is(missing(err), upload.ErrNotFound) {
		return err
	}
	return s.checkMetadata(ctx, to, obj, out.ETag)
}
