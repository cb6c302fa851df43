// Package web speaks HTTP: it has all routes in one list, and below it a room for each kind of talk. Room uploads takes uploads, symbols
// answers lookups as in Mozilla's Tecken and debuginfod, records is the records API; Dockerflow's heartbeats are here. docs/openapi.yaml
// describes every route.
//
// Package exchange is what the rooms share. They know nothing of each other. All reading for clients (bodies, files being sent, lookups,
// records, archives by URL) has its own bound.
//
// TLS, compression of answers and access logs are left to a proxy in front.
//
// Protocol: https://github.com/mozilla-services/Dockerflow
package web

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/labstack/echo/v4"

	"tecken-upload/internal/background"
	"tecken-upload/internal/web/exchange"
	"tecken-upload/internal/web/records"
	"tecken-upload/internal/web/symbols"
	"tecken-upload/internal/web/uploads"
)

// What we would rather lose.
const (
	// headerTimeout ends a connection without a complete request header.
	headerTimeout = 20 * time.Second
	// idleTimeout closes a kept-alive connection. It is above any balancer's own idle time-out, which must be above the upload's deadline:
	// the balancer must be the one that closes, or it sends a request on a closing connection.
	idleTimeout = 15 * time.Minute
)

// Disk knows whether a disk keeps failing. It is safe for concurrent use.
type Disk interface {
	// Full reports whether to send traffic elsewhere. It asks no backing service.
	Full() bool
}

// Watcher observes requests. It is safe for concurrent use, and does not block.
type Watcher interface {
	// Request is called for each answered request. route is the route's pattern, never a path.
	Request(route, method string, status int, elapsed time.Duration)
}

// Version is the answer of /__version__.
type Version struct {
	Source  string `json:"source"`  // URL of the source
	Version string `json:"version"` // release
	Commit  string `json:"commit"`
	Build   string `json:"build"` // of the CI job that built it
}

// Config configures a Server.
type Config struct {
	Exchange exchange.Config
	Uploads  uploads.Config
	Symbols  symbols.Config // without a Finder there are no downloads
	Records  records.Config

	Watcher Watcher
	Disk    Disk
	// Misfit returns an error while the server can't work and waiting does not help, as for a missing right in the database. It returns at
	// once, without a call to a service. May be nil.
	Misfit  func() error
	Version Version
	// Checks are /__heartbeat__'s checks, by name. Their details are logged, not answered.
	Checks map[string]Check
	// Saturation returns how near the instance is to refusing uploads, from 0 to 1, and 1 while it does, for /__heartbeat__. It returns
	// when ctx ends at the latest. May be nil.
	Saturation func(ctx context.Context) float64
}

// Server answers HTTP requests.
type Server struct {
	*exchange.Responder
	config    Config
	echo      *echo.Echo
	uploads   *uploads.Server
	symbols   *symbols.Server
	records   *records.Server
	heartbeat *heartbeat
	draining  atomic.Bool
	// slashed are the paths of routes with a final slash.
	slashed map[string]bool
}

// New makes a Server. The uploads in flight end with ctx.
func New(ctx context.Context, c Config) *Server {
	r := exchange.New(ctx, c.Exchange)
	s := &Server{
		Responder: r,
		config:    c,
		echo:      echo.New(),
		uploads:   uploads.New(ctx, r, c.Uploads),
		symbols:   symbols.New(r, c.Symbols),
		records:   records.New(r, c.Records),
		heartbeat: newHeartbeat(&c),
	}
	s.echo.HTTPErrorHandler = s.HandleError
	// Addresses are for logs alone: a client's own claims are not believed.
	s.echo.IPExtractor = echo.ExtractIPDirect()
	s.echo.Pre(s.plainPaths)
	s.echo.Use(s.observe, recovered)
	s.addRoutes()
	return s
}

// HTTPServer returns a server for s, with all its time-outs. Those of bodies are set per request. Package headers bounds its headers.
func (s *Server) HTTPServer() *http.Server {
	return &http.Server{
		Handler:           s.echo,
		ReadHeaderTimeout: headerTimeout,
		IdleTimeout:       idleTimeout,
		ConnContext:       exchange.WithConn,
		ErrorLog:          slog.NewLogLogger(s.Logger.Handler(), slog.LevelWarn),
	}
}

// Drain turns the heartbeats red. Uploads are still taken: until the balancers have seen it, a refusal would only lose them.
func (s *Server) Drain() { s.draining.Store(true) }

// Refuse makes new uploads get 503.
func (s *Server) Refuse() { s.uploads.Refuse() }

func (s *Server) getVersion(c echo.Context) error {
	s.Write(c, http.StatusOK, s.config.Version)
	return nil
}

// recovered turns a handler's panic into an error.
func recovered(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) (err error) {
		defer func() {
			if v := recover(); v != nil {
				if err, ok := v.(error); ok && errors.Is(err, http.ErrAbortHandler) {
					panic(v)
				}
				err = background.Caught(v)
			}
		}()
		return next(c)
	}
}

// observe reports each request to the watcher.
func (s *Server) observe(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		start := s.Now()
		exchange.LimitBody(c) // an upload's own bounds replace this one
		// An answer cut off on purpose, by a panic, counts too.
		defer func() {
			s.config.Watcher.Request(cmp.Or(c.Path(), "none"), c.Request().Method, c.Response().Status, s.Now().Sub(start))
		}()
		if err := next(c); err != nil {
			c.Error(err)
		}
		return nil
	}
}
