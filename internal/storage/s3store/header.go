package s3store

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"tecken-upload/internal/storage"
	"tecken-upload/internal/upload"
)

// acceptUnsigned keeps Accept-Encoding out of the signature, since Google's front end rewrites it. It also asks for gzip: without it Google
// inflates objects stored as gzip.
func acceptUnsigned(stack *middleware.Stack) error {
	const signing = "Signing"
	if _, ok := stack.Finalize.Get(signing); !ok {
		return nil // a presigned URL
	}
	drop := finalizer("WithoutAcceptEncoding", func(_ context.Context, h http.Header) { h.Del("Accept-Encoding") })
	accept := finalizer("AcceptEncoding", func(ctx context.Context, h http.Header) {
		h.Set("Accept-Encoding", "identity")
		if awsmiddleware.GetOperationName(ctx) == "GetObject" {
			h.Set("Accept-Encoding", "gzip")
		}
	})
	return errors.Join(stack.Finalize.Insert(drop, signing, middleware.Before), stack.Finalize.Insert(accept, signing, middleware.After))
}

// finalizer changes the headers of each request.
func finalizer(id string, change func(ctx context.Context, h http.Header)) middleware.FinalizeMiddleware {
	return middleware.FinalizeMiddlewareFunc(id, func(ctx context.Context, in middleware.FinalizeInput, next middleware.FinalizeHandler) (
		middleware.FinalizeOutput, middleware.Metadata, error) {
		if r, ok := in.Request.(*smithyhttp.Request); ok {
			change(ctx, r.Header)
		}
		return next.HandleFinalize(ctx, in)
	})
}

// probeTimeout bounds a probe: we would rather know less than delay an upload.
const probeTimeout = 5 * time.Second

// errMetadataLost reports an object stored without its metadata.
var errMetadataLost = errors.New("the object was stored without its metadata")

// Advice for lost metadata.
const (
	lookAtUnderscores = "what stands before S3: request headers with an underscore in their name, as those of metadata have, do not get through it; nginx passes them on with underscores_in_headers on"
	lookAtMetadata    = "this S3, and what stands before it: the metadata that an object was stored with, original_size and original_md5_hash, are not there when it is read back"
)

// blameProxy returns err with better advice if a correctly signed request with metadata was refused: a lost header breaks the signature,
// and S3 reports only the mismatch.
func (s *Store) blameProxy(ctx context.Context, err error) error {
	refusal := refusalOf(err)
	if refusal == nil || refusal.Advice != lookAtSignature && refusal.Advice != lookAtRights {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	named := s3.WithAPIOptions(smithyhttp.SetHeaderValue("X-Amz-Meta-Original_size", "0"))
	if s.probe(ctx) == nil && refusalOf(s.probe(ctx, named)) != nil {
		refusal.Advice = lookAtUnderscores
		return refusal
	}
	return err
}

// probe sends one HEAD of the bucket.
func (s *Store) probe(ctx context.Context, options ...func(*s3.Options)) error {
	_, err := s.client.HeadBucket(ctx, &s3.HeadBucketInput{Bucket: &s.bucket}, append(options, func(o *s3.Options) {
		o.RetryMaxAttempts = 1
	})...)
	return err
}

// checkMetadata returns an error if storage has lost the metadata of the object just stored at a key as etag: no upload would ever be
// skipped. One object per Store is checked, or as many as it takes to be sure.
func (s *Store) checkMetadata(ctx context.Context, key *string, obj upload.Object, etag *string) error {
	if !s.metadataSeen.CompareAndSwap(false, true) {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	head, err := s.head(ctx, key)
	if err != nil || etag == nil || aws.ToString(head.ETag) != *etag {
		s.metadataSeen.Store(false)
		return nil
	}
	if size, sum := storage.ParseMetadata(head.Metadata); size != obj.Size || sum != obj.MD5 {
		s.metadataSeen.Store(false)
		return &upload.RefusedError{Code: "MetadataLost", Advice: lookAtMetadata, Err: errMetadataLost}
	}
	return nil
}
