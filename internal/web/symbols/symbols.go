// Package symbols is the room of the web where debuggers and crash tools find symbol files: lookups as in Mozilla's Tecken, SSQP and
// debuginfod.
//
// Answers without a body never wait for bodies being sent: these have their own bound.
//
// Protocols: https://tecken.readthedocs.io/en/latest/download.html, https://www.mankier.com/8/debuginfod#Webapi
package symbols

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/labstack/echo/v4"
	"golang.org/x/sync/semaphore"

	"tecken-upload/internal/catalogue"
	"tecken-upload/internal/lookup"
	"tecken-upload/internal/symbol"
	"tecken-upload/internal/upload"
	"tecken-upload/internal/web/exchange"
)

// downloadFaultInterval paces the reports of failing downloads: thousands may fail in a second, all for one reason.
const downloadFaultInterval = 10 * time.Second

// Finder finds files for download. It is safe for concurrent use. Its methods fail with upload.ErrNotFound, upload.ErrUnavailable, or the
// cause of ctx.
type Finder interface {
	// Find finds a symbol file, or a binary by an SSQP id.
	Find(ctx context.Context, q lookup.Query) (lookup.Found, error)
	// Module returns the binary of a symbol file.
	Module(ctx context.Context, q lookup.Query) (catalogue.Module, error)
	// FindBinary finds the binary of a build id.
	FindBinary(ctx context.Context, q lookup.BinaryQuery) (lookup.Found, error)
	// Look describes a found file. A cached file may be gone; then the next lookup misses.
	Look(ctx context.Context, found lookup.Found) (lookup.File, error)
	// Open describes it, and opens it for reading until ctx ends.
	Open(ctx context.Context, found lookup.Found) (lookup.File, error)
	// Measure returns the inflated size of a gzip file, or -1. count inflates the file for that, if the size is not cached.
	Measure(ctx context.Context, found lookup.Found, file lookup.File, count func(stored io.ReadSeeker) (int64, error)) int64
}

// Links makes addresses in storage for clients.
type Links interface {
	// URL returns the address of the object at loc, and whether it is a secret that expires.
	URL(ctx context.Context, loc upload.Location) (address string, secret bool, err error)
}

// Config configures a Server.
type Config struct {
	// Finder finds what is downloaded.
	Finder Finder
	// MaxDownloads bounds the downloads being sent; 0: MaxDownloads.
	MaxDownloads int
	// PublicURL is the server's address for clients; empty: the request's.
	PublicURL string
	// Links are for files that clients fetch from storage; nil: they are sent from here.
	Links Links
}

// Server answers the requests of debuggers and crash tools.
type Server struct {
	Config
	*exchange.Responder
	told      atomic.Int64 // time of the last report of a failing download, in Unix nanoseconds
	sending   sending
	inflating inflateSlots
}

// New makes a Server.
func New(r *exchange.Responder, c Config) *Server {
	s := &Server{Config: c, Responder: r, inflating: make(inflateSlots, max(1, runtime.GOMAXPROCS(0)/2))}
	s.sending.slots = semaphore.NewWeighted(int64(cmp.Or(c.MaxDownloads, MaxDownloads)))
	return s
}

// lookupQuery is the query for a file, id and name, with the parameters of the request.
func lookupQuery(r *http.Request, parts []string) lookup.Query {
	query := r.URL.Query()
	q := lookup.Query{File: parts[0], ID: parts[1], Try: query.Has("try"), Refresh: query.Has("_refresh")}
	if len(parts) > 2 {
		q.Name = parts[2]
	}
	return q
}

// Symbol answers for one symbol file: HEAD whether it exists, GET with it or its address.
func (s *Server) Symbol(c echo.Context) error {
	r := c.Request()
	parts := exchange.PathComponents(r)
	try := len(parts) == 4
	if try {
		parts = parts[1:]
	}
	q := lookupQuery(r, parts)
	q.Try = q.Try || try
	find := func() (lookup.Found, error) {
		start := time.Now()
		found, err := s.Finder.Find(r.Context(), q)
		setDebugTime(c, time.Since(start))
		return found, err
	}
	return s.answerFound(c, find, func(found lookup.Found) error {
		switch {
		case found.IsBinary():
			return s.sendFile(c, found, false)
		case r.Method == http.MethodHead && (found.Moved || s.Links != nil):
			c.Response().Header().Set("Content-Type", contentType(found.Location.Key))
			s.WriteEmpty(c, http.StatusOK)
			return nil
		case found.Moved:
			s.redirect(c, ownAddress(r, found.Location.Key))
			return nil
		case s.Links != nil:
			return s.redirectToStorage(c, found.Location)
		}
		return s.sendFile(c, found, false)
	})
}

// answerFound answers with find's result. A cached file may be gone: then find is called again.
func (s *Server) answerFound(c echo.Context, find func() (lookup.Found, error), answer func(lookup.Found) error) error {
	for again := false; ; again = true {
		found, err := find()
		if err != nil {
			return s.refuseDownload(c, err)
		}
		err = answer(found)
		if err != nil && (again || !errors.Is(err, upload.ErrNotFound)) {
			return s.refuseDownload(c, err)
		}
		if err == nil {
			return nil
		}
	}
}

// setDebugTime sets the duration of the lookup, in seconds, if asked for.
func setDebugTime(c echo.Context, took time.Duration) {
	if asked, err := strconv.ParseBool(c.Request().Header.Get("Debug")); err == nil && asked {
		c.Response().Header().Set("Debug-Time", strconv.FormatFloat(took.Seconds(), 'f', 6, 64))
	}
}

// refuseDownload answers for a file that can't be had. A hang-up is reported as such.
func (s *Server) refuseDownload(c echo.Context, err error) error {
	r := c.Request()
	switch {
	case r.Context().Err() != nil:
		err = fmt.Errorf("%w: %w", upload.ErrClientGone, err)
	case errors.Is(err, upload.ErrBusy):
		return err // no fault
	case errors.Is(err, upload.ErrUnavailable):
	case errors.Is(err, upload.ErrNotFound):
		err = exchange.ErrSymbolNotFound
	}
	if exchange.Status(err) >= http.StatusInternalServerError && s.toldLately(s.Now()) {
		s.Logger.DebugContext(r.Context(), "download failed", "err", err)
		s.WriteError(c, err)
		return nil
	}
	return err
}

// toldLately reports whether a failing download was reported a moment ago. If not, the caller must report this one.
func (s *Server) toldLately(at time.Time) bool {
	now, last := at.UnixNano(), s.told.Load()
	return now-last < int64(downloadFaultInterval) || !s.told.CompareAndSwap(last, now)
}

// redirectToStorage sends a client to storage.
func (s *Server) redirectToStorage(c echo.Context, loc upload.Location) error {
	address, secret, err := s.Links.URL(c.Request().Context(), loc)
	if err != nil {
		return err
	}
	if secret {
		c.Response().Header().Set("Cache-Control", "no-store")
	}
	s.redirect(c, address)
	return nil
}

// redirect sends a client elsewhere. Crash tools follow 301 and 302 only, and a 301 lasts for ever.
func (s *Server) redirect(c echo.Context, address string) {
	c.Response().Header().Set("Location", address)
	s.WriteEmpty(c, http.StatusFound)
}

// ownAddress returns the address of a key beside the requested one, with the request's own query unchanged. It is relative, so that a path
// prefix stays in front of it.
func ownAddress(r *http.Request, key symbol.Key) string {
	address := "../../" + key.URLPath()
	if query := r.URL.RawQuery; query != "" {
		address += "?" + escapeQuery(query)
	}
	return address
}

// escapeQuery escapes what a query must not hold (RFC 3986, 3.4): a request line may hold a fragment, and bytes that are not ASCII.
func escapeQuery(query string) string {
	var b strings.Builder
	for i := range len(query) {
		if c := query[i]; c <= ' ' || c > '~' || strings.IndexByte("#\"<>\\^`{|}", c) >= 0 {
			fmt.Fprintf(&b, "%%%02X", c)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

// contentType returns the media type of a symbol file. It says no charset: names in it are of any.
func contentType(key symbol.Key) string {
	if key.IsSym() {
		return "text/plain"
	}
	return "application/octet-stream"
}
