package exchange

import (
	"net/http"
	"net/url"
	"strings"
)

// PathComponents returns the components of the request's path, each decoded once; nil if one is empty.
func PathComponents(r *http.Request) []string {
	parts := strings.Split(strings.TrimPrefix(r.URL.EscapedPath(), "/"), "/")
	for i, p := range parts {
		plain, err := url.PathUnescape(p)
		if err != nil || plain == "" {
			return nil
		}
		parts[i] = plain
	}
	return parts
}
