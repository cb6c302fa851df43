package symbols

import (
	"net/http"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"tecken-upload/internal/web/exchange"
)

// syminfoBody is the facts of a module. The names are those of Mozilla's Tecken.
type syminfoBody struct {
	DebugFile string  `json:"debug_filename"`
	DebugID   string  `json:"debug_id"`
	CodeFile  string  `json:"code_file"`
	CodeID    string  `json:"code_id"`
	Generator string  `json:"generator"`
	URL       string  `json:"url"`  // of its .sym on this server
	Time      float64 `json:"time"` // of the lookup, in seconds
}

// Syminfo answers the facts of a module, by its debug file and id or by its code file and id: of a regular upload, else of a try upload.
func (s *Server) Syminfo(c echo.Context) error {
	r := c.Request()
	q := lookupQuery(r, exchange.PathComponents(r)[2:])
	start := time.Now()
	m, err := s.Finder.Module(r.Context(), q)
	took := time.Since(start)
	setDebugTime(c, took)
	if err != nil {
		return s.refuseDownload(c, err)
	}
	query := ""
	if m.Try {
		query = "?try"
	}
	s.Write(c, http.StatusOK, syminfoBody{
		DebugFile: m.DebugFile,
		DebugID:   m.DebugID,
		CodeFile:  m.CodeFile,
		CodeID:    m.CodeID,
		Generator: m.Generator,
		URL:       s.publicURL(r) + "/" + m.Key.URLPath() + query,
		Time:      took.Seconds(),
	})
	return nil
}

// publicURL returns the server's address for clients, without a final slash: as configured, or from the request, with its scheme before a
// proxy took TLS off.
func (s *Server) publicURL(r *http.Request) string {
	if s.PublicURL != "" {
		return strings.TrimRight(s.PublicURL, "/")
	}
	if scheme, _, _ := strings.Cut(r.Header.Get("X-Forwarded-Proto"), ","); strings.EqualFold(strings.TrimSpace(scheme), "https") {
		return "https://" + r.Host
	}
	return "http://" + r.Host
}
