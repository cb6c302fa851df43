package s3store

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go"

	"tecken-upload/internal/storage"
	"tecken-upload/internal/upload"
)

// Options bound what a Store uses.
type Options struct {
	// Conns bounds the connections to storage; 0 means 24. It should exceed the concurrent Puts by a few, or lookups and health checks wait
	// for bodies to be sent.
	Conns int
	// Attempts is the number of tries of a call; 0 means 6.
	Attempts int
	// Clock is storage's clock, which the Stores of a process may share; nil: its own.
	Clock *Clock

	// Shortened by tests.
	stall, answer, lookup, maxBackoff time.Duration
	maxWhole, partSize, slice         int64
	page                              int32 // entries of a listing; 0: storage's default, 1,000
}

// Sizes of a multipart upload in bytes. S3's limits are 5 GiB for one PUT or one copied part, and 10,000 parts of at least 5 MiB.
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html
const (
	maxWhole = 5 << 30 // a larger body or copied object goes in parts
	partSize = 8 << 20 // of a body, unless that would make more than maxParts
	maxParts = 10_000
	slice    = 1 << 30 // of a copied object
)

const (
	// partShare is the share of the connections that parts may use, so that lookups and commits do not wait for them.
	partShare = 4
	// maxBuffered is the number of parts in memory, those of bodies that can't be read in place.
	maxBuffered = 4
)

// A Store is a bucket of symbol files, or a prefix in one. It implements upload.Storage.
type Store struct {
	bucket    string
	prefix    string // of each object key
	checksum  storage.Checksum
	opts      Options
	client    *s3.Client
	transport *http.Transport

	sending  chan struct{} // has an element for each part being sent
	buffered chan struct{} // has an element for each part in memory
	memory   sync.Pool     // of *[]byte

	metadataSeen atomic.Bool // or being checked
}

// Open makes a Store of c's bucket with credentials from the SDK's own chain (environment, shared files, container or instance role). It
// does not connect.
func Open(ctx context.Context, c storage.Config, opts Options) (*Store, error) {
	setDefault(&opts.Conns, defaultConns)
	setDefault(&opts.Attempts, maxAttempts)
	setDefault(&opts.stall, stallTimeout)
	setDefault(&opts.answer, answerTimeout)
	setDefault(&opts.lookup, lookupTimeout)
	setDefault(&opts.maxBackoff, maxBackoff)
	setDefault(&opts.maxWhole, maxWhole)
	setDefault(&opts.partSize, partSize)
	setDefault(&opts.slice, slice)
	if opts.Clock == nil {
		opts.Clock = new(Clock)
	}
	s := &Store{
		bucket: c.Bucket, prefix: c.Prefix, opts: opts,
		sending: make(chan struct{}, max(1, opts.Conns/partShare)), buffered: make(chan struct{}, maxBuffered),
	}
	if err := s.connect(ctx, c); err != nil {
		return nil, fmt.Errorf("open bucket %s: %w", c.Bucket, err)
	}
	return s, nil
}

func setDefault[T comparable](value *T, def T) {
	var zero T
	if *value == zero {
		*value = def
	}
}

// Close closes the connections that are not in use.
func (s *Store) Close() { s.transport.CloseIdleConnections() }

// Name returns the bucket's name.
func (s *Store) Name() string { return s.bucket }

// Stat describes the object at loc, or returns upload.ErrNotFound.
func (s *Store) Stat(ctx context.Context, loc upload.Location) (upload.Object, error) {
	ctx = remembering(ctx)
	head, err := s.head(ctx, s.key(loc))
	if err != nil {
		return upload.Object{}, s.fail(ctx, "stat", loc, missing(err))
	}
	return describe(head.Metadata, head.ContentEncoding, head.LastModified), nil
}

// Check returns an error wrapping upload.ErrUnavailable if the bucket can't be reached before ctx ends. It writes nothing: see Prove.
func (s *Store) Check(ctx context.Context) error {
	_, err := s.client.HeadBucket(ctx, &s3.HeadBucketInput{Bucket: &s.bucket}, func(o *s3.Options) {
		o.RetryMaxAttempts = checkAttempts
	})
	return checked(ctx, "check bucket "+s.bucket, err)
}

// checked returns a check's error with what it was doing. Whatever the reason, storage is not known to work.
func checked(ctx context.Context, doing string, err error) error {
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", doing, kinded(err))
	}
	return nil
}

func (s *Store) head(ctx context.Context, key *string) (*s3.HeadObjectOutput, error) {
	in := &s3.HeadObjectInput{Bucket: &s.bucket, Key: key}
	first, cancel := context.WithTimeout(ctx, s.opts.lookup)
	defer cancel()
	head, err := s.client.HeadObject(first, in)
	if err != nil && first.Err() != nil && ctx.Err() == nil {
		return s.client.HeadObject(ctx, in)
	}
	return head, err
}

// key returns the whole key of the object at loc.
func (s *Store) key(loc upload.Location) *string {
	return aws.String(s.prefix + storage.ObjectKey(loc))
}

// describe makes an Object from storage's answer.
func describe(meta map[string]string, encoding *string, modified *time.Time) upload.Object {
	obj := upload.Object{Modified: aws.ToTime(modified)}
	obj.Size, obj.MD5 = storage.ParseMetadata(meta)
	// Some servers leave the transfer's own encoding in the list: "gzip,aws-chunked".
	obj.Gzip = slices.ContainsFunc(strings.Split(aws.ToString(encoding), ","), func(e string) bool {
		return strings.TrimSpace(e) == "gzip"
	})
	return obj
}

// copySource names the object at loc as the source of a copy.
func (s *Store) copySource(loc upload.Location) *string {
	return aws.String(escapeKey(s.bucket + "/" + *s.key(loc)))
}

// status returns the HTTP status of the answer in err, or 0.
func status(err error) int {
	var answer interface{ HTTPStatusCode() int }
	if errors.As(err, &answer) {
		return answer.HTTPStatusCode()
	}
	return 0
}

// missing turns the error for a missing object into upload.ErrNotFound. For a missing bucket S3 answers the same, except in its text.
func missing(err error) error {
	var api smithy.APIError
	var noBucket *types.NoSuchBucket
	if status(err) == http.StatusNotFound && errors.As(err, &api) &&
		!errors.As(err, &noBucket) && api.ErrorCode() != "NoSuchBucket" {
		return upload.ErrNotFound
	}
	return err
}

// fail returns err with what was being done to the object at loc, and its kind.
func (s *Store) fail(ctx context.Context, doing string, loc upload.Location, err error) error {
	return fault(ctx, doing+" "+loc.Key.String(), err)
}

// fault returns err with what was being done, and its kind: storage's fault, unless the context ended, the body is faulty or the object is
// missing.
func fault(ctx context.Context, doing string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, storage.ErrBody), errors.Is(err, storage.ErrChanged), errors.Is(err, upload.ErrNotFound):
		return fmt.Errorf("%s: %w", doing, err)
	case ctx.Err() != nil:
		if last := lastAttempt(ctx); last != nil {
			return fmt.Errorf("%s: %w, after an attempt that failed: %w", doing, context.Cause(ctx), last)
		}
		return fmt.Errorf("%s: %w", doing, context.Cause(ctx))
	}
	return fmt.Errorf("%s: %w", doing, kinded(err))
}
