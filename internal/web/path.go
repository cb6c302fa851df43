package web

import (
	"net/url"
	"strings"

	"github.com/labstack/echo/v4"
)

// plainPaths routes requests by the path that they mean, however a client has put it together: with more slashes in front of what it
// asks for, since its base address ended with one, or without the slash that a route ends with. It does so without a redirect,
// which a POST would not survive.
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

// plainPath returns the path that is meant by one, both escaped.
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
