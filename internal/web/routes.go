package web

import (
	"net/http"
	"slices"
	"strings"

	"github.com/labstack/echo/v4"

	"tecken-upload/internal/web/exchange"
)

// A route is a path, and the handlers of some methods.
type route struct {
	methods string
	path    string
	handle  echo.HandlerFunc
	open    bool // scripts of any site may use it
}

// routes returns all routes.
func (s *Server) routes() []route {
	routes := []route{
		{"GET HEAD", "/__lbheartbeat__", s.getLBHeartbeat, false},
		{"GET HEAD", "/__heartbeat__", s.getHeartbeat, false},
		{"GET HEAD", "/__version__", s.getVersion, false},

		{"POST", "/upload/", s.uploads.Post, false},
		{"POST", "/upload/auth_info/", s.uploads.AuthInfo, false},
		{"GET HEAD", "/upload/status/:id", s.uploads.Status, false},

		{"GET", "/api/uploads/", s.records.ListUploads, false},
		{"GET", "/api/uploads/upload/:id", s.records.OneUpload, false},
		{"GET", "/api/uploads/files/", s.records.ListFiles, false},
		{"GET", "/api/uploads/files/file/:id", s.records.OneFile, false},
		{"GET", "/api/stats/", s.records.Stats, false},
	}
	if s.config.Symbols.Finder == nil {
		return routes
	}
	return append(routes,
		route{"GET HEAD", "/:debug_file/:debug_id/:file", s.symbols.Symbol, true},
		route{"GET HEAD", "/try/:debug_file/:debug_id/:file", s.symbols.Symbol, true},
		route{"GET HEAD", "/api/syminfo/:file/:id", s.symbols.Syminfo, true},
		route{"GET HEAD", "/buildid/:id/debuginfo", s.symbols.DebugInfo, true},
		route{"GET HEAD", "/buildid/:id/executable", s.symbols.Executable, true},
	)
}

func (s *Server) addRoutes() {
	s.slashed = make(map[string]bool)
	for _, r := range s.routes() {
		handle := r.handle
		if r.open {
			handle = s.exactly(r.path, open(r.handle))
			s.echo.OPTIONS(r.path, s.exactly(r.path, s.preflight))
		}
		for _, method := range strings.Fields(r.methods) {
			s.echo.Add(method, r.path, handle)
		}
		if strings.HasSuffix(r.path, "/") {
			s.slashed[r.path] = true
		}
	}
}

// exposed are the headers that a browser shows to scripts of other sites, beside those it always shows.
const exposed = "Accept-Ranges, Content-Encoding, Content-Range, Debug-Time, ETag, Retry-After, X-Debuginfod-File, X-Debuginfod-Size"

// open lets scripts of any site read an answer.
func open(handle echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		h := c.Response().Header()
		h.Set("Access-Control-Allow-Origin", "*")
		h.Set("Access-Control-Expose-Headers", exposed)
		h.Set("X-Content-Type-Options", "nosniff")
		return handle(c)
	}
}

// preflight answers a browser's preflight request.
func (s *Server) preflight(c echo.Context) error {
	h := c.Response().Header()
	for _, r := range s.routes() {
		if !r.open && isOf(r.path, c.Request()) { // it only looks like a symbol's
			h.Set("Allow", strings.Join(strings.Fields("OPTIONS "+r.methods), ", "))
			return c.NoContent(http.StatusNoContent)
		}
	}
	h.Set("Access-Control-Allow-Origin", "*")
	h.Set("Access-Control-Allow-Methods", "GET, HEAD")
	h.Set("Access-Control-Allow-Headers", "*")
	h.Set("Access-Control-Max-Age", "86400")
	s.WriteEmpty(c, http.StatusNoContent)
	return nil
}

// exactly requires as many components in the path as in the route: Echo's last parameter takes all that follow.
func (s *Server) exactly(path string, handle echo.HandlerFunc) echo.HandlerFunc {
	components := strings.Count(path, "/")
	return func(c echo.Context) error {
		if len(exchange.PathComponents(c.Request())) != components {
			return s.noSuchRoute(c)
		}
		return handle(c)
	}
}

// noSuchRoute answers for a path that only looks like a symbol's, as if there were no routes of symbols.
func (s *Server) noSuchRoute(c echo.Context) error {
	methods := []string{http.MethodOptions}
	for _, r := range s.echo.Routes() {
		if r.Method != http.MethodOptions && isOf(r.Path, c.Request()) {
			methods = append(methods, r.Method)
		}
	}
	if len(methods) == 1 {
		return echo.ErrNotFound
	}
	slices.Sort(methods)
	c.Response().Header().Set("Allow", strings.Join(methods, ", "))
	if c.Request().Method == http.MethodOptions {
		return c.NoContent(http.StatusNoContent)
	}
	return echo.ErrMethodNotAllowed
}

// isOf reports whether a request's path is a route's.
func isOf(route string, r *http.Request) bool {
	return slices.EqualFunc(strings.Split(route, "/"), strings.Split(r.URL.EscapedPath(), "/"), func(want, got string) bool {
		return want == got || strings.HasPrefix(want, ":") && got != ""
	})
}
