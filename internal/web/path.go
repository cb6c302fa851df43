package web

import (
	"net/url"
	"strings"

	"github.com/labstack/echo/v4"
)

// plainPaths routes requests by the path they mean: without extra slashes in front, left from a base address, and with a route's missing
// last slash. It does so without a redirect, which a POST would not survive.
func (s *Server) plainPaths(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		u := c.Request().URL
		sent := u.EscapedPath()
		if plain := s.plainPath(sent); plain != sent {
			if path, err := url.PathUnescape(plain); err == nil {
				u.Path, u.RawPath = path, plain
			}
		}
		return next(c)
	}
}

// plainPath returns the meant path; both are escaped.
func (s *Server) plainPath(path string) string {
	rest := strings.TrimLeft(path, "/")
	if rest == path {
		return path // an asterisk
	}
	if tried, ok := strings.CutPrefix(rest, "try/"); ok {
		rest = "try/" + strings.TrimLeft(tried, "/")
	}
	path = "/" + rest
	if s.slashed[path+"/"] {
		return path + "/"
	}
	return path
}
