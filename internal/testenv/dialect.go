package testenv

import (
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
)

// A dialect is a proxy that gives an S3 server the refusals and changes of another one.
type dialect struct {
	// refuse returns the status, code and message of a refusal; 0: none.
	refuse func(r *http.Request) (status int, code, message string)
	// change changes another request on its way; may be nil.
	change func(r *http.Request)
	// answered sees the server's answer; may be nil.
	answered func(resp *http.Response)
	// ahead is the lead of its clock over this machine's.
	ahead time.Duration
}

// start returns the proxy's endpoint.
func (d dialect) start(t testing.TB, server S3Server) string {
	t.Helper()
	pass := passS3(t, server.Endpoint)
	forward := pass.Rewrite
	pass.Rewrite = func(p *httputil.ProxyRequest) {
		forward(p)
		if d.change != nil {
			d.change(p.Out)
		}
	}
	date := func(h http.Header) { h.Set("Date", time.Now().Add(d.ahead).UTC().Format(http.TimeFormat)) }
	pass.ModifyResponse = func(resp *http.Response) error {
		date(resp.Header)
		if d.answered != nil {
			d.answered(resp)
		}
		return nil
	}
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if d.refuse != nil {
			if status, code, message := d.refuse(r); status != 0 {
				date(w.Header())
				answerError(w, r, status, code, message)
				return
			}
		}
		pass.ServeHTTP(w, r)
	}))
	t.Cleanup(front.Close)
	return front.URL
}

// Backblaze returns the endpoint of the server as a Backblaze B2. It knows no checksum but Content-MD5.
func Backblaze(t testing.TB, server S3Server) string {
	t.Helper()
	return dialect{refuse: func(r *http.Request) (int, string, string) {
		for name := range r.Header {
			name = strings.ToLower(name)
			if strings.HasPrefix(name, "x-amz-checksum-") || name == "x-amz-sdk-checksum-algorithm" || name == "x-amz-trailer" {
				return http.StatusBadRequest, "InvalidArgument", "Unsupported header '" + name + "' received for this API call."
			}
		}
		return 0, "", ""
	}}.start(t, server)
}

// OldCeph returns the endpoint of the server as a Ceph before 2025. It knows no checksums in trailers, and ignores others: a body that it
// could not check fails the test.
func OldCeph(t testing.TB, server S3Server) string {
	t.Helper()
	return dialect{refuse: func(r *http.Request) (int, string, string) {
		hash := r.Header.Get("X-Amz-Content-Sha256")
		if strings.HasPrefix(hash, "STREAMING-") || r.Header.Get("X-Amz-Trailer") != "" {
			return http.StatusNotImplemented, "NotImplemented", "A header you provided implies functionality that is not implemented"
		}
		if r.ContentLength > 0 && hash == "UNSIGNED-PAYLOAD" && r.Header.Get("Content-Md5") == "" {
			t.Errorf("%s %s: nothing to check its body by", r.Method, r.URL)
		}
		return 0, "", ""
	}}.start(t, server)
}

// Google returns the endpoint of the server as a Google Cloud Storage. Its front end rewrites Accept-Encoding, and inflates objects stored
// as gzip, without a length, for requests that do not accept gzip: such a request fails the test.
func Google(t testing.TB, server S3Server) string {
	t.Helper()
	return dialect{
		change: func(r *http.Request) {
			r.Header.Set("Accept-Encoding", strings.TrimPrefix(r.Header.Get("Accept-Encoding")+",gzip(gfe)", ","))
		},
		answered: func(resp *http.Response) {
			r := resp.Request
			asked, _, _ := strings.Cut(r.Header.Get("Accept-Encoding"), ",gzip(gfe)")
			if r.Method == http.MethodGet && resp.Header.Get("Content-Encoding") == "gzip" && !strings.Contains(asked, "gzip") {
				t.Errorf("%s %s accepts %q alone: Google inflates the object", r.Method, r.URL, asked)
			}
		},
	}.start(t, server)
}

// Forgetful returns the endpoint of the server without metadata.
func Forgetful(t testing.TB, server S3Server) string {
	t.Helper()
	return dialect{answered: func(resp *http.Response) {
		for name := range resp.Header {
			if strings.HasPrefix(name, "X-Amz-Meta-") {
				resp.Header.Del(name)
			}
		}
	}}.start(t, server)
}

// Ahead returns the endpoint of the server with a clock ahead of this machine's.
func Ahead(by time.Duration) func(t testing.TB, server S3Server) string {
	return func(t testing.TB, server S3Server) string {
		t.Helper()
		return dialect{
			refuse: func(r *http.Request) (int, string, string) { return tooSkewed(r, time.Now().Add(by)) },
			change: func(r *http.Request) { server.sign(t, r) },
			ahead:  by,
		}.start(t, server)
	}
}

// amzDate is the form of signed dates.
const amzDate = "20060102T150405Z"

// tooSkewed refuses a request signed too long before or after now.
// https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-authenticating-requests.html
func tooSkewed(r *http.Request, now time.Time) (int, string, string) {
	const allowed = 15 * time.Minute
	if signed, err := time.Parse(amzDate, r.Header.Get("X-Amz-Date")); err == nil {
		if now.Sub(signed).Abs() > allowed {
			return http.StatusForbidden, "RequestTimeTooSkewed", "The difference between the request time and the current time is too large."
		}
		return 0, "", ""
	}
	query := r.URL.Query()
	signed, err := time.Parse(amzDate, query.Get("X-Amz-Date"))
	seconds, secondsErr := strconv.Atoi(query.Get("X-Amz-Expires"))
	switch {
	case err != nil || secondsErr != nil:
		return http.StatusForbidden, "AccessDenied", "Access Denied"
	case now.After(signed.Add(time.Duration(seconds) * time.Second)):
		return http.StatusForbidden, "AccessDenied", "Request has expired"
	case signed.After(now.Add(allowed)):
		return http.StatusForbidden, "AccessDenied", "Request is not valid yet"
	}
	return 0, "", ""
}

// sign signs a request again, for another time.
func (s S3Server) sign(t testing.TB, r *http.Request) {
	query := r.URL.Query()
	for name := range query {
		if strings.HasPrefix(name, "X-Amz-") {
			query.Del(name)
		}
	}
	r.URL.RawQuery = query.Encode()
	for _, name := range []string{"Authorization", "X-Amz-Date"} {
		r.Header.Del(name)
	}
	hash := r.Header.Get("X-Amz-Content-Sha256")
	if hash == "" {
		hash = "UNSIGNED-PAYLOAD"
		r.Header.Set("X-Amz-Content-Sha256", hash)
	}
	signer := v4.NewSigner(func(o *v4.SignerOptions) { o.DisableURIPathEscaping = true })
	keys := aws.Credentials{AccessKeyID: s.Access, SecretAccessKey: s.Secret}
	if err := signer.SignHTTP(r.Context(), keys, r, hash, "s3", s.Region, time.Now()); err != nil {
		t.Errorf("sign %s %s: %v", r.Method, r.URL, err)
	}
}
