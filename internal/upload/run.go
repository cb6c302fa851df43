package upload

import (
	"cmp"
	"context"
	"errors"
	"fmt"
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
	// lookupLease bounds a lookup in storage with all its attempts: if lookups hang, the upload fails, and its tenant's slots are
	// free for others. With healthy storage, a lookup takes milliseconds.
	lookupLease = 20 * time.Second
	// noteInterval paces what a manifest says of publishing: how stale may the autopsy of a killed upload be?
	noteInterval = time.Second
)

// run is one upload on its way. Its methods run one after the other; those that publish members run at
// once, each on a File of its own.
type run struct {
	*Service
	req       Request
	report    *Report
	up        *Upload // report.Upload
	workspace *spool.Workspace
	entered   time.Time // when the present phase began; zero between phases

	inTime context.Context // has the upload's deadline; nil until the body has arrived
	stop   func()          // ends it
	meter  meter
	stream *sched.Slot // of an archive that is processed as one stream; nil for others
	ahead  *ahead      // what is done before the archive has arrived; nil before its first byte
	spared func()      // gives back the spare memory of an archive that was followed; nil: there is none

	noting sync.Mutex // guards what follows
	count  int        // members that are in storage
	noted  time.Time  // when count was last written to the manifest
}

func newRun(s *Service, req Request) *run {
	r := &run{
		Service:   s,
		req:       req,
		workspace: req.Pass.Workspace(),
		stop:      func() {},
		meter:     meter{report: req.Pass.Done},
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
	return r
}

// run goes all the way, and writes the report.
func (r *run) run(ctx context.Context) {
	err := background.Try(func() error { return r.begin(ctx) })
	if err == nil {
		err = r.phases(ctx)
	}
	// The room is given back before anything else is waited for. What can't be removed is the janitor's: no
	// reason to send two gigabytes again.
	r.report.Leftover = r.workspace.Close()
	switch {
	case r.up.ID != 0:
		err = r.end(ctx, err)
	case r.report.Leftover != nil:
		err = fmt.Errorf("%w; and its workspace can't be removed: %s", err, r.report.Leftover.Error())
	}
	r.report.Err = err
}

func (r *run) begin(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, beginTimeout)
	defer cancel()
	if err := r.Records.Begin(ctx, r.up); err != nil {
		return fmt.Errorf("begin the record: %w", err)
	}
	return nil
}

// phases receives, verifies and publishes. A panic in it is an error of this upload, and of no other.
func (r *run) phases(ctx context.Context) (err error) {
	r.enter(PhaseReceive)
	defer func() {
		if v := recover(); v != nil {
			err = background.Caught(v)
		} else {
			err = r.kindOf(err)
		}
		// What the end of a context breaks on its way comes in many words.
		if OutcomeOf(err) == Failed && ctx.Err() != nil {
			err = because(context.Cause(ctx), err)
		}
		r.ahead.stop()
		r.giveMemoryBack()
		r.stop()
		r.leave()
	}()
	return r.process(ctx)
}

// process takes the members from the source, and publishes them once all are verified.
func (r *run) process(ctx context.Context) error {
	var files []File // none of what is not verified to its end
	for m, err := range r.req.Source.Members(ctx, &Arrival{run: r}) {
		if err != nil {
			return err
		}
		files = append(files, fileOf(m))
	}
	r.up.Files = files
	r.meter.complete(&r.meter.verified)
	return r.publish(r.inTime) //nolint:contextcheck // it descends from ctx
}

// received notes what has arrived, and returns a context with the upload's deadline.
func (r *run) received(ctx context.Context, d Delivery) (context.Context, error) {
	info, err := d.File.Stat()
	if err != nil {
		return nil, err
	}
	r.learn(d)
	r.up.Size = info.Size()
	r.meter.arrived(info.Size())
	r.req.Pass.Received(info.Size())
	r.enter(PhaseVerify)
	ctx, cancel := context.WithTimeoutCause(ctx, r.Timeout, ErrDeadline)
	unwatch := r.flights.watch(r.Timeout)
	r.inTime, r.stop = ctx, func() {
		unwatch()
		cancel()
	}
	r.accepted()
	return ctx, nil
}

// accepted reports to the request, once, that the upload needs its client no longer.
func (r *run) accepted() {
	if r.req.Accepted == nil {
		return
	}
	u, _ := r.InFlight(r.up.ID)
	r.req.Accepted(u)
	r.req.Accepted = nil
	select {
	case r.flights.news <- struct{}{}: // other instances may be asked about it from now on
	default:
	}
}

// found notes what the body is, and how many bytes its members declare.
func (r *run) found(format string, declared int64) {
	r.up.Format = format
	r.flights.show(r.up, &r.meter, false)
	r.meter.begin(&r.meter.verified, declared)
}

// learn notes what is known of a delivery before it has arrived.
func (r *run) learn(d Delivery) {
	r.up.Filename = cmp.Or(d.Filename, r.up.Filename)
	r.up.Try = r.up.Try || d.Try
	r.up.DownloadURL, r.up.RedirectURLs = cmp.Or(r.up.DownloadURL, d.DownloadURL), d.RedirectURLs
	r.flights.show(r.up, &r.meter, false)
}

// kindOf gives an error its kind: of receiving, or of what comes after it.
func (r *run) kindOf(err error) error {
	switch {
	case err == nil:
		return nil
	case r.inTime == nil:
		return r.ofReceiving(err)
	}
	err = ofSlots(err)
	if OutcomeOf(err) != Rejected && errors.Is(context.Cause(r.inTime), ErrDeadline) {
		done, total := r.done()
		return &DeadlineError{Timeout: r.Timeout, Done: done, Total: total, err: err}
	}
	return err
}

// ofReceiving gives an error of receiving its kind, where it has none.
func (r *run) ofReceiving(err error) error {
	if _, ok := errors.AsType[*spool.LimitError](err); !ok && errors.Is(err, spool.ErrTooLarge) {
		return &SizeError{Limit: r.MaxSize}
	}
	if OutcomeOf(err) == Failed && !errors.Is(err, spool.ErrFull) {
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return err
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

// because makes cause the reason of err, unless it is already.
func because(cause, err error) error {
	if errors.Is(err, cause) {
		return err
	}
	return fmt.Errorf("%w: %w", cause, err)
}

// worked counts n bytes of members that are dealt with, and whether a piece of work, such as a member, ends with them.
func (r *run) worked(s *share, n int64, piece bool) {
	r.meter.count(s, n, piece)
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
		r.enter(PhaseRecord)
		defer r.leave()
	}
	r.up.Progress = r.meter.progress()
	if recErr := r.finish(context.WithoutCancel(ctx), r.up, finishTimeout); recErr != nil {
		recErr = fmt.Errorf("record the end: %w", recErr)
		if err == nil {
			r.up.Outcome, r.up.Error = Failed, Sentence(recErr)
		}
		r.flights.show(r.up, &r.meter, true)
		r.unsettle(context.WithoutCancel(ctx), recErr)
		return errors.Join(err, recErr)
	}
	return err
}

// enter enters a phase, and leaves the one before it.
func (r *run) enter(p Phase) {
	r.leave()
	r.up.Phase, r.entered = p, r.Now()
	r.flights.show(r.up, &r.meter, false)
	if p != PhaseRecord { // the workspace is gone by then
		// The manifest is for autopsies alone: an upload does not fail for it.
		_ = r.workspace.Update(func(m *spool.Manifest) { r.describe(m, p) })
	}
}

// leave ends the measurement of a phase.
func (r *run) leave() {
	if !r.entered.IsZero() {
		r.report.Phases[r.up.Phase] = r.Now().Sub(r.entered)
		r.entered = time.Time{}
	}
}
