package symbols

import (
	"net/http"
	"strconv"

	"github.com/labstack/echo/v4"

	"tecken-upload/internal/lookup"
	"tecken-upload/internal/web/exchange"
)

// DebugInfo answers debuginfod's clients, gdb among them, with debug information. There are no sources: they are a 404.
//
// Protocol: https://man7.org/linux/man-pages/man8/debuginfod.8.html
func (s *Server) DebugInfo(c echo.Context) error { return s.getBinary(c, lookup.DebugInfo) }

// Executable answers them with the program itself.
func (s *Server) Executable(c echo.Context) error { return s.getBinary(c, lookup.Executable) }

func (s *Server) getBinary(c echo.Context, kind lookup.Kind) error {
	r := c.Request()
	q := lookup.BinaryQuery{ID: exchange.PathComponents(r)[1], Kind: kind, Refresh: r.URL.Query().Has("_refresh")}
	find := func() (lookup.Found, error) { return s.Finder.FindBinary(r.Context(), q) }
	return s.answerFound(c, find, func(found lookup.Found) error { return s.sendFile(c, found, true) })
}

// describeBinary sets debuginfod's headers about a file.
func describeBinary(h http.Header, p *payload) {
	h.Set("X-Debuginfod-File", p.key.File())
	if p.file.Inflated >= 0 {
		h.Set("X-Debuginfod-Size", strconv.FormatInt(p.file.Inflated, 10))
	}
}
