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
	// window bounds the files that wait for an earlier one: a page of an S3 listing.
	window = 1000
	// maxUnreadable is the number of unreadable files in a row that end an audit. We would rather stop early than report every file of a
	// storage that is down.
	maxUnreadable = 10
)

// Storage is the audited storage. It is safe for concurrent use.
type Storage interface {
	// List yields the symbol files with object keys that begin with prefix and come after the key after, in the byte order of their keys. An
	// error is the last value.
	List(ctx context.Context, prefix, after string) iter.Seq2[storage.Entry, error]

	// Open opens the object at loc for a comparison with its metadata, or returns upload.ErrNotFound. The caller closes it.
	Open(ctx context.Context, loc upload.Location) (*storage.Stored, error)

	// SetAside moves the object at loc with its metadata to its storage.BrokenKey. It fails with storage.ErrChanged if the object has
	// another version, and with upload.ErrNotFound if there is none.
	SetAside(ctx context.Context, loc upload.Location, version string) error
}

// Config is what is audited, and how.
type Config struct {
	Storage Storage

	// Prefix is the beginning of a symbol key ("xul.pdb/44E4"), of regular and try uploads. With v1/ in front it means regular uploads
	// alone, with try/ or try/v1/ try uploads alone.
	Prefix string
	After  string    // start after this object key; empty: from the first
	Since  time.Time // skip files last stored or refreshed before
	Repair bool      // move broken files out of the way

	Parallel int   // files read at once; each takes one core at most
	Rate     int64 // bytes a second of all files together; 0: no limit

	// Report is called for each reportable file, in the order of keys, one call at a time. Its error ends the audit.
	Report func(Finding) error
}

// prefixes returns the prefixes of object keys for a Config's Prefix, in order.
func prefixes(prefix string) []string {
	if strings.HasPrefix(prefix, storage.RegularPrefix) || strings.HasPrefix(prefix, storage.TryPrefix) {
		return []string{prefix}
	}
	if name, ok := strings.CutPrefix(prefix, "try/"); ok {
		return []string{storage.TryPrefix + name}
	}
	return []string{storage.TryPrefix + prefix, storage.RegularPrefix + prefix}
}

// Totals are an audit's progress.
type Totals struct {
	Bytes int64 // stored bytes read
	Files int   // compared with their metadata

	Broken       int // of Files, those that differ
	Moved        int // of Broken, those moved out of the way
	Unverifiable int // files without metadata
	Unreadable   int // could not be read to the end
	Gone         int // listed, then gone

	// Position is the last object key before which all files are done; empty: none.
	Position string
}

// An Audit is one pass through storage.
type Audit struct {
	Config
	pace pace

	mu     sync.Mutex // guards the fields below
	totals Totals
	row    int // unreadable files in a row
}

// New prepares an audit.
func New(c Config) *Audit {
	return &Audit{Config: c, pace: pace{rate: c.Rate}, totals: Totals{Position: c.After}}
}

// Totals returns the audit's progress.
func (a *Audit) Totals() Totals {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.totals
}

// A job is a file to read.
type job struct {
	location upload.Location
	done     chan Finding // receives the finding, once
}

// Run goes through storage once. It returns nil when every file was examined, whatever was found; else the cause of ctx, or the error that
// stopped it. Another audit can continue after Position.
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
			continue // left to another audit, from Position on
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

// list queues every file in the order of keys, and passes those to read to the workers.
func (a *Audit) list(ctx context.Context, queue, work chan<- *job) {
	defer close(queue)
	defer close(work)
	for _, prefix := range prefixes(a.Prefix) {
		for entry, err := range a.Storage.List(ctx, prefix, a.After) {
			j := &job{location: entry.Location, done: make(chan Finding, 1)}
			queue <- j // Run takes all
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

// take handles the next file's finding, in the order of keys. An error ends the audit. Broken files are moved here, one by one, so that a
// killed process has reported all its moves except the last.
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
		return fmt.Errorf("%d files in a row can't be read; the last: %s", row, f.Reason)
	}
	return nil
}

// report counts a file, and reports it if its kind is reportable.
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

// advance moves Position to a file, and returns the number of unreadable files in a row. Position stays before such a row until it ends:
// storage may be down.
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
