package s3store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"tecken-upload/internal/upload"
)

// OpenContent opens the object at loc as it is stored, still compressed where obj.Gzip says so, to be closed by the
// caller; or returns upload.ErrNotFound. Each move to another place in it costs a request. Reading fails once ctx
// ends, where storage stops sending, and after a move when the object was replaced meanwhile.
func (s *Store) OpenContent(ctx context.Context, loc upload.Location) (io.ReadSeekCloser, upload.Object, error) {
	ctx = remembering(ctx)
	got, err := s.client.GetObject(ctx, &s3.GetObjectInput{Bucket: &s.bucket, Key: s.key(loc)})
	if err != nil {
		return nil, upload.Object{}, s.fail(ctx, "open", loc, missing(err))
	}
	c := &content{store: s, ctx: ctx, loc: loc, etag: got.ETag, metadata: got.Metadata, size: aws.ToInt64(got.ContentLength), body: got.Body}
	return c, describe(got.Metadata, got.ContentEncoding, got.LastModified), nil
}

// errReplaced ends a reading of what is not there any more.
var errReplaced = errors.New("the object was replaced meanwhile")

// content is one object, read from wherever its reader is.
type content struct {
	store *Store
	ctx   context.Context //nolint:containedctx // a Reader has no other way to hear of its end
	loc   upload.Location

	etag     *string
	metadata map[string]string
	size     int64

	pos  int64         // of the next Read
	body io.ReadCloser // of the request that is under way, or nil
	at   int64         // where body is
}

// Read implements io.Reader.
func (c *content) Read(p []byte) (int, error) {
	if c.pos >= c.size {
		return 0, io.EOF
	}
	if c.body != nil && c.at != c.pos {
		_ = c.Close() // nothing more is wanted of it
	}
	if c.body == nil {
		got, err := c.store.client.GetObject(c.ctx, &s3.GetObjectInput{
			Bucket: &c.store.bucket, Key: c.store.key(c.loc), IfMatch: c.etag, Range: aws.String(fmt.Sprintf("bytes=%d-", c.pos)),
		})
		if err != nil {
			return 0, c.store.fail(c.ctx, "read", c.loc, missing(err))
		}
		c.body, c.at = got.Body, c.pos
		// versitygw looks at the ETag before it opens what it sends.
		if !maps.Equal(got.Metadata, c.metadata) {
			_ = c.Close() // nothing is wanted of it
			return 0, c.store.fail(c.ctx, "read", c.loc, errReplaced)
		}
	}
	n, err := c.body.Read(p)
	c.at += int64(n)
	c.pos = c.at
	if errors.Is(err, io.EOF) && c.pos < c.size {
		err = io.ErrUnexpectedEOF
	}
	if err != nil && !errors.Is(err, io.EOF) {
		err = c.store.fail(c.ctx, "read", c.loc, err)
	}
	return n, err
}

// Seek implements io.Seeker. It sends nothing.
func (c *content) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += c.pos
	case io.SeekEnd:
		offset += c.size
	}
	if offset < 0 {
		return 0, errors.New("seek to before the start")
	}
	c.pos = offset
	return offset, nil
}

// Close implements io.Closer.
func (c *content) Close() error {
	if c.body == nil {
		return nil
	}
	err := c.body.Close()
	c.body = nil
	return err
}
