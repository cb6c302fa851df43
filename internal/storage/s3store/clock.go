package s3store

import (
	"context"
	"errors"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go/middleware"
)

// maxSkew is by how much clocks may differ before that is taken for the reason of a refusal. It is the SDK's; S3 allows 15 minutes.
const maxSkew = 4 * time.Minute

// A Clock is storage's, by the answers that came. The SDK corrects what it signs for the difference to this machine's by itself, but
// not what it presigns. The zero Clock is this machine's.
type Clock struct {
	ahead atomic.Int64 // of this machine's, in nanoseconds
}

// measure adds to each call what reads storage's clock.
func (c *Clock) measure(stack *middleware.Stack) error {
	return stack.Finalize.Add(middleware.FinalizeMiddlewareFunc("MeasureClock", func(
		ctx context.Context, in middleware.FinalizeInput, next middleware.FinalizeHandler,
	) (middleware.FinalizeOutput, middleware.Metadata, error) {
		out, answer, err := next.HandleFinalize(ctx, in)
		if ahead, ok := awsmiddleware.GetAttemptSkew(answer); ok {
			c.ahead.Store(int64(ahead))
		}
		return out, answer, err
	}), middleware.Before)
}

// punctual presigns by storage's clock.
type punctual struct {
	s3.HTTPPresignerV4
	clock *Clock
}

// PresignHTTP implements s3.HTTPPresignerV4.
func (p punctual) PresignHTTP(ctx context.Context, credentials aws.Credentials, r *http.Request, payloadHash, service, region string,
	at time.Time, options ...func(*v4.SignerOptions)) (string, http.Header, error) {
	at = at.Add(time.Duration(p.clock.ahead.Load()))
	return p.HTTPPresignerV4.PresignHTTP(ctx, credentials, r, payloadHash, service, region, at, options...)
}

// tooSkewed reports whether a request was refused that had been signed by a clock that is too far from storage's. The SDK goes by
// the code of the error, which an answer to HEAD has not, and some servers give another one. Sending a body may take that long.
func tooSkewed(err error) bool {
	answer := (*awshttp.ResponseError)(nil)
	if !errors.As(err, &answer) || answer.Response == nil || answer.Response.StatusCode != http.StatusForbidden {
		return false
	}
	request := answer.Response.Request
	if request == nil || request.ContentLength > 0 {
		return false
	}
	signed, signedErr := time.Parse("20060102T150405Z", request.Header.Get("X-Amz-Date"))
	date, dateErr := http.ParseTime(answer.Response.Header.Get("Date"))
	return signedErr == nil && dateErr == nil && date.Sub(signed).Abs() > maxSkew
}
