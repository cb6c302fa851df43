package upload

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"tecken-upload/internal/archive"
	"tecken-upload/internal/background"
	"tecken-upload/internal/sched"
	"tecken-upload/internal/spool"
)

// What we would rather lose.
const (
	// beginTimeout bounds writing an upload's beginning: its body waits for that.
	beginTimeout = 5 * time.Second
	// finishTimeout bounds writing an upload's end, even when the upload's own time is over: rather an
	// answer that is late by this much than a record without an end. It is milliseconds with a database that
	// is well.
	finishTimeout = 30 * time.Second
	// lookupLease bounds a lookup in storage with all its attempts: rather an upload of a tenant whose lookups hang than the slots
	// that its others need. It is milliseconds with storage that is well.
	lookupLease = 20 * time.Second
	// noteInterval paces what a manifest says of publishing: how stale may the autopsy of a killed upload be?
	noteInterval = time.Second
)

// Config is what a Service works with and within.
type Config struct {
	Storage Storage
	Records Records
	// VerifySlots bound inflating and hashing, PublishSlots calls to storage, of all uploads together.
	VerifySlots, PublishSlots Slots
	// DecoderSlots bound the memory of decoders: each stands for DecoderSlot bytes. An archive that is processed as one stream holds
	// those of its decoder from its first member to its last.
	DecoderSlots Slots
	Limits       archive.Limits
	// MaxSize is the largest archive, in bytes.
	MaxSize int64
	// Timeout bounds the time from the last byte received to the end of publishing.
	Timeout time.Duration
	// Retention and TryRetention say for how long storage keeps regular and try symbols. An object older
	// than half of that is refreshed when it is skipped.
	Retention, TryRetention time.Duration
	// PublishParallel bounds the members of one upload that are in publishing at once, waiting ones included.
	PublishParallel int
	// Lost is told of each end that is not recorded, and never will be. It does not block, and may be nil.
	Lost func(ctx context.Context, u *Upload, why Loss, err error)
	// Now is the clock; time.Now outside of tests.
	Now func() time.Time
}

// DecoderSlot is how many bytes of memory one of Config's DecoderSlots stands for.
const DecoderSlot = 1 << 20

// Service runs uploads. It is safe for concurrent use.
type Service struct {
	Config
	progress  progress
	unsettled ends // that could not be recorded
}

// NewService makes a Service.
func NewService(c Config) *Service {
	return &Service{Config: c, unsettled: ends{came: make(chan struct{}, 1)}}
}

// A Source delivers the archive of one upload.
type Source interface {
	// Deliver streams the archive into ws, which it must do at most once, with at most limit bytes. With an error,
	// the delivery says what is known nonetheless.
	Deliver(ctx context.Context, ws *spool.Workspace, limit int64) (Delivery, error)
}

// A Delivery is an archive that has arrived.
type Delivery struct {
	File     *os.File // the whole archive; owned by the workspace
	Size     int64    // its bytes
	Filename string   // as in Upload.Filename
	Try      bool     // the client asks for a try upload

	DownloadURL  string   // as in Upload.DownloadURL, where the request did not say it
	RedirectURLs []string // as in Upload.RedirectURLs
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
}

// Run takes one upload from its first byte to its recorded end: receive, verify, publish, record. It
// closes the request's workspace in any case. Errors that end an upload early because ctx has ended wrap
// the context's cause ([ErrClientGone], [ErrShutdown], or a deadline of the caller's).
//
// The report is never nil; its Err is nil exactly when the upload is completed, and committed. Its
// Upload.ID is 0 when the upload could not even be begun: then there is no record of it.
func (s *Service) Run(ctx context.Context, req Request) *Report {
	r := &run{
		Service: s,
		req:     req,
		meter:   meter{tell: req.Pass.Done},
		report: &Report{
			Declared: req.Declared,
			Phases:   make(map[Phase]time.Duration),
			Upload: Upload{
				User:       req.Token.User,
				TokenID:    req.Token.ID,
				TokenLabel: req.Label,
				Bucket:     s.Storage.Name(),
				Try:        req.Token.TryOnly(),
				CreatedAt:  s.timestamp(),

				DownloadURL: req.DownloadURL,
			},
		},
	}
	r.up = &r.report.Upload
	defer func() {
		// Of use only after a panic, which goes on to the caller.
		_ = req.Pass.Workspace().Close()
		s.progress.end(r.report.Phase)
	}()
	r.run(ctx)
	return r.report
}

// timestamp is now, as exactly as every database keeps it.
func (s *Service) timestamp() time.Time { return s.Now().UTC().Truncate(time.Microsecond) }

// run is one upload on its way. Its methods run one after the other; those that publish members run at
// once, each on a File of its own.
type run struct {
	*Service
	req    Request
	report *Report
	up     *Upload // report.Upload

	meter  meter
	stream *sched.Slot // of an archive that is processed as one stream; nil for others

	noting sync.Mutex // guards what follows
	count  int        // members that are in storage
	noted  time.Time  // when the manifest was last told of them
}

func (r *run) run(ctx context.Context) {
	err := r.begin(ctx)
	if err == nil {
		err = r.phases(ctx)
	}
	// The room is given back before anything else is waited for. What can't be removed is the janitor's: no
	// reason to send two gigabytes again.
	r.report.Leftover = r.req.Pass.Workspace().Close()
	if r.up.ID != 0 {
		err = r.end(ctx, err)
	}
	r.report.Err = err
}

// phases receives, verifies and publishes. A panic in it is an error of this upload, and of no other.
func (r *run) phases(ctx context.Context) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = background.Caught(v)
		}
		// What the end of a context breaks on its way comes in many words.
		if OutcomeOf(err) == Failed && ctx.Err() != nil {
			err = because(context.Cause(ctx), err)
		}
	}()
	delivery, err := r.receive(ctx)
	if err != nil {
		return err
	}
	return r.processInTime(ctx, delivery)
}

// processInTime processes the delivery inside the upload's deadline.
func (r *run) processInTime(ctx context.Context, d Delivery) error {
	ctx, cancel := context.WithTimeoutCause(ctx, r.Timeout, ErrDeadline)
	defer cancel()
	stop := r.progress.watch(r.Timeout)
	defer stop()
	err := r.process(ctx, d)
	if err != nil && OutcomeOf(err) != Rejected && errors.Is(context.Cause(ctx), ErrDeadline) {
		done, total := r.done()
		return &DeadlineError{Timeout: r.Timeout, Done: done, Total: total, err: err}
	}
	return err
}

// because makes cause the reason of err, unless it is already.
func because(cause, err error) error {
	if errors.Is(err, cause) {
		return err
	}
	return fmt.Errorf("%w: %w", cause, err)
}

func (r *run) begin(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, beginTimeout)
	defer cancel()
	if err := r.Records.Begin(ctx, r.up); err != nil {
		return fmt.Errorf("begin the record: %w", err)
	}
	return nil
}

func (r *run) receive(ctx context.Context) (Delivery, error) {
	leave := r.phase(PhaseReceive)
	defer leave()
	d, err := r.req.Source.Deliver(ctx, r.req.Pass.Workspace(), r.MaxSize)
	r.up.DownloadURL, r.up.RedirectURLs = cmp.Or(r.up.DownloadURL, d.DownloadURL), d.RedirectURLs
	if _, ok := errors.AsType[*spool.LimitError](err); !ok && errors.Is(err, spool.ErrTooLarge) {
		return d, &SizeError{Limit: r.MaxSize}
	}
	if err != nil {
		return d, orUnavailable(err)
	}
	r.up.Filename, r.up.Size = d.Filename, d.Size
	r.up.Try = r.up.Try || d.Try
	r.meter.size = d.Size
	r.req.Pass.Received(d.Size)
	return d, nil
}

// orUnavailable gives an error of the disk its kind, where it has none.
func orUnavailable(err error) error {
	if OutcomeOf(err) == Failed && !errors.Is(err, spool.ErrFull) {
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return err
}

func (r *run) process(ctx context.Context, d Delivery) error {
	defer r.giveMemoryBack()
	a, err := r.verify(ctx, d)
	if err != nil {
		return ofSlots(err)
	}
	return ofSlots(r.publish(ctx, a))
}

// ofSlots gives an error that is for want of a slot its kind.
func ofSlots(err error) error {
	for _, lost := range []error{sched.ErrLeaseExpired, sched.ErrRunaways, sched.ErrQueueFull} {
		if errors.Is(err, lost) && !errors.Is(err, ErrUnavailable) {
			return fmt.Errorf("%w: %w", ErrUnavailable, err)
		}
	}
	return err
}

// verify opens the archive and checks all of it.
func (r *run) verify(ctx context.Context, d Delivery) (*archive.Archive, error) {
	leave := r.phase(PhaseVerify)
	defer leave()
	a, err := archive.Open(ctx, d.File, d.Size, r.Limits, r)
	if err != nil {
		return nil, err
	}
	r.up.Format = a.Format()
	r.meter.begin(&r.meter.verified, a.Inflated())
	var files []File // none of an archive that is not verified to its end
	for m, err := range a.Members(ctx) {
		if err != nil {
			return nil, err
		}
		files = append(files, fileOf(m))
	}
	r.up.Files = files
	r.meter.complete(&r.meter.verified)
	return a, nil
}

// worked counts n bytes of members that are dealt with.
func (r *run) worked(s *share, n int64) {
	r.meter.count(s, n)
	if r.stream != nil {
		r.stream.Moved()
	}
}

// task is a piece of this upload's work, for the scheduler.
func (r *run) task(cost int64) sched.Task {
	return sched.Task{Tenant: r.up.TokenID, Weight: r.req.Token.Weight, Upload: r.up.ID, Cost: cost}
}

func fileOf(m *archive.Member) File {
	f := File{Name: m.Name, Key: m.Key, State: FilePending, Size: m.Size, MD5: m.MD5, Header: m.Header}
	if m.Ignored || m.Duplicate {
		f.State = FileIgnored
	}
	return f
}

// done counts the members that are in storage, and those that are to be.
func (r *run) done() (done, total int) {
	for i := range r.up.Files {
		switch r.up.Files[i].State {
		case FileUploaded, FileSkipped:
			done++
			total++
		case FilePending:
			total++
		case FileIgnored:
		}
	}
	return done, total
}

// end settles the outcome and records it. The error it returns is the one the upload ended with.
func (r *run) end(ctx context.Context, err error) error {
	r.up.EndedAt = r.timestamp()
	r.up.Outcome = OutcomeOf(err)
	r.up.Error = Sentence(err)
	if p, ok := errors.AsType[*background.PanicError](err); ok {
		r.report.Stack = p.Stack
	}
	if err == nil {
		leave := r.phase(PhaseRecord)
		defer leave()
	}
	if recErr := r.finish(context.WithoutCancel(ctx), r.up, finishTimeout); recErr != nil {
		recErr = fmt.Errorf("record the end: %w", recErr)
		if err == nil {
			r.up.Outcome, r.up.Error = Failed, Sentence(recErr)
		}
		r.unsettle(context.WithoutCancel(ctx), recErr)
		return errors.Join(err, recErr)
	}
	return err
}

// phase enters a phase, and returns a function that leaves it.
func (r *run) phase(p Phase) (leave func()) {
	r.progress.enter(r.report.Phase, p)
	r.report.Phase = p
	start := r.Now()
	if p != PhaseRecord { // the workspace is gone by then
		// The manifest is for autopsies alone: an upload does not fail for it.
		_ = r.req.Pass.Workspace().Update(func(m *spool.Manifest) { r.describe(m, p) })
	}
	return func() { r.report.Phases[p] = r.Now().Sub(start) }
}
