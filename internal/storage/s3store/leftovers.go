package s3store

import (
	"context"
	"iter"
	"net/url"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"tecken-upload/internal/storage"
)

// Leftovers yields the multipart uploads to keys of symbol files that began before a time and are neither complete nor aborted. Uploads in
// progress are among them. An error is the last value. MinIO lists none: it lists those of a whole key alone.
func (s *Store) Leftovers(ctx context.Context, before time.Time) iter.Seq2[storage.Leftover, error] {
	return func(yield func(storage.Leftover, error) bool) {
		for _, prefix := range []string{storage.RegularPrefix, storage.TryPrefix} {
			for m, err := range s.multiparts(ctx, s.prefix+prefix) {
				if err != nil {
					yield(storage.Leftover{}, err)
					return
				}
				key := aws.ToString(m.Key)
				name, below := strings.CutPrefix(key, s.prefix)
				_, ours := storage.ParseObjectKey(name)
				since := aws.ToTime(m.Initiated)
				if below && ours && since.Before(before) && !yield(storage.Leftover{ID: idOf(m.UploadId, &key), Since: since}, nil) {
					return
				}
			}
		}
	}
}

// multiparts yields the multipart uploads to keys that begin with prefix, page by page. Where a page ends amid a key, the next begins with that
// key: versitygw has no other way to go on, and forgets the rest of the key.
func (s *Store) multiparts(ctx context.Context, prefix string) iter.Seq2[types.MultipartUpload, error] {
	return func(yield func(types.MultipartUpload, error) bool) {
		var after string                // the key behind which a page begins
		var yielded map[string]struct{} // ids, of the last page
		for more := true; more; {
			page, err := s.multipartPage(ctx, prefix, after)
			if err != nil {
				yield(types.MultipartUpload{}, err)
				return
			}
			ids, before, last := make(map[string]struct{}), after, after
			for _, m := range page.Uploads {
				if key := *m.Key; key != last {
					before, last = last, key
				}
				id := aws.ToString(m.UploadId)
				ids[id] = struct{}{}
				if _, again := yielded[id]; !again && !yield(m, nil) {
					return
				}
			}
			more = aws.ToBool(page.IsTruncated) && last > after
			if before == after { // the page has no other key
				before = last
			}
			after, yielded = before, ids
		}
	}
}

// multipartPage returns a page of multipart uploads to keys behind one, with plain keys.
func (s *Store) multipartPage(ctx context.Context, prefix, after string) (*s3.ListMultipartUploadsOutput, error) {
	ctx = remembering(ctx)
	in := &s3.ListMultipartUploadsInput{Bucket: &s.bucket, Prefix: &prefix, EncodingType: types.EncodingTypeUrl}
	if after != "" {
		in.KeyMarker = &after
	}
	if s.opts.page > 0 {
		in.MaxUploads = &s.opts.page
	}
	page, err := s.client.ListMultipartUploads(ctx, in)
	if err != nil {
		return nil, fault(ctx, "list the multipart uploads of bucket "+s.bucket+", which takes s3:ListBucketMultipartUploads", err)
	}
	for i := range page.Uploads {
		key := aws.ToString(page.Uploads[i].Key)
		if plain, err := url.QueryUnescape(key); err == nil && page.EncodingType == types.EncodingTypeUrl {
			key = plain
		}
		page.Uploads[i].Key = &key
	}
	return page, nil
}
