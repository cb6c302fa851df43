package upload_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"tecken-upload/internal/sched"
	"tecken-upload/internal/spool"
	"tecken-upload/internal/storage/dirstore"
	"tecken-upload/internal/upload"
)

// storage is a directory with faults.
type storage struct {
	*dirstore.Store
	mu         sync.Mutex
	puts       int
	refreshed  int
	writeFirst bool                                   // a faulty Put stores the object and loses the answer
	fault      func(ctx context.Context, n int) error // of the n-th Put, from 1

	asked   atomic.Int64                    // calls of Stat
	staging func(ctx context.Context) error // before a Stage
	staged  chan string                     // is told of the key of each Stage, at its end; nil: none is

	answered chan string // is told of the key of each Stat, at its end; nil: none is

	gone bool // what is staged is not there any more

	commits, invisible atomic.Int64 // calls of Commit, and what was staged and is neither committed nor aborted
}

func (s *storage) Stat(ctx context.Context, loc upload.Location) (upload.Object, error) {
	s.asked.Add(1)
	if s.answered != nil {
		defer func() { s.answered <- loc.Key.String() }()
	}
	return s.Store.Stat(ctx, loc)
}

func (s *storage) Stage(ctx context.Context, loc upload.Location, obj upload.Object, body upload.Body, note func(context.Context, string) error) (st upload.Staged, err error) {
	if s.staged != nil {
		defer func() { s.staged <- loc.Key.String() }()
	}
	if s.staging != nil {
		if err := s.staging(ctx); err != nil {
			return nil, err
		}
	}
	if err := note(ctx, loc.Key.String()); err != nil {
		return nil, err
	}
	if st, err = s.Store.Stage(ctx, loc, obj, body, note); err != nil {
		return nil, err
	}
	s.invisible.Add(1)
	return &staged{Staged: st, storage: s}, nil
}

// staged counts as long as it is invisible.
type staged struct {
	upload.Staged
	storage *storage
	ended   bool
}

func (s *staged) Commit(ctx context.Context) error {
	s.storage.commits.Add(1)
	if s.storage.gone {
		return upload.ErrNotFound
	}
	err := s.Staged.Commit(ctx)
	if err == nil {
		s.end()
	}
	return err
}

func (s *staged) Abort(ctx context.Context) error {
	defer s.end()
	return s.Staged.Abort(ctx)
}

func (s *staged) end() {
	if !s.ended {
		s.ended = true
		s.storage.invisible.Add(-1)
	}
}

func (s *storage) Put(ctx context.Context, loc upload.Location, obj upload.Object, body upload.Body) error {
	s.mu.Lock()
	s.puts++
	n, fault := s.puts, s.fault
	s.mu.Unlock()
	if fault != nil {
		if s.writeFirst {
			if err := s.Store.Put(ctx, loc, obj, body); err != nil {
				return err
			}
		}
		if err := fault(ctx, n); err != nil {
			return err
		}
	}
	return s.Store.Put(ctx, loc, obj, body)
}

func (s *storage) Refresh(ctx context.Context, loc upload.Location, obj upload.Object) error {
	s.refreshed++
	return s.Store.Refresh(ctx, loc, obj)
}

// records keeps records in memory, and fails the test when it is not used as it must be.
type records struct {
	t        *testing.T
	mu       sync.Mutex
	last     int64
	ended    map[int64]upload.Upload
	failing  bool
	begin    func() error
	finish   func(u *upload.Upload) error
	progress func(uploads []upload.Upload) error
	settled  chan int64 // is told of each end, where it is there
	staged   map[string]int64
}

func (r *records) NoteStaged(_ context.Context, uploadID int64, id string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.failing {
		return errors.New("no database")
	}
	if r.staged == nil {
		r.staged = make(map[string]int64)
	}
	r.staged[id] = uploadID
	return nil
}

func (r *records) ForgetStaged(_ context.Context, ids []string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, id := range ids {
		delete(r.staged, id)
	}
	return nil
}

func (r *records) Begin(ctx context.Context, u *upload.Upload) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, bounded := ctx.Deadline(); !bounded {
		r.t.Error("Begin without a deadline")
	}
	if u.ID != 0 || u.CreatedAt.IsZero() || u.Outcome != "" {
		r.t.Errorf("Begin of %+v", u)
	}
	if r.begin != nil {
		return r.begin()
	}
	r.last++
	u.ID = r.last
	return nil
}

func (r *records) Progress(ctx context.Context, uploads []upload.Upload) error {
	if _, bounded := ctx.Deadline(); !bounded || len(uploads) == 0 {
		r.t.Errorf("Progress of %d uploads, bounded: %t", len(uploads), bounded)
	}
	if r.progress != nil {
		return r.progress(uploads)
	}
	return nil
}

func (r *records) Finish(ctx context.Context, u *upload.Upload) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, bounded := ctx.Deadline(); !bounded || ctx.Err() != nil {
		r.t.Errorf("Finish with a context that is unbounded, or has ended: %v", ctx.Err())
	}
	if _, again := r.ended[u.ID]; again || u.ID == 0 || u.ID > r.last {
		r.t.Errorf("Finish of %d, which was not begun or has ended", u.ID)
	}
	if u.Outcome == "" || u.EndedAt.IsZero() || (u.Outcome == upload.Completed) != (u.Error == "") {
		r.t.Errorf("Finish of %+v", u)
	}
	if r.finish != nil {
		return r.finish(u)
	}
	kept := *u
	kept.Files = slices.Clone(u.Files)
	r.ended[u.ID] = kept
	if r.settled != nil {
		r.settled <- u.ID
	}
	return nil
}

// pass is one of a gate that looks at nothing.
type pass struct {
	ws     *spool.Workspace
	closed int
}

func (p *pass) Workspace() *spool.Workspace { return p.ws }
func (p *pass) Received(int64)              {}
func (p *pass) Done(int64)                  {}
func (p *pass) Close() error {
	p.closed++
	return p.ws.Close()
}

// panickingSlots panics at one of its acquisitions, counted from 1.
type panickingSlots struct {
	upload.Slots
	mu sync.Mutex
	n  int
	at int
}

func (p *panickingSlots) Acquire(ctx context.Context, task sched.Task) (*sched.Slot, error) {
	p.mu.Lock()
	p.n++
	n := p.n
	p.mu.Unlock()
	if n == p.at {
		panic("boom")
	}
	return p.Slots.Acquire(ctx, task)
}

// ends are those that are reported.
type ends struct {
	t    *testing.T
	mu   sync.Mutex
	last *upload.Report
	lost []string
}

func (e *ends) Ended(ctx context.Context, r *upload.Report) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if ctx.Err() != nil || r.Upload.Outcome == "" || (r.Err == nil) != (r.Upload.Outcome == upload.Completed) {
		e.t.Errorf("reported %+v: %v", r, ctx.Err())
	}
	e.last = r
}

func (e *ends) EndLost(_ context.Context, u *upload.Upload, why upload.Loss, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if err == nil || u.ID == 0 || u.Outcome == "" {
		e.t.Errorf("lost %+v: %v", u, err)
	}
	e.lost = append(e.lost, fmt.Sprintf("%d %s", u.ID, why))
}
