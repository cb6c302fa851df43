package s3store

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/smithy-go"

	"tecken-upload/internal/upload"
)

// Advice for each kind of refusal.
const (
	lookAtRights     = "the rights of the credentials, and the bucket's policy and quota"
	lookAtKeys       = "the credentials"
	lookAtSignature  = "the secret key, and what stands before S3 and may change requests"
	lookAtClock      = "this machine's clock"
	lookAtBucket     = "bucket and endpoint in TECKEN_STORAGE_URL"
	lookAtRegion     = "region and endpoint in TECKEN_STORAGE_URL"
	lookAtEncryption = "the bucket's KMS key, and the rights of the credentials to it"
	lookAtParameters = "checksum and path_style in TECKEN_STORAGE_URL: this S3 does not know something that it is sent"
	lookAtLimits     = "the limits of this S3, and of what stands before it"
)

// codes are S3's permanent error codes, with any status, and the advice for each.
// https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html
var codes = map[string]string{
	"AccessDenied":                       lookAtRights,
	"AccountProblem":                     lookAtRights,
	"AllAccessDisabled":                  lookAtRights,
	"QuotaExceeded":                      lookAtRights,
	"AuthorizationHeaderMalformed":       lookAtRegion,
	"IllegalLocationConstraintException": lookAtRegion,
	"PermanentRedirect":                  lookAtRegion,
	"ExpiredToken":                       lookAtKeys,
	"InvalidAccessKeyId":                 lookAtKeys,
	"InvalidSecurity":                    lookAtKeys,
	"InvalidToken":                       lookAtKeys,
	"NotSignedUp":                        lookAtKeys,
	"TokenRefreshRequired":               lookAtKeys,
	"InvalidBucketName":                  lookAtBucket,
	"NoSuchBucket":                       lookAtBucket,
	"InvalidArgument":                    lookAtParameters,
	"InvalidRequest":                     lookAtParameters,
	"NotImplemented":                     lookAtParameters,
	"RequestTimeTooSkewed":               lookAtClock,
	"SignatureDoesNotMatch":              lookAtSignature,
}

// statuses are for answers without a known code: to HEAD, and from proxies.
var statuses = map[int]string{
	http.StatusMovedPermanently:      lookAtRegion,
	http.StatusPermanentRedirect:     lookAtRegion,
	http.StatusBadRequest:            lookAtLimits,
	http.StatusUnauthorized:          lookAtKeys,
	http.StatusPaymentRequired:       lookAtRights,
	http.StatusForbidden:             lookAtRights,
	http.StatusNotFound:              lookAtBucket,
	http.StatusMethodNotAllowed:      lookAtParameters,
	http.StatusLengthRequired:        lookAtParameters,
	http.StatusRequestEntityTooLarge: lookAtLimits,
	http.StatusRequestURITooLong:     lookAtLimits,
	http.StatusNotImplemented:        lookAtParameters,
}

// damaged are the codes for a body damaged on its way.
var damaged = map[string]struct{}{
	"BadDigest": {}, "IncompleteBody": {}, "XAmzContentChecksumMismatch": {}, "XAmzContentSHA256Mismatch": {},
}

// passes reports whether an error with that code may disappear in another attempt or upload, whatever its status.
func passes(code string) bool {
	for _, known := range []map[string]struct{}{damaged, retry.DefaultRetryableErrorCodes, retry.DefaultThrottleErrorCodes} {
		if _, ok := known[code]; ok {
			return true
		}
	}
	return code == "NoSuchUpload" // it was aborted meanwhile
}

// refusalOf returns err as a permanent refusal, or nil.
func refusalOf(err error) *upload.RefusedError {
	if known := (*upload.RefusedError)(nil); errors.As(err, &known) {
		return known
	}
	var code string
	if api := (smithy.APIError)(nil); errors.As(err, &api) {
		code = api.ErrorCode()
	}
	advice := codes[code]
	if advice == "" && !passes(code) {
		advice = statuses[status(err)]
	}
	if strings.HasPrefix(code, "KMS.") {
		advice = lookAtEncryption
	}
	if advice == "" {
		return nil
	}
	if code == "" || code == "UnknownError" { // the SDK's word
		code = strconv.Itoa(status(err))
	}
	return &upload.RefusedError{Code: code, Advice: advice, Err: err}
}

// kinded wraps an error of storage in its kind.
func kinded(err error) error {
	if refusal := refusalOf(err); refusal != nil {
		return refusal
	}
	return fmt.Errorf("%w: %w", upload.ErrUnavailable, err)
}
