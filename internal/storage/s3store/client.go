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

// How long we wait for storage. Rather lose an attempt than an upload: each of these is far below the
// deadline of an upload (5 minutes), so that it sees several attempts.
const (
	dialTimeout  = 5 * time.Second  // to connect; a packet lost twice fits in
	tlsTimeout   = 10 * time.Second // to agree on keys
	stallTimeout = 30 * time.Second // no progress: while no byte of a request or an answer moves
	// From the last byte sent to the first of the answer. Longer than a stall: a server may copy an
	// object of gigabytes before it answers.
	answerTimeout = 60 * time.Second
	// For a HEAD with all its attempts. Then it is sent once more, over another connection: it costs a server milliseconds.
	lookupTimeout = 8 * time.Second
	// For a 100 Continue before a large body. A server that never sends one only costs this much.
	continueTimeout = time.Second
	idleTimeout     = 90 * time.Second // an unused connection is kept; S3 closes them sooner
	keepAlive       = 15 * time.Second // between probes of a silent connection
	maxBackoff      = 20 * time.Second // between attempts: at random up to 2, 4, 8, 16, then this
	abortTimeout    = 10 * time.Second // to abort a multipart upload after its context has ended
)

// Attempts of one call, and of a health check, which has only 2 s.
const (
	maxAttempts   = 6
	checkAttempts = 2
)

// defaultConns is the size of the pool where Options do not say.
const defaultConns = 24

// connect makes the client, and the transport that holds its connections.
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
	// Loading may have made a new one, to trust the certificates in AWS_CA_BUNDLE.
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

// checksumOf returns what bodies are checked by. Where the URL does not say, it is what the SDK knows as "where it is required":
// those who set that have an S3 that knows none of the newer ones.
func checksumOf(c storage.Config, cfg aws.Config) storage.Checksum {
	switch {
	case c.Checksum != "":
		return c.Checksum
	case cfg.RequestChecksumCalculation == aws.RequestChecksumCalculationWhenRequired:
		return storage.MD5
	}
	return storage.CRC32
}

// configure sets what is the same for every S3.
func (s *Store) configure(o *s3.Options) {
	o.HTTPClient = &watchedClient{next: s.transport, stall: s.opts.stall}
	o.Retryer = newRetryer(s.opts.Attempts, s.opts.maxBackoff)
	o.DisableLogOutputChecksumValidationSkipped = true
	o.APIOptions = append(o.APIOptions, s.opts.Clock.measure, acceptUnsigned)
	if s.checksum != storage.CRC32 {
		// Nor are x-amz-checksum-mode and the like known where these are not.
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
			// With HTTP/2 all bodies would share one connection, and its fate.
			t.Protocols = new(http.Protocols)
			t.Protocols.SetHTTP1(true)
			t.ForceAttemptHTTP2 = false
		})
}

// newRetryer returns the SDK's standard retryer, with what it misses: a body that is at fault is not sent
// again, nor is what storage refuses for good; 429 is; and so is one that was damaged on its way, for we have checked what we sent.
// Its quota of retries is shared by all calls, so that an outage is not answered with a storm.
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

// retryable reports what we know better than the SDK.
func retryable(err error) aws.Ternary {
	var known interface{ RetryableError() bool }
	switch {
	case errors.Is(err, storage.ErrBody):
		return aws.FalseTernary
	case errors.As(err, &known): // the SDK says so of a clock that it corrects
		return aws.UnknownTernary
	case tooSkewed(err):
		return aws.TrueTernary
	case refusalOf(err) != nil:
		return aws.FalseTernary
	}
	return aws.UnknownTernary
}
