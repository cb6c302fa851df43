package uploads

import (
	"context"
	"net/http"
	"strconv"
	"strings"

	"github.com/labstack/echo/v4"

	"tecken-upload/internal/background"
	"tecken-upload/internal/upload"
)

// respondAsync is the preference of a client that wants its answer before the upload has ended. RFC 7240, section 4.1.
const respondAsync = "respond-async"

// prefersAsync reports whether a request has that preference. RFC 7240, section 2: names are of any case, preferences may have parameters,
// and an empty value means no value.
func prefersAsync(h http.Header) bool {
	for _, line := range h.Values("Prefer") {
		for _, preference := range splitUnquoted(line, ',') {
			name, value, _ := strings.Cut(splitUnquoted(preference, ';')[0], "=")
			if strings.EqualFold(strings.TrimSpace(name), respondAsync) && strings.Trim(value, "\" \t") == "" {
				return true
			}
		}
	}
	return false
}

// splitUnquoted splits s at each separator outside of quoted strings.
func splitUnquoted(s string, separator byte) (parts []string) {
	quoted, from := false, 0
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '"':
			quoted = !quoted
		case quoted && s[i] == '\\':
			i++
		case !quoted && s[i] == separator:
			parts = append(parts, s[from:i])
			from = i + 1
		}
	}
	return append(parts, s[from:])
}

// A result is a request's answer: an ended upload, or one that goes on without its client.
type result struct {
	report   *upload.Report
	accepted *upload.Upload
}

// runOn runs an upload that goes on without its client once all of the body is in. end is called when the upload has ended.
func (s *Server) runOn(ctx context.Context, req upload.Request, end func()) result {
	accepted, ended := make(chan upload.Upload, 1), make(chan *upload.Report, 1)
	req.Accepted = func(u upload.Upload) { accepted <- u }
	background.Go("upload", func() {
		defer end()
		var report *upload.Report
		if err := background.Try(func() error {
			report = s.Uploads.Run(ctx, req)
			return nil
		}); err != nil {
			report = &upload.Report{Err: err}
		}
		ended <- report
	})
	var r result
	select {
	case u := <-accepted:
		r.accepted = &u
	case r.report = <-ended:
		select {
		case u := <-accepted: // and the upload ended at once
			r.accepted = &u
		default:
		}
	}
	return r
}

// answerAccepted answers a client that need not wait for its upload.
func (s *Server) answerAccepted(c echo.Context, u *upload.Upload) {
	h := c.Response().Header()
	h.Set("Preference-Applied", respondAsync)
	h.Set("Location", "/upload/status/"+strconv.FormatInt(u.ID, 10))
	s.Write(c, http.StatusAccepted, newStatusBody(u))
}
