// Package uploads is the room of the web where uploads come in: multipart forms that bring an archive, forms that name its URL, what a
// client asks about its token before, and how far an upload is that its client does not wait for.
//
// An upload is refused before its body where that is possible. Bodies that arrive and archives that are fetched by URL have bounds of
// their own.
//
// Protocol: https://tecken.readthedocs.io/en/latest/upload.html
package uploads

import (
	"context"
	"time"

	"golang.org/x/sync/semaphore"

	"tecken-upload/internal/fetch"
	"tecken-upload/internal/gate"
	"tecken-upload/internal/upload"
	"tecken-upload/internal/web/exchange"
)

// Gate decides whether this instance takes one more upload.
type Gate interface {
	// Enter admits an upload by the bearer of a token, of so many bytes, or -1, waiting in reason. It fails with the
	// cause of ctx, or an error wrapping an *upload.BusyError, spool.ErrFull or upload.ErrUnavailable.
	Enter(ctx context.Context, token upload.Token, size int64) (*gate.Pass, error)
}

// Disk counts the errors that mean a full disk. It is safe for concurrent use.
type Disk interface {
	// Note takes the error of an upload that was not begun.
	Note(err error)
}

// Runner runs uploads.
type Runner interface {
	// Run takes an upload from its first byte to its recorded end.
	Run(ctx context.Context, req upload.Request) *upload.Report
	// InFlight returns an upload that runs here, as it is now.
	InFlight(id int64) (upload.Upload, bool)
}

// Watcher observes uploads. It is safe for concurrent use, and does not block.
type Watcher interface {
	// Refused is called for each upload that was refused before it was begun. reason is one of
	// exchange.RefusalReasons; failed says that it is a failure of ours, one of exchange.FailureCauses, of which no upload's record tells.
	Refused(reason string, failed bool)
}

// Config is what a Server works with and within.
type Config struct {
	Gate    Gate
	Uploads Runner
	Records Records
	Disk    Disk
	Watcher Watcher
	// MaxUploadSize is the largest archive, in bytes. The body around it may have a MiB more.
	MaxUploadSize int64
	// ReceiveTimeout bounds the receiving of one body, ReceiveStallTimeout the time between two of its bytes.
	ReceiveTimeout, ReceiveStallTimeout time.Duration
	// ReceiveMinRate is the slowest that a body may arrive, in bytes a second over a minute, while others are
	// refused for room. 0: however slow.
	ReceiveMinRate int64
	// Fetch downloads what is uploaded by URL.
	Fetch *fetch.Client
}

// Server answers the requests of upload clients.
type Server struct {
	Config
	*exchange.Responder
	// refusing ends when no upload is admitted any more; refuseAll ends it.
	refusing  context.Context
	refuseAll context.CancelCauseFunc
	// statusReads are the turns of requests that read the states of uploads.
	statusReads *semaphore.Weighted
}

// New makes a Server. The uploads in flight end with ctx, or once r stops.
func New(ctx context.Context, r *exchange.Responder, c Config) *Server {
	s := &Server{Config: c, Responder: r, statusReads: semaphore.NewWeighted(maxStatusReads)}
	s.refusing, s.refuseAll = context.WithCancelCause(ctx)
	return s
}

// Refuse makes new uploads be answered 503.
func (s *Server) Refuse() { s.refuseAll(upload.ErrShutdown) }

// countRefusal counts an upload that was refused before it had a record.
func (s *Server) countRefusal(err error) {
	if reason := exchange.Reason(err); reason != "" {
		s.Watcher.Refused(reason, exchange.Ours(err))
	}
}
