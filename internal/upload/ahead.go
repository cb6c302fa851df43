package upload

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"tecken-upload/internal/archive"
	"tecken-upload/internal/background"
	"tecken-upload/internal/symbol"
)

const (
	// stageSize is the size of a body in bytes from which on it is sent ahead of the commit. A smaller one is a single request at the commit,
	// as it would be to stage it.
	stageSize = 8 << 20
	// maxStaged is the most members that one upload stages: one to three have nearly all bytes of an archive, and each may hold two open files.
	maxStaged = 64
	// stagedRatio bounds the bytes that one upload stages to so many times those that have arrived: a member may inflate to a thousand times.
	stagedRatio = 4
	// askAgain is the age from which on storage's answer about a member does not count at the commit: another upload may have changed it.
	askAgain = 30 * time.Second
	// abortTimeout bounds the throwing away of all that an upload has staged. What is left by then is discarded by the sweep of storage.
	abortTimeout = 10 * time.Second
	// abortParallel is how many are thrown away at once.
	abortParallel = 8
)

// An ahead asks storage for members while the archive still arrives, and stages the large ones that storage does not have. All it knows are
// members that are good by themselves: what it did counts for a member of the whole archive with the same key, size and MD5. Its faults do not
// matter: a member that it failed for is brought to storage at the commit. A nil ahead does nothing.
type ahead struct {
	run    *run
	try    bool            // the members are taken for those of a try upload
	ctx    context.Context //nolint:containedctx // of what goes on beside the arrival; close ends it
	cancel context.CancelFunc
	work   sync.WaitGroup

	mu      sync.Mutex // guards what follows
	errands map[symbol.Key]*errand
	waiting []*errand
	busy    int   // goroutines
	arrived int64 // bytes of the archive
	members int   // that were staged, or are being staged
	bytes   int64 // of these
}

// An errand is one member's.
type errand struct {
	member *archive.Member
	file   File
	state  atomic.Int32       // idle, calling or givenUp
	wanted atomic.Bool        // the commit waits for it: nothing more is begun
	cancel context.CancelFunc // of the errand alone
	ctx    context.Context    //nolint:containedctx // which cancel ends
	moves  atomic.Int64       // how often the sending got on
	done   chan struct{}      // closed when the rest is known

	err        error
	there      there
	asked      time.Time
	staged     Staged // nil: nothing is staged
	storedSize int64  // of what is staged
	id         string // of what is staged, in the records; empty: there is none
}

// States of an errand.
const (
	idle    = iota // it waits for a slot, or its turn
	calling        // it calls storage: to break that off would cost a connection
	givenUp        // it makes no further call
)

// begin begins a call, unless the errand was given up.
func (e *errand) begin() bool {
	return e.state.CompareAndSwap(idle, calling) || e.state.Load() == calling
}

// end ends a call.
func (e *errand) end() { e.state.CompareAndSwap(calling, idle) }

func newAhead(ctx context.Context, r *run, try bool) *ahead {
	ctx, cancel := context.WithCancel(ctx)
	return &ahead{run: r, try: try, ctx: ctx, cancel: cancel, errands: make(map[symbol.Key]*errand)}
}

// found takes a member that is good by itself.
func (a *ahead) found(m *archive.Member) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.ctx.Err() != nil || a.errands[m.Key] != nil {
		return
	}
	ctx, cancel := context.WithCancel(a.ctx)
	e := &errand{member: m, file: fileOf(m), ctx: ctx, cancel: cancel, done: make(chan struct{})}
	a.errands[m.Key] = e
	a.waiting = append(a.waiting, e)
	if a.busy < a.run.PublishParallel {
		a.busy++
		a.work.Add(1)
		background.Go("ahead", a.runErrands)
	}
}

// runErrands runs errands until none waits.
func (a *ahead) runErrands() {
	defer a.work.Done()
	for {
		e := a.next()
		if e == nil {
			return
		}
		e.err = background.Try(func() error { return a.do(e) })
		e.cancel()
		close(e.done)
	}
}

func (a *ahead) next() *errand {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.waiting) == 0 || a.ctx.Err() != nil {
		a.busy--
		return nil
	}
	e := a.waiting[0]
	a.waiting = a.waiting[1:]
	return e
}

// do asks storage for a member, and stages it if it is large and not there.
func (a *ahead) do(e *errand) (err error) {
	r := a.run
	e.asked = r.Now()
	if e.there, err = r.stored(e.ctx, question{slots: r.StageSlots, file: &e.file, try: a.try, early: true, begin: e.begin}); err != nil || e.there == theSame || e.file.Size < stageSize || !e.member.Ready() {
		return err
	}
	if e.end(); e.wanted.Load() {
		return nil
	}
	body, err := e.member.Body(e.ctx)
	if err != nil {
		return err
	}
	if body.Size < stageSize || !a.mayStage(body.Size) {
		return body.Close()
	}
	var staged Staged
	var noted atomic.Pointer[string]
	err = r.send(e.ctx, r.StageSlots, &e.file, body, func(ctx context.Context, obj Object, b Body) error {
		if !e.begin() {
			return context.Canceled
		}
		b = e.moving(b)
		s, err := r.Storage.Stage(ctx, Location{Key: e.file.Key, Try: a.try}, obj, b, func(ctx context.Context, id string) error {
			noted.Store(&id)
			return r.Records.NoteStaged(ctx, r.up.ID, id)
		})
		if err == nil && ctx.Err() != nil { // nothing waits for it any more
			return errors.Join(context.Cause(ctx), s.Abort(ctx))
		}
		staged = s
		return err
	})
	if err == nil {
		e.staged, e.storedSize = staged, body.Size
		if id := noted.Load(); id != nil {
			e.id = *id
		}
	}
	return err
}

// mayStage reports whether a body may be staged, and counts it.
func (a *ahead) mayStage(size int64) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.members >= maxStaged || a.bytes+size > stagedRatio*a.arrived {
		return false
	}
	a.members++
	a.bytes += size
	return true
}

// grow notes how much of the archive has arrived.
func (a *ahead) grow(size int64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.arrived = size
}

// moving returns b, whose reading is counted as movement of the errand.
func (e *errand) moving(b Body) Body {
	moved := func() { e.moves.Add(1) }
	b.Reader = &moving{ReadSeeker: b.Reader, moved: moved}
	if b.At != nil {
		b.At = newMovingAt(b.At, b.Size, moved)
	}
	return b
}

// wait waits until the errand is done. It returns false if ctx ends before, or if the errand does not get on.
func (e *errand) wait(ctx context.Context, patience time.Duration) bool {
	tick := time.NewTicker(patience)
	defer tick.Stop()
	for moves := int64(-1); ; {
		select {
		case <-e.done:
			return true
		case <-ctx.Done():
			return false
		case <-tick.C:
			now := e.moves.Load()
			if now == moves {
				return false
			}
			moves = now
		}
	}
}

// take returns what was done for a file of the whole archive; nil: nothing that helps. It waits for an errand that calls storage, as
// long as it gets on, and gives up one that does not, so that a commit never waits in the line of what is only staged. try says that it is a try upload's.
func (a *ahead) take(ctx context.Context, f *File, try bool) *errand {
	if a == nil {
		return nil
	}
	a.mu.Lock()
	e := a.errands[f.Key]
	a.mu.Unlock()
	if e == nil {
		return nil
	}
	if a.try != try || e.file.MD5 != f.MD5 || e.file.Size != f.Size {
		e.cancel()
		return nil
	}
	select {
	case <-e.done:
	default:
		e.wanted.Store(true)
		if e.state.CompareAndSwap(idle, givenUp) {
			e.cancel()
			return nil
		}
	}
	if !e.wait(ctx, a.run.stagePatience) {
		e.cancel()
		return nil
	}
	if e.err != nil || e.staged == nil && a.run.Now().Sub(e.asked) > askAgain {
		return nil
	}
	return e
}

// stop ends all errands. Nothing of them reads the archive afterwards.
func (a *ahead) stop() {
	if a == nil {
		return
	}
	a.cancel()
	a.work.Wait()
}

// abort throws away what is staged and was not committed. What can't be thrown away is left to the sweep of storage.
func (a *ahead) abort(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), abortTimeout)
	defer cancel()
	g, _ := background.NewGroup(ctx)
	g.SetLimit(abortParallel)
	var mu sync.Mutex
	var gone []string
	for _, e := range a.errands {
		if e.staged == nil {
			continue
		}
		g.Go(func() error {
			if e.staged.Abort(ctx) == nil && e.id != "" {
				mu.Lock()
				defer mu.Unlock()
				gone = append(gone, e.id)
			}
			return nil
		})
	}
	if g.Wait() == nil && len(gone) > 0 {
		_ = a.run.Records.ForgetStaged(ctx, gone)
	}
}
