package s3store

import (
	"context"
	"iter"
	"net/url"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"tecken-upload/internal/storage"
)

// List yields the symbol files whose object keys begin with prefix and come after the key after, in the order of the
// bytes of their keys. An error is the last thing that it yields. What comes or goes meanwhile may be listed or not.
// Other objects are passed over.
func (s *Store) List(ctx context.Context, prefix, after string) iter.Seq2[storage.Entry, error] {
	return func(yield func(storage.Entry, error) bool) {
		in := &s3.ListObjectsV2Input{
			Bucket: &s.bucket, Prefix: &prefix,
			// XML can't hold every character that a key may have.
			EncodingType: types.EncodingTypeUrl,
		}
		if after != "" {
			in.StartAfter = &after
		}
		pages := s3.NewListObjectsV2Paginator(s.client, in, func(o *s3.ListObjectsV2PaginatorOptions) { o.Limit = s.opts.page })
		for pages.HasMorePages() {
			ctx := remembering(ctx)
			page, err := pages.NextPage(ctx)
			if err != nil {
				yield(storage.Entry{}, fault(ctx, "list bucket "+s.bucket, err))
				return
			}
			for _, object := range page.Contents {
				entry, ok := entryOf(object, page.EncodingType)
				if ok && !yield(entry, nil) {
					return
				}
			}
		}
	}
}

// entryOf makes an entry of what a listing tells of an object, if that is a symbol file.
func entryOf(object types.Object, encoding types.EncodingType) (storage.Entry, bool) {
	objectKey := aws.ToString(object.Key)
	if encoding == types.EncodingTypeUrl {
		plain, err := url.QueryUnescape(objectKey)
		if err != nil {
			return storage.Entry{}, false
		}
		objectKey = plain
	}
	loc, ok := storage.ParseObjectKey(objectKey)
	return storage.Entry{Location: loc, Modified: aws.ToTime(object.LastModified)}, ok
}
