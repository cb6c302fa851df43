package audit

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"strings"
	"sync"
	"time"

	"tecken-upload/internal/background"
	"tecken-upload/internal/storage"
	"tecken-upload/internal/upload"
)

const (
	// window bounds the files that wait for one before them to be done: a page of an S3 listing.
	window = 1000
	// maxUnreadable files in a row that can't be read end an audit. Rather stop early than report every file of a storage
	// that is down.
	maxUnreadable = 10
)

// Storage is where the files are. It is safe for concurrent use.
type Storage interface {
	// List yields the symbol files whose object keys begin with prefix and come after the key after, in the order of the
	// bytes of their keys. An error is the last that it yields.
	List(ctx context.Context, prefix, after string) iter.Seq2[storage.Entry, error]

	// Open opens the object at loc to be compared with its metadata, to be closed by the caller; or returns
	// upload.ErrNotFound.
	Open(ctx context.Context, loc upload.Location) (*storage.Stored, error)

	// SetAside moves the object at loc, with its metadata, to its storage.BrokenKey. It fails with storage.ErrChanged where
	// the object is not of that version any more, and with upload.ErrNotFound where there is none.
	SetAside(ctx context.Context, loc upload.Location, version string) error
}

// Config says what is audited, and how.
type Config struct {
	Storage Storage

	// Prefix is the beginning of a symbol key ("xul.pdb/44E4"), of regular and of try uploads. With v1/ in front it is one
	// of regular uploads alone, with try/ or try/v1/ of try uploads alone.
	Prefix string
	After  string    // the object key that all are to come after; empty: from the first
	Since  time.Time // files that were stored or refreshed before are passed over
	Repair bool      // move broken files out of the way

	Parallel int   // files that are read at once; each takes one core at most
	Rate     int64 // bytes a second that are read of all of them together; 0: no limit

	// Report is called for each file of a kind that is reported, in the order of the keys, never twice at once. An error
	// of it ends the audit.
	Report func(Finding) error
}

// prefixes returns the beginnings of object keys that a Config's Prefix stands for, in their order.
func prefixes(prefix string) []string {
	if strings.HasPrefix(prefix, storage.RegularPrefix) || strings.HasPrefix(prefix, storage.TryPrefix) {
		return []string{prefix}
	}
	if name, ok := strings.CutPrefix(prefix, "try/"); ok {
		return []string{storage.TryPrefix + name}
	}
	return []string{storage.TryPrefix + prefix, storage.RegularPrefix + prefix}
}

// Totals say how far an audit is.
type Totals struct {
	Bytes int64 // that were read, as they are stored
	Files int   // that were compared with their metadata

	Broken       int // those of them that are something else
	Moved        int // those of these that were moved out of the way
	Unverifiable int // files without metadata
	Unreadable   int // files that could not be read to their end
	Gone         int // files that were listed, and were not there any more

	// Position is the object key up to which all is done; empty: nothing is.
	Position string
}

// An Audit is one pass through storage.
type Audit struct {
	Config
	pace pace

	mu     sync.Mutex // guards what follows
	totals Totals
	row    int // how many files in a row could not be read
}

// New prepares an audit.
func New(c Config) *Audit {
	return &Audit{Config: c, pace: pace{rate: c.Rate}, totals: Totals{Position: c.After}}
}

// Totals returns how far the audit is.
func (a *Audit) Totals() Totals {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.totals
}

// A job is a file that is to be read.
type job struct {
	location upload.Location
	done     chan Finding // gets what was found, once
}

// Run goes through storage, once. It returns nil when every file was examined, whatever was found; else the cause of ctx, or
// what kept it from going on. Another audit goes on after Position then.
func (a *Audit) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	workers, ctx := background.NewGroup(ctx)
	queue, work := make(chan *job, window), make(chan *job)
	workers.Go(func() error { a.list(ctx, queue, work); return nil })
	for range a.Parallel {
		workers.Go(func() error {
			for j := range work {
				j.done <- a.look(ctx, j.location)
			}
			return nil
		})
	}
	var fault error
	for j := range queue {
		if fault != nil {
			continue // the rest is for another audit, from Position on
		}
		if fault = a.take(ctx, <-j.done); fault != nil {
			cancel(fault)
		}
	}
	return cmp.Or(fault, workers.Wait())
}

// look examines a file. A panic ends the audit.
func (a *Audit) look(ctx context.Context, at upload.Location) (f Finding) {
	err := background.Try(func() error { f = a.examine(ctx, at); return nil })
	if err != nil {
		return Finding{Location: at, Kind: interrupted, err: err}
	}
	return f
}

// list queues every file, in the order of keys, and hands those that are to be read to the workers.
func (a *Audit) list(ctx context.Context, queue, work chan<- *job) {
	defer close(queue)
	defer close(work)
	for _, prefix := range prefixes(a.Prefix) {
		for entry, err := range a.Storage.List(ctx, prefix, a.After) {
			j := &job{location: entry.Location, done: make(chan Finding, 1)}
			queue <- j // Run takes all there are
			switch {
			case err != nil:
				j.done <- Finding{Kind: interrupted, err: err}
				return
			case entry.Modified.Before(a.Since):
				j.done <- Finding{Location: j.location, Kind: passed}
				continue
			}
			select {
			case work <- j:
			case <-ctx.Done():
				j.done <- Finding{Kind: interrupted, err: context.Cause(ctx)}
				return
			}
		}
	}
}

// take takes what was found of the next file, in the order of keys. An error ends the audit. Broken files are moved here, one
// by one, so that a process that is killed has reported all it moved, except the last one.
func (a *Audit) take(ctx context.Context, f Finding) error {
	if a.Repair {
		f = a.repair(ctx, f)
	}
	if f.Kind == interrupted {
		return f.err
	}
	if err := a.report(f); err != nil {
		return err
	}
	if row := a.advance(f); row >= maxUnreadable {
		return fmt.Errorf("%d files in a row can't be read; of the last: %s", row, f.Reason)
	}
	return nil
}

// report counts a file, and reports it if its kind is.
func (a *Audit) report(f Finding) error {
	a.mu.Lock()
	a.totals.count(f.Kind)
	a.mu.Unlock()
	switch f.Kind {
	case passed, good, gone:
		return nil
	}
	return a.Report(f)
}

// advance moves Position on to a file, and returns how many in a row could not be read. Position stays in front of the row
// until it ends: storage may be down.
func (a *Audit) advance(f Finding) (row int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch f.Kind {
	case Unreadable:
		a.row++
	case passed: // storage was not asked
	default:
		a.row = 0
	}
	if a.row == 0 {
		a.totals.Position = storage.ObjectKey(f.Location)
	}
	return a.row
}

func (t *Totals) count(k Kind) {
	switch k {
	case good:
		t.Files++
	case Broken:
		t.Files++
		t.Broken++
	case Moved:
		t.Files++
		t.Broken++
		t.Moved++
	case Unverifiable:
		t.Unverifiable++
	case Unreadable:
		t.Unreadable++
	case gone:
		t.Gone++
	}
}
