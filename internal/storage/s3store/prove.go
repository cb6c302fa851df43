package s3store

import (
	"bytes"
	"context"
	"fmt"
	"hash/crc32"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"tecken-upload/internal/storage"
	"tecken-upload/internal/upload"
)

// proofKey is where a proof is put: beside regular symbols, so that who may put those may put it, and under a name that no symbol can have.
const proofKey = storage.RegularPrefix + ".tecken-proof"

// Prove puts a few bytes into the bucket, and returns nil if it has taken them, else an error wrapping upload.ErrUnavailable: a bucket
// that answers may refuse every PUT.
func (s *Store) Prove(ctx context.Context) error {
	body := []byte("This object is written to find out whether the bucket takes objects.\n")
	sum := crc32.ChecksumIEEE(body)
	_, err := s.client.PutObject(ctx, &s3.PutObjectInput{
		Bucket: &s.bucket, Key: aws.String(proofKey), Body: bytes.NewReader(body), ContentLength: aws.Int64(int64(len(body))), ChecksumCRC32: checksum(sum),
	}, unsignedPayload, func(o *s3.Options) { o.RetryMaxAttempts = checkAttempts })
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		return fmt.Errorf("put %s into bucket %s: %w: %w", proofKey, s.bucket, upload.ErrUnavailable, err)
	}
	return nil
}
