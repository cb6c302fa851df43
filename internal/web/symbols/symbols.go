// Package symbols is the room of the web where debuggers and crash tools find symbol files: lookups as Mozilla's Tecken has them, SSQP and
// debuginfod.
//
// What can be answered without a body is, however many bodies are being sent: these have a bound of their own.
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

// downloadFaultInterval paces what is told of failing downloads: they may fail by the thousands in a second, all for
// one reason.
const downloadFaultInterval = 10 * time.Second

// Finder finds what is downloaded. It is safe for concurrent use. Its methods fail with upload.ErrNotFound,
// upload.ErrUnavailable, or the cause of ctx.
type Finder interface {
	// Find finds a symbol file, or a binary by an id of SSQP's.
	Find(ctx context.Context, q lookup.Query) (lookup.Found, error)
	// Module tells of the binary that a symbol file is of.
	Module(ctx context.Context, q lookup.Query) (catalogue.Module, error)
	// FindBinary finds the binary of a build id.
	FindBinary(ctx context.Context, q lookup.BinaryQuery) (lookup.Found, error)
	// Look describes what was found. What was remembered may be gone; then it is not found so again.
	Look(ctx context.Context, found lookup.Found) (lookup.File, error)
	// Open describes it, and opens it to be read until ctx ends.
	Open(ctx context.Context, found lookup.Found) (lookup.File, error)
	// Measure returns how many bytes a gzip file has once inflated, or -1 where that can't be told. count is given the file to
	// find that out, where it is not remembered.
	Measure(ctx context.Context, found lookup.Found, file lookup.File, count func(stored io.ReadSeeker) (int64, error)) int64
}

// Links makes addresses at which clients fetch symbol files from storage by themselves.
type Links interface {
	// URL returns the address of the object at loc, and whether it is a secret that expires.
	URL(ctx context.Context, loc upload.Location) (address string, secret bool, err error)
}

// Config is what a Server works with and within.
type Config struct {
	// Finder finds what is downloaded.
	Finder Finder
	// MaxDownloads bounds the downloads that are being sent; 0: MaxDownloads.
	MaxDownloads int
	// PublicURL is the address that clients know the server by; empty: that which a request was sent to.
	PublicURL string
	// Links are where clients fetch symbol files by themselves; nil: they are sent from here.
	Links Links
}

// Server answers the requests of debuggers and crash tools.
type Server struct {
	Config
	*exchange.Responder
	told      atomic.Int64 // when a failing download was told of last, in Unix nanoseconds
	sending   sending
	inflating inflateSlots
}

// New makes a Server.
func New(r *exchange.Responder, c Config) *Server {
	s := &Server{Config: c, Responder: r, inflating: make(inflateSlots, max(1, runtime.GOMAXPROCS(0)/2))}
	s.sending.slots = semaphore.NewWeighted(int64(cmp.Or(c.MaxDownloads, MaxDownloads)))
	return s
}

// lookupQuery says what is asked for by file, id and name, with what the request's query adds.
func lookupQuery(r *http.Request, parts []string) lookup.Query {
	query := r.URL.Query()
	q := lookup.Query{File: parts[0], ID: parts[1], Try: query.Has("try"), Refresh: query.Has("_refresh")}
	if len(parts) > 2 {
		q.Name = parts[2]
	}
	return q
}

// Symbol answers for one symbol file: HEAD whether there is one, GET with it or where it is.
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

// answerFound answers with what find finds. What it remembered may be gone: then it is asked once more.
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

// setDebugTime adds how long a lookup took, in seconds, if the client asks for it.
func setDebugTime(c echo.Context, took time.Duration) {
	if asked, err := strconv.ParseBool(c.Request().Header.Get("Debug")); err == nil && asked {
		c.Response().Header().Set("Debug-Time", strconv.FormatFloat(took.Seconds(), 'f', 6, 64))
	}
}

// refuseDownload returns the error that a failed download is answered by. That of a client that hung up says so.
func (s *Server) refuseDownload(c echo.Context, err error) error {
	r := c.Request()
	switch {
	case r.Context().Err() != nil:
		err = fmt.Errorf("%w: %w", upload.ErrClientGone, err)
	case errors.Is(err, upload.ErrBusy):
		return err // no fault, and told of as none
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

// toldLately reports whether a failing download was told of a moment ago. If not, one is to be told of now.
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

// redirect sends a client elsewhere. Crash tools follow 301 and 302 only, and the first is for ever.
func (s *Server) redirect(c echo.Context, address string) {
	c.Response().Header().Set("Location", address)
	s.WriteEmpty(c, http.StatusFound)
}

// ownAddress returns the address of a key beside the one that was asked for, with the request's own query as it was sent. It is
// relative, so that whatever stands in front of a path here stays in front of it.
func ownAddress(r *http.Request, key symbol.Key) string {
	address := "../../" + key.URLPath()
	if query := r.URL.RawQuery; query != "" {
		address += "?" + escapeQuery(query)
	}
	return address
}

// escapeQuery escapes what a query must not hold (RFC 3986, 3.4): a request line may hold a fragment, and bytes that are not
// ASCII.
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
