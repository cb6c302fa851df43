package config

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"
)

// maxPresignExpiry is S3's bound for the life of a presigned URL.
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/using-presigned-url.html
const maxPresignExpiry = 7 * 24 * time.Hour

// allExtensions, alone in the list, allows names with any ending.
const allExtensions = "all"

func (s *Server) validateDownloads(f *faults) {
	if s.StoragePublicURL != "" {
		f.check("TECKEN_STORAGE_PUBLIC_URL", publicURL(s.StoragePublicURL))
	}
	f.check("TECKEN_PRESIGN_EXPIRY", atLeast(s.PresignExpiry, time.Second), atMost(s.PresignExpiry, maxPresignExpiry))
	f.check("TECKEN_DOWNLOAD_EXTENSIONS", extensions(s.DownloadExtensions))
	if s.PublicURL != "" {
		f.check("TECKEN_PUBLIC_URL", publicURL(s.PublicURL))
	}
}

// LookedUp returns the endings of the names that are looked up, or nil for all names.
func (s *Server) LookedUp() List {
	if slices.Equal(s.DownloadExtensions, List{allExtensions}) {
		return nil
	}
	return s.DownloadExtensions
}

// publicURL checks a base URL for paths. Clients see it, so it must hold no secret.
func publicURL(text string) error {
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "":
		return errors.New("must be https://<host>/<path> or http://<host>/<path>")
	case u.User != nil || u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return errors.New("must have no user, query or fragment")
	}
	return nil
}

func extensions(list List) error {
	if slices.Equal(list, List{allExtensions}) {
		return nil
	}
	for _, end := range list {
		if !strings.HasPrefix(end, ".") || len(end) < 2 || strings.ContainsAny(end, "/ \t") {
			return fmt.Errorf("%q is neither an ending such as .sym nor %q alone", end, allExtensions)
		}
	}
	return nil
}

func atMost[T time.Duration | int](value, most T) error {
	if value > most {
		return fmt.Errorf("is %v, must be %v or less", value, most)
	}
	return nil
}
