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

// newClient returns the client, and the transport that holds its connections.
func newClient(ctx context.Context, c storage.Config, opts Options) (*s3.Client, *http.Transport, error) {
	load := []func(*config.LoadOptions) error{
		config.WithHTTPClient(newHTTPClient(opts)),
		config.WithLogger(logging.Nop{}),
		config.WithLogConfigurationWarnings(false),
	}
	if c.Region != "" {
		load = append(load, config.WithRegion(c.Region))
	}
	cfg, err := config.LoadDefaultConfig(ctx, load...)
	if err != nil {
		return nil, nil, err
	}
	switch {
	case cfg.Region == "" && c.Endpoint != "":
		cfg.Region = "us-east-1" // what servers other than Amazon's take for the default
	case cfg.Region == "":
		return nil, nil, errors.New("no region is configured")
	}
	// Loading may have made a new one, to trust the certificates in AWS_CA_BUNDLE.
	built, ok := cfg.HTTPClient.(*awshttp.BuildableClient)
	if !ok {
		return nil, nil, fmt.Errorf("the SDK made a %T of our HTTP client", cfg.HTTPClient)
	}
	transport := built.GetTransport()
	client := s3.NewFromConfig(cfg, func(o *s3.Options) {
		o.HTTPClient = &watchedClient{next: transport, stall: opts.stall}
		o.Retryer = newRetryer(opts.Attempts, opts.maxBackoff)
		o.UsePathStyle = c.PathStyle
		o.DisableLogOutputChecksumValidationSkipped = true
		if c.Endpoint != "" {
			o.BaseEndpoint = aws.String(c.Endpoint)
		}
	})
	return client, transport, nil
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
// again; 429 is; and so is one that was damaged on its way, for we have checked what we sent. Its quota
// of retries is shared by all calls, so that an outage is not answered with a storm.
func newRetryer(attempts int, maxBackoff time.Duration) aws.Retryer {
	return retry.NewStandard(func(o *retry.StandardOptions) {
		o.MaxAttempts = attempts
		o.MaxBackoff = maxBackoff
		bodyAtFault := retry.IsErrorRetryableFunc(func(err error) aws.Ternary {
			if errors.Is(err, storage.ErrBody) {
				return aws.FalseTernary
			}
			return aws.UnknownTernary
		})
		o.Retryables = append([]retry.IsErrorRetryable{bodyAtFault}, o.Retryables...)
		o.Retryables = append(o.Retryables,
			retry.RetryableHTTPStatusCode{Codes: map[int]struct{}{http.StatusTooManyRequests: {}}},
			retry.RetryableErrorCode{Codes: map[string]struct{}{"BadDigest": {}, "XAmzContentChecksumMismatch": {}}},
		)
	})
}
