// Package uploads is the room of the web that takes uploads: multipart forms with an archive, forms with its URL, a client's questions
// about its token, and the states of uploads that go on without their clients.
//
// An upload is refused before its body if possible. Arriving bodies and archives fetched by URL have bounds of their own.
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

// Gate admits uploads.
type Gate interface {
	// Enter admits an upload of size bytes, or -1, by a token's bearer, after a bounded wait. It fails with the cause of ctx, or an error
	// wrapping an *upload.BusyError, spool.ErrFull or upload.ErrUnavailable.
	Enter(ctx context.Context, token upload.Token, size int64) (*gate.Pass, error)
}

// Disk counts errors of full disks. It is safe for concurrent use.
type Disk interface {
	// Note counts the error of an upload that did not begin.
	Note(err error)
}

// Runner runs uploads.
type Runner interface {
	// Run runs an upload from its first byte to its recorded end.
	Run(ctx context.Context, req upload.Request) *upload.Report
	// InFlight returns the present state of an upload that runs here.
	InFlight(id int64) (upload.Upload, bool)
}

// Watcher observes uploads. It is safe for concurrent use, and does not block.
type Watcher interface {
	// Refused is called for each upload refused before it began. reason is one of exchange.RefusalReasons; failed means a failure of ours,
	// one of exchange.FailureCauses, that has no record.
	Refused(reason string, failed bool)
}

// Config configures a Server.
type Config struct {
	Gate    Gate
	Uploads Runner
	Records Records
	Disk    Disk
	Watcher Watcher
	// MaxUploadSize is the largest archive, in bytes. Its body may have 1 MiB more.
	MaxUploadSize int64
	// ReceiveTimeout bounds receiving one body, ReceiveStallTimeout the time between two of its bytes.
	ReceiveTimeout, ReceiveStallTimeout time.Duration
	// ReceiveMinRate is the lowest rate of a body, in bytes a second over a minute, while others are refused for room. 0: any.
	ReceiveMinRate int64
	// Fetch fetches archives uploaded by URL.
	Fetch *fetch.Client
}

// Server answers the requests of upload clients.
type Server struct {
	Config
	*exchange.Responder
	// refusing ends when no more uploads are admitted; refuseAll ends it.
	refusing  context.Context
	refuseAll context.CancelCauseFunc
	// statusReads are the slots of requests that read the states of uploads.
	statusReads *semaphore.Weighted
}

// New makes a Server. The uploads in flight end with ctx, or once r stops.
func New(ctx context.Context, r *exchange.Responder, c Config) *Server {
	s := &Server{Config: c, Responder: r, statusReads: semaphore.NewWeighted(maxStatusReads)}
	s.refusing, s.refuseAll = context.WithCancelCause(ctx)
	return s
}

// Refuse makes new uploads get 503.
func (s *Server) Refuse() { s.refuseAll(upload.ErrShutdown) }

// countRefusal counts an upload refused before it had a record.
func (s *Server) countRefusal(err error) {
	if reason := exchange.Reason(err); reason != "" {
		s.Watcher.Refused(reason, exchange.Ours(err))
	}
}
