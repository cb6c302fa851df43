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

// maxSkew is the difference of clocks that explains a refusal. It is the SDK's; S3 allows 15 minutes.
const maxSkew = 4 * time.Minute

// A Clock is storage's clock, measured from its answers. The SDK corrects the requests it signs for the difference to this machine's clock,
// but not the URLs it presigns. The zero Clock is this machine's.
type Clock struct {
	ahead atomic.Int64 // of this machine's clock, in nanoseconds
}

// measure reads storage's clock in each call.
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

// tooSkewed reports whether a refused request was signed too far from storage's clock. The SDK looks at the error's code, which an answer
// to HEAD lacks and some servers change. Sending a body may take that long too.
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
