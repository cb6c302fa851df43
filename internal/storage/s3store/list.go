package s3store

import (
	"context"
	"iter"
	"net/url"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"tecken-upload/internal/storage"
)

// List yields the symbol files with object keys that begin with prefix and come after the key after, in the byte order of their keys. An error
// is the last value. Objects that come or go meanwhile may be listed or not. Other objects are skipped.
func (s *Store) List(ctx context.Context, prefix, after string) iter.Seq2[storage.Entry, error] {
	return func(yield func(storage.Entry, error) bool) {
		from, last := "", ""
		if after != "" {
			last = s.prefix + after
		}
		// MinIO may mark a page as the last that is not, when it begins after a key. So the list ends when nothing comes after the last
		// key.
		for first := true; first || last > from; first = false {
			from = last
			for object, err := range s.objects(ctx, s.prefix+prefix, from) {
				if err != nil {
					yield(storage.Entry{}, err)
					return
				}
				objectKey := aws.ToString(object.Key)
				if objectKey <= from {
					continue // some servers ignore where to begin
				}
				last = max(last, objectKey)
				name, below := strings.CutPrefix(objectKey, s.prefix)
				loc, ours := storage.ParseObjectKey(name)
				if below && ours && !yield(storage.Entry{Location: loc, Modified: aws.ToTime(object.LastModified)}, nil) {
					return
				}
			}
		}
	}
}

// objects yields the objects with keys that begin with prefix and come after a key, page by page.
func (s *Store) objects(ctx context.Context, prefix, after string) iter.Seq2[types.Object, error] {
	in := &s3.ListObjectsV2Input{
		Bucket: &s.bucket, Prefix: &prefix,
		// XML can't hold every character of a key.
		EncodingType: types.EncodingTypeUrl,
	}
	if after != "" {
		in.StartAfter = &after
	}
	pages := s3.NewListObjectsV2Paginator(s.client, in, func(o *s3.ListObjectsV2PaginatorOptions) { o.Limit = s.opts.page })
	return func(yield func(types.Object, error) bool) {
		for pages.HasMorePages() {
			ctx := remembering(ctx)
			page, err := pages.NextPage(ctx)
			if err != nil {
				yield(types.Object{}, fault(ctx, "list bucket "+s.bucket, err))
				return
			}
			for _, object := range page.Contents {
				if page.EncodingType == types.EncodingTypeUrl {
					plain, err := url.QueryUnescape(aws.ToString(object.Key))
					if err != nil {
						continue
					}
					object.Key = &plain
				}
				if !yield(object, nil) {
					return
				}
			}
		}
	}
}
