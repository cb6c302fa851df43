package upload

import (
	"context"
	"sync"
	"time"

	"tecken-upload/internal/archive"
	"tecken-upload/internal/background"
)

// Config is what a Service works with and within.
type Config struct {
	Storage Storage
	Records Records
	// VerifySlots bound inflating and hashing, PublishSlots calls to storage, of all uploads together.
	VerifySlots, PublishSlots Slots
	// StageSlots bound calls to storage for archives that still arrive. They take nothing from PublishSlots.
	StageSlots Slots
	// DecoderSlots bound the memory of decoders: each stands for DecoderSlot bytes. An archive that is processed as one stream holds
	// those of its decoder from its first member to its last.
	DecoderSlots Slots
	// SpareMemory bounds the memory of decoders of archives that still arrive, in bytes, beside DecoderSlots.
	SpareMemory int64
	Limits      archive.Limits
	// MaxSize is the largest archive, in bytes.
	MaxSize int64
	// Timeout bounds the time from the last byte received to the end of publishing.
	Timeout time.Duration
	// Retention and TryRetention say for how long storage keeps regular and try symbols. An object older
	// than half of that is refreshed when it is skipped.
	Retention, TryRetention time.Duration
	// PublishParallel bounds the members of one upload that are in publishing at once, waiting ones included.
	PublishParallel int
	// Stale is the silence after which an upload in flight counts as lost.
	Stale time.Duration
	// Observer reports the ends of uploads.
	Observer Observer
	// Now is the clock; time.Now outside of tests.
	Now func() time.Time
}

// DecoderSlot is how many bytes of memory one of Config's DecoderSlots stands for.
const DecoderSlot = 1 << 20

// Service runs uploads. It is safe for concurrent use.
type Service struct {
	Config
	flights flights
	spare   spareMemory
	running sync.WaitGroup // uploads, and the removal of what they have staged
	// stagePatience is how long a commit waits for a staging that does not get on: as long as it takes to call it stuck.
	stagePatience time.Duration
	unsettled     ends // that could not be recorded
}

// NewService makes a Service.
func NewService(c Config) *Service {
	return &Service{
		Config:        c,
		stagePatience: 5 * time.Second,
		flights:       flights{news: make(chan struct{}, 1)},
		unsettled:     ends{came: make(chan struct{}, 1)},
	}
}

// A Request is an upload that was authenticated and admitted.
type Request struct {
	Token    Token
	Label    string // as in Upload.TokenLabel
	Declared int64  // the size the client announced, in bytes; -1 when it did not
	// DownloadURL is as in Upload.DownloadURL.
	DownloadURL string
	Pass        Pass
	Source      Source
	// Accepted is called at most once, when the upload needs its client no longer, with the upload as it is then. It must not block, and
	// may be nil.
	Accepted func(Upload)
}

// Run takes one upload from its first byte to its recorded end: receive, verify, publish, record. It
// closes the request's pass in any case, and reports the end to Config.Observer. Errors that end an upload early because ctx has ended
// wrap the context's cause ([ErrClientGone], [ErrShutdown], or a deadline of the caller's). A panic is an error of this upload alone.
//
// The report is never nil; its Err is nil exactly when the upload is completed, and committed. Its
// Upload.ID is 0 when the upload could not even be begun: then there is no record of it, and the observer is not called.
func (s *Service) Run(ctx context.Context, req Request) *Report {
	s.running.Add(1)
	defer s.running.Done()
	defer req.Pass.Close() // its workspace is closed by then, except after a panic of our own
	r := newRun(s, req)
	r.run(ctx)
	if r.up.ID != 0 {
		background.Guard("upload ended", func() { s.Observer.Ended(context.WithoutCancel(ctx), r.report) })
	}
	if r.ahead != nil { // the answer does not wait for this
		s.running.Add(1)
		background.Go("abort", func() {
			defer s.running.Done()
			r.ahead.abort(context.WithoutCancel(ctx))
		})
	}
	return r.report
}

// Wait waits until no upload runs, or ctx ends. No upload may begin meanwhile.
func (s *Service) Wait(ctx context.Context) error {
	ended := make(chan struct{})
	background.Go("uploads", func() {
		s.running.Wait()
		close(ended)
	})
	select {
	case <-ended:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// timestamp is now, as exactly as every database keeps it.
func (s *Service) timestamp() time.Time { return s.Now().UTC().Truncate(time.Microsecond) }
