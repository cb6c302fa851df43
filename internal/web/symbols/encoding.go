package symbols

import (
	"net/http"
	"strconv"
	"strings"
)

// acceptsGzip reports whether a client prefers gzip to the plain form. Without a preference it gets the plain form.
// https://www.rfc-editor.org/rfc/rfc9110#section-12.5.3
func acceptsGzip(h http.Header) bool {
	gzip, rest, identity := -1.0, -1.0, -1.0 // not named
	for _, field := range h.Values("Accept-Encoding") {
		for item := range strings.SplitSeq(field, ",") {
			coding, params, _ := strings.Cut(item, ";")
			switch strings.ToLower(strings.TrimSpace(coding)) {
			case "gzip", "x-gzip":
				gzip = max(gzip, quality(params))
			case "*":
				rest = quality(params)
			case "identity":
				identity = quality(params)
			}
		}
	}
	if gzip < 0 {
		gzip = rest
	}
	return gzip > 0 && gzip >= identity
}

// quality returns the weight in the parameters of a coding, 0 to 1; an unreadable one refuses the coding.
func quality(params string) float64 {
	for param := range strings.SplitSeq(params, ";") {
		name, value, _ := strings.Cut(param, "=")
		if !strings.EqualFold(strings.TrimSpace(name), "q") {
			continue
		}
		q, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
		if err != nil || !(q >= 0 && q <= 1) {
			return 0
		}
		return q
	}
	return 1
}
