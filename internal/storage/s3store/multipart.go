package s3store

import (
	"context"
	"errors"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"tecken-upload/internal/background"
	"tecken-upload/internal/upload"
)

// partsAtOnce is how many parts of one multipart upload are sent at once.
const partsAtOnce = 4

// A multipart is a multipart upload: its parts are sent, then it is completed or aborted.
type multipart struct {
	store   *Store
	key, id *string
	parts   []types.CompletedPart
}

// sending sends one part. It is always called: it gives back what the part holds.
type sending func() (*types.CompletedPart, error)

// begin creates a multipart upload to a key.
func (s *Store) begin(ctx context.Context, to *string, create *s3.CreateMultipartUploadInput) (*multipart, error) {
	create.Bucket, create.Key = &s.bucket, to
	created, err := s.client.CreateMultipartUpload(ctx, create)
	if err != nil {
		return nil, err
	}
	return &multipart{store: s, key: to, id: created.UploadId}, nil
}

// send sends so many parts, several at once. It calls next for one part after the other, numbered from 1, for what sends it. Nothing is being
// sent once it has returned.
func (m *multipart) send(ctx context.Context, count int64, next func(ctx context.Context, number int32) (sending, error)) error {
	m.parts = make([]types.CompletedPart, count)
	group, ctx := background.NewGroup(ctx)
	group.SetLimit(partsAtOnce)
	for i := range m.parts {
		number := int32(i + 1)
		part, err := next(ctx, number)
		if err != nil {
			group.Go(func() error { return err })
			break
		}
		group.Go(func() error {
			sent, err := part()
			if err != nil {
				return fmt.Errorf("part %d: %w", number, err)
			}
			m.parts[i] = *sent
			m.parts[i].PartNumber = &number
			return nil
		})
	}
	return group.Wait()
}

// complete makes the parts an object.
func (m *multipart) complete(ctx context.Context) (etag *string, err error) {
	out, err := m.store.client.CompleteMultipartUpload(ctx, &s3.CompleteMultipartUploadInput{
		Bucket: &m.store.bucket, Key: m.key, UploadId: m.id,
		MultipartUpload: &types.CompletedMultipartUpload{Parts: m.parts},
	})
	if err != nil {
		return nil, err
	}
	return out.ETag, nil
}

// abort throws the parts away, so that they are not kept, and paid for, for ever. It returns nil where nothing is left. It works after ctx has
// ended.
func (m *multipart) abort(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), abortTimeout)
	defer cancel()
	_, err := m.store.client.AbortMultipartUpload(ctx, &s3.AbortMultipartUploadInput{
		Bucket: &m.store.bucket, Key: m.key, UploadId: m.id,
	})
	if err != nil && !errors.Is(missing(err), upload.ErrNotFound) {
		return fmt.Errorf("abort the multipart upload: %w", err)
	}
	return nil
}
