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

// OpenContent opens the stored bytes of the object at loc, compressed if obj.Gzip, or returns upload.ErrNotFound. The caller closes it.
// Each seek to another offset costs a request. Reading fails once ctx ends, if storage stops sending, and after a seek if the object was
// replaced.
func (s *Store) OpenContent(ctx context.Context, loc upload.Location) (io.ReadSeekCloser, upload.Object, error) {
	ctx = remembering(ctx)
	got, err := s.client.GetObject(ctx, &s3.GetObjectInput{Bucket: &s.bucket, Key: s.key(loc)})
	if err != nil {
		return nil, upload.Object{}, s.fail(ctx, "open", loc, missing(err))
	}
	c := &content{store: s, ctx: ctx, loc: loc, etag: got.ETag, metadata: got.Metadata, size: aws.ToInt64(got.ContentLength), body: got.Body}
	return c, describe(got.Metadata, got.ContentEncoding, got.LastModified), nil
}

// errReplaced ends the reading of an object that was replaced.
var errReplaced = errors.New("the object was replaced meanwhile")

// content reads one object from the reader's current offset.
type content struct {
	store *Store
	ctx   context.Context //nolint:containedctx // a Reader has no other way to get a context
	loc   upload.Location

	etag     *string
	metadata map[string]string
	size     int64

	pos  int64         // offset of the next Read
	body io.ReadCloser // body of the current request, or nil
	at   int64         // offset in body
}

// Read implements io.Reader.
func (c *content) Read(p []byte) (int, error) {
	if c.pos >= c.size {
		return 0, io.EOF
	}
	if c.body != nil && c.at != c.pos {
		_ = c.Close() // abandoned
	}
	if c.body == nil {
		got, err := c.store.client.GetObject(c.ctx, &s3.GetObjectInput{
			Bucket: &c.store.bucket, Key: c.store.key(c.loc), IfMatch: c.etag, Range: aws.String(fmt.Sprintf("bytes=%d-", c.pos)),
		})
		if err != nil {
			return 0, c.store.fail(c.ctx, "read", c.loc, missing(err))
		}
		c.body, c.at = got.Body, c.pos
		// versitygw checks the ETag before it opens the object, so compare the metadata too.
		if !maps.Equal(got.Metadata, c.metadata) {
			_ = c.Close() // abandoned
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
