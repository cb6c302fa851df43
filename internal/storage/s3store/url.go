package s3store

import (
	"context"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"

	"tecken-upload/internal/upload"
)

// A Linker makes addresses for clients. It makes no requests, except when the SDK renews its credentials.
type Linker struct {
	public  string // with a final slash; empty: presign
	presign *s3.PresignClient
	store   *Store
}

// NewLinker makes a Linker for the objects of s. public is the base URL, http or https, to which object keys are appended. If it is empty,
// addresses are presigned for expiry, a second to seven days.
func NewLinker(s *Store, public string, expiry time.Duration) *Linker {
	if public != "" && !strings.HasSuffix(public, "/") {
		public += "/"
	}
	presign := s3.NewPresignClient(s.client, s3.WithPresignExpires(expiry))
	return &Linker{public: public, presign: presign, store: s}
}

// URL returns the address of the object at loc, whether it exists or not, and whether it is presigned: a secret that expires and must not
// be cached.
func (l *Linker) URL(ctx context.Context, loc upload.Location) (address string, presigned bool, err error) {
	if l.public != "" {
		return l.public + escapeKey(*l.store.key(loc)), false, nil
	}
	request, err := l.presign.PresignGetObject(ctx, &s3.GetObjectInput{Bucket: &l.store.bucket, Key: l.store.key(loc)}, func(o *s3.PresignOptions) {
		o.Presigner = punctual{HTTPPresignerV4: o.Presigner, clock: l.store.opts.Clock}
	})
	if err != nil {
		return "", false, fmt.Errorf("presign %s: %w: %w", loc.Key, upload.ErrUnavailable, err)
	}
	return request.URL, true, nil
}

// escapeKey escapes everything but letters, digits, "-._~" and slashes: servers differ about other characters.
func escapeKey(objectKey string) string {
	return strings.NewReplacer("+", "%20", "%2F", "/").Replace(url.QueryEscape(objectKey))
}
