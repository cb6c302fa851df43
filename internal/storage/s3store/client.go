package s3store

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go/logging"

	"tecken-upload/internal/storage"
)

// Times to wait for storage. We would rather lose an attempt than an upload: each is far below an upload's deadline (5 minutes), which
// leaves time for several attempts.
const (
	dialTimeout  = 5 * time.Second  // to connect; two lost packets fit in
	tlsTimeout   = 10 * time.Second // for the TLS handshake
	stallTimeout = 30 * time.Second // no byte of a request or an answer moves
	// From the last byte sent to the first of the answer. Longer than a stall: a server may copy an object of gigabytes before it answers.
	answerTimeout = 60 * time.Second
	// For a HEAD with all its attempts. It is then sent once more over another connection: it costs a server milliseconds.
	lookupTimeout = 8 * time.Second
	// For a 100 Continue before a large body. A server that never sends one costs this much.
	continueTimeout = time.Second
	idleTimeout     = 90 * time.Second // an unused connection is kept; S3 closes them sooner
	keepAlive       = 15 * time.Second // between probes of a silent connection
	maxBackoff      = 20 * time.Second // between attempts: random, up to 2, 4, 8, 16, then 20 s
	abortTimeout    = 2 * time.Second  // to abort a multipart upload after its context has ended
	// From the end of a part's context to its answer, where all of it was sent. Aborted before its server has dealt with it, it would stay in
	// the bucket.
	partTimeout = 3 * time.Second
)

// Attempts of one call, and of a health check, which has 2 s.
const (
	maxAttempts   = 6
	checkAttempts = 2
)

// defaultConns is the default size of the pool.
const defaultConns = 24

// connect makes the client and its pool of connections.
func (s *Store) connect(ctx context.Context, c storage.Config) error {
	load := []func(*config.LoadOptions) error{
		config.WithHTTPClient(newHTTPClient(s.opts)),
		config.WithLogger(logging.Nop{}),
		config.WithLogConfigurationWarnings(false),
	}
	if c.Region != "" {
		load = append(load, config.WithRegion(c.Region))
	}
	cfg, err := config.LoadDefaultConfig(ctx, load...)
	if err != nil {
		return err
	}
	switch {
	case cfg.Region == "" && c.Endpoint != "":
		cfg.Region = "us-east-1" // what servers other than Amazon's take for the default
	case cfg.Region == "":
		return errors.New("no region is configured")
	}
	// Loading may have made a new client that trusts the certificates in AWS_CA_BUNDLE.
	built, ok := cfg.HTTPClient.(*awshttp.BuildableClient)
	if !ok {
		return fmt.Errorf("the SDK made a %T of our HTTP client", cfg.HTTPClient)
	}
	s.transport = built.GetTransport()
	s.checksum = checksumOf(c, cfg)
	s.client = s3.NewFromConfig(cfg, s.configure, func(o *s3.Options) {
		o.UsePathStyle = c.PathStyle
		if c.Endpoint != "" {
			o.BaseEndpoint = aws.String(c.Endpoint)
		}
	})
	return nil
}

// checksumOf returns the checksum for bodies. Without one in the URL, the SDK's setting when_required means MD5: it is set for S3s without
// the newer checksums.
func checksumOf(c storage.Config, cfg aws.Config) storage.Checksum {
	switch {
	case c.Checksum != "":
		return c.Checksum
	case cfg.RequestChecksumCalculation == aws.RequestChecksumCalculationWhenRequired:
		return storage.MD5
	}
	return storage.CRC32
}

// configure sets what all S3s have in common.
func (s *Store) configure(o *s3.Options) {
	o.HTTPClient = &watchedClient{next: s.transport, stall: s.opts.stall}
	o.Retryer = newRetryer(s.opts.Attempts, s.opts.maxBackoff)
	o.DisableLogOutputChecksumValidationSkipped = true
	o.APIOptions = append(o.APIOptions, s.opts.Clock.measure, acceptUnsigned)
	if s.checksum != storage.CRC32 {
		// S3s without these checksums do not know x-amz-checksum-mode and the like either.
		o.RequestChecksumCalculation = aws.RequestChecksumCalculationWhenRequired
		o.ResponseChecksumValidation = aws.ResponseChecksumValidationWhenRequired
	}
}

// newHTTPClient returns the SDK's client with a bounded pool of connections.
func newHTTPClient(opts Options) *awshttp.BuildableClient {
	return awshttp.NewBuildableClient().
		WithDialerOptions(func(d *net.Dialer) {
			d.Timeout = dialTimeout
			d.KeepAlive = keepAlive
		}).
		WithTransportOptions(func(t *http.Transport) {
			t.MaxConnsPerHost = opts.Conns
			t.MaxIdleConnsPerHost = opts.Conns
			t.MaxIdleConns = opts.Conns
			t.IdleConnTimeout = idleTimeout
			t.TLSHandshakeTimeout = tlsTimeout
			t.ResponseHeaderTimeout = opts.answer
			t.ExpectContinueTimeout = continueTimeout
			// With HTTP/2 all bodies would share one connection, and its failures.
			t.Protocols = new(http.Protocols)
			t.Protocols.SetHTTP1(true)
			t.ForceAttemptHTTP2 = false
		})
}

// newRetryer returns the SDK's standard retryer with our additions. Faulty bodies and permanent refusals are not sent again. 429 is, and so
// is a body damaged on its way: we have checked what we sent. All calls share its quota of retries, so that an outage causes no storm.
func newRetryer(attempts int, maxBackoff time.Duration) aws.Retryer {
	return retry.NewStandard(func(o *retry.StandardOptions) {
		o.MaxAttempts = attempts
		o.MaxBackoff = maxBackoff
		o.Retryables = append([]retry.IsErrorRetryable{retry.IsErrorRetryableFunc(retryable)}, o.Retryables...)
		o.Retryables = append(o.Retryables,
			retry.RetryableHTTPStatusCode{Codes: map[int]struct{}{http.StatusTooManyRequests: {}}},
			retry.RetryableErrorCode{Codes: damaged},
		)
	})
}

// retryable returns our additions to the SDK's rules.
func retryable(err error) aws.Ternary {
	var known interface{ RetryableError() bool }
	switch {
	case errors.Is(err, storage.ErrBody):
		return aws.FalseTernary
	case errors.As(err, &known): // the SDK corrects its clock and says so
		return aws.UnknownTernary
	case tooSkewed(err):
		return aws.TrueTernary
	case refusalOf(err) != nil:
		return aws.FalseTernary
	}
	return aws.UnknownTernary
}
