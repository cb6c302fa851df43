// Package web speaks HTTP: uploads, downloads and lookups as Mozilla's Tecken has them, debuginfod, the records API, and the
// heartbeats of Dockerflow. docs/openapi.yaml describes every route.
//
// Answers are JSON, but for symbol files and redirects to them; every error is {"error": "<one sentence>"}, but for requests that
// net/http itself can't read. The one table from error to status stands in errors.go. An upload is refused before its
// body where that is possible; the answer is then written at once, and the body is read and thrown away, because clients that
// see their connection break never learn why. Whatever is read for somebody (bodies, files being sent, lookups, records,
// archives by URL) has a bound of its own.
//
// TLS, compression of answers and access logs are left to what stands in front of it.
//
// Protocols: https://tecken.readthedocs.io/en/latest/upload.html, https://tecken.readthedocs.io/en/latest/download.html,
// https://www.mankier.com/8/debuginfod#Webapi, https://github.com/mozilla-services/Dockerflow
package web

import (
	"cmp"
	"context"
	"log/slog"
	"net/http"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/labstack/echo/v4"
	"golang.org/x/sync/semaphore"

	"tecken-upload/internal/fetch"
	"tecken-upload/internal/upload"
)

// What we would rather lose.
const (
	// headerTimeout ends a connection that does not get its request's header across.
	headerTimeout = 20 * time.Second
	// idleTimeout closes a kept-alive connection. It is above any balancer's own idle time-out, which is to
	// be above the upload's deadline: of the two, the balancer must be the one that closes, or it sends a
	// request on a connection that is just going away.
	idleTimeout = 15 * time.Minute
	// answerTimeout bounds writing an answer to a client that does not read.
	answerTimeout = 30 * time.Second
	// tokenTimeout bounds looking up a token, while the client waits with its body.
	tokenTimeout = 5 * time.Second
)

// Tokens knows the API tokens.
type Tokens interface {
	// Token returns the token of that hash, expired or revoked ones too, or upload.ErrNotFound, or
	// an error wrapping upload.ErrUnavailable.
	Token(ctx context.Context, hash upload.TokenHash) (upload.Token, error)
}

// Gate decides whether this instance takes one more upload.
type Gate interface {
	// Enter admits an upload by the bearer of a token, of so many bytes, or -1, waiting in reason. It fails with the
	// cause of ctx, or an error wrapping an *upload.BusyError, spool.ErrFull or upload.ErrUnavailable.
	Enter(ctx context.Context, token upload.Token, size int64) (upload.Place, error)
	// Contended reports whether uploads wait, or were refused a moment ago, for room that others hold.
	Contended() bool
	// Fetching tells that an upload has its turn to be fetched from elsewhere; ended is called once it has had it.
	Fetching() (ended func())
	// RefuseFetch counts an upload that got no such turn while so many others wait, and makes its error. own says that turns are left,
	// but its tenant has as many as one may have.
	RefuseFetch(waiting int, own bool) *upload.BusyError
}

// Disk knows whether the disk keeps filling up. It is safe for concurrent use.
type Disk interface {
	// Note takes the error of an upload, or nil; it counts those that mean a full disk.
	Note(err error)
	// Full reports whether to send traffic elsewhere. It touches no backing service.
	Full() bool
}

// Uploads runs uploads.
type Uploads interface {
	// Run takes an upload from its first byte to its recorded end.
	Run(ctx context.Context, req upload.Request) *upload.Report
}

// Watcher is told what went through the server. It is safe for concurrent use, and does not block.
type Watcher interface {
	upload.Observer
	// Request is called for each request that was answered. route is the route's pattern, never a path.
	Request(route, method string, status int, elapsed time.Duration)
	// Refused is called for each upload that was refused before it was begun, and for those that ended for want of room. reason is one of
	// RefusalReasons; failed says that it is a failure of ours, one of FailureCauses, of which no upload's record tells.
	Refused(reason string, failed bool)
	// Fault is called for each request that failed by our fault, other than an upload that was begun.
	Fault(ctx context.Context, f *Fault)
}

// Version says what is running; it is the answer of /__version__.
type Version struct {
	Source  string `json:"source"`  // URL of the source
	Version string `json:"version"` // release
	Commit  string `json:"commit"`
	Build   string `json:"build"` // of the CI job that built it
}

// Config is what a Server works with and within.
type Config struct {
	Tokens  Tokens
	Gate    Gate
	Uploads Uploads
	Disk    Disk
	// Misfit returns an error while the server can't work and waiting does not help, as with a missing right in the database. It
	// returns what is known, without a call to a service, and may be nil.
	Misfit  func() error
	Watcher Watcher
	Logger  *slog.Logger
	Version Version
	// Checks are what /__heartbeat__ looks at, by the name it answers with. Their details are logged, not answered.
	Checks map[string]Check
	// Saturation tells how near the instance is to refusing uploads, from 0 to 1, and is 1 while it does; /__heartbeat__ answers with
	// it. It returns when ctx ends at the latest. Nil: that is not told.
	Saturation func(ctx context.Context) float64
	// MaxUploadSize is the largest archive, in bytes. The body around it may have a MiB more.
	MaxUploadSize int64
	// ReceiveTimeout bounds the receiving of one body, ReceiveStallTimeout the time between two of its bytes.
	ReceiveTimeout, ReceiveStallTimeout time.Duration
	// ReceiveMinRate is the slowest that a body may arrive, in bytes a second over a minute, while others are
	// refused for room. 0: however slow.
	ReceiveMinRate int64
	// Now is the clock; time.Now outside of tests.
	Now func() time.Time
	// Fetch downloads what is uploaded by URL.
	Fetch *fetch.Client
	// MaxFetches bounds the downloads in progress, at least 1; FetchQueue those that were admitted and wait for their turn,
	// a part of it for tenants that have nothing of both.
	MaxFetches, FetchQueue int
	// FetchWait is how long an upload by URL waits for its turn, the time at the gate included.
	FetchWait time.Duration
	// Symbols finds what is downloaded; nil: there are no downloads.
	Symbols Symbols
	// MaxDownloads bounds the downloads that are being sent; 0: 256.
	MaxDownloads int
	// PublicURL is the address that clients know the server by; empty: that which a request was sent to.
	PublicURL string
	// Links are where clients fetch symbol files by themselves; nil: they are sent from here.
	Links Links
	// UploadRecords and FileRecords are what the API of records shows.
	UploadRecords UploadRecords
	FileRecords   FileRecords
	// RecordReads bounds those who read records, each with a connection to the database: at most 2; 0: 2.
	RecordReads int
}

// Server answers HTTP requests.
type Server struct {
	Config
	echo      *echo.Echo
	heartbeat *heartbeat
	draining  atomic.Bool
	// refusing ends when no upload is admitted any more; refuseAll ends it.
	refusing  context.Context
	refuseAll context.CancelCauseFunc
	// stopping ends when the server has waited for the uploads in flight long enough; stop ends it.
	stopping context.Context
	stop     context.CancelCauseFunc
	drains   sync.WaitGroup // bodies of refused uploads that are still being read
	fetches  *fetchTurns

	downloads downloads
	// slashed are the paths of routes that end with a slash.
	slashed map[string]bool
	// recordReads are the turns of those who read records.
	recordReads *semaphore.Weighted
}

// New makes a Server. The uploads in flight end with ctx.
func New(ctx context.Context, c Config) *Server {
	s := &Server{Config: c, echo: echo.New(), heartbeat: newHeartbeat(&c)}
	s.fetches = newFetchTurns(c.MaxFetches, c.FetchQueue)
	s.downloads.sending.places = semaphore.NewWeighted(int64(cmp.Or(c.MaxDownloads, MaxDownloads)))
	s.downloads.inflating = make(inflateTurns, max(1, runtime.GOMAXPROCS(0)/2))
	s.recordReads = semaphore.NewWeighted(int64(min(cmp.Or(c.RecordReads, maxRecordReads), maxRecordReads)))
	s.stopping, s.stop = context.WithCancelCause(ctx)
	s.refusing, s.refuseAll = context.WithCancelCause(ctx)
	s.routes()
	return s
}

func (s *Server) routes() {
	e := s.echo
	e.HTTPErrorHandler = s.handleError
	// Addresses are for logs alone: what a client claims of itself is not believed.
	e.IPExtractor = echo.ExtractIPDirect()
	e.Pre(s.plainPaths)
	e.Use(s.observe, s.recover)
	e.POST("/upload/", s.postUpload)
	for _, method := range []string{http.MethodGet, http.MethodHead} {
		e.Add(method, "/__lbheartbeat__", s.getLBHeartbeat)
		e.Add(method, "/__heartbeat__", s.getHeartbeat)
		e.Add(method, "/__version__", s.getVersion)
	}
	s.downloadRoutes()
	s.recordRoutes()
	s.slashed = slashedPaths(e.Routes())
}

// HTTPServer returns a server for s, with all its time-outs. Those of bodies are set per request. Package headers bounds its headers.
func (s *Server) HTTPServer() *http.Server {
	return &http.Server{
		Handler:           s.echo,
		ReadHeaderTimeout: headerTimeout,
		IdleTimeout:       idleTimeout,
		ConnContext:       withConn,
		ErrorLog:          slog.NewLogLogger(s.Logger.Handler(), slog.LevelWarn),
	}
}

// Drain turns the heartbeats red. Uploads are still taken: until the balancers have seen it, refusing one
// would only lose it.
func (s *Server) Drain() { s.draining.Store(true) }

// Refuse makes new uploads be answered 503.
func (s *Server) Refuse() { s.refuseAll(upload.ErrShutdown) }

// Stop ends the uploads in flight. They answer 503 and are recorded as interrupted.
func (s *Server) Stop() { s.stop(upload.ErrShutdown) }

// Wait waits for the bodies of refused uploads: some of their connections are out of an http.Server's sight.
// After Stop that takes a second or so.
func (s *Server) Wait() { s.drains.Wait() }

func (s *Server) getVersion(c echo.Context) error {
	s.write(c, http.StatusOK, s.Version)
	return nil
}
