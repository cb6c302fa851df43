// Package janitor decides which orphan of a spool goes, and when. How one is found and removed is the
// spool's affair.
//
// An orphan has no owner, so nobody misses it; its age leaves time to look at it, and keeps hands off
// what somebody is just putting there. What has an owner is never touched, however old: a
// slow upload is no orphan. One orphan that can't be examined or removed does not keep the others.
//
// A sweep needs the file system alone, and a bounded amount of memory.
package janitor

import (
	"context"
	"fmt"
	"iter"
	"log/slog"
	"time"

	"tecken-upload/internal/spool"
)

// maxErrors is how many failures of one sweep are told one by one.
const maxErrors = 10

// Spool is what a sweep needs of a spool; its methods are those of [spool.Spool].
type Spool interface {
	// Orphans yields what has no owner. An error beside a name concerns that entry alone; one without
	// a name ends the search.
	Orphans(ctx context.Context) iter.Seq2[spool.Orphan, error]
	// Reclaim removes an orphan and says how many bytes that freed, also where it fails in the middle.
	Reclaim(ctx context.Context, o spool.Orphan) (freed int64, err error)
}

// A Policy says which orphans go.
type Policy struct {
	OrphanAge time.Duration    // those that are at least this old; 0: all
	Now       func() time.Time // nil: time.Now
}

// A Report says what a sweep found and did.
type Report struct {
	Found     int           // orphans, young ones included
	Reclaimed int           // orphans that went
	Freed     int64         // bytes
	Failed    int           // orphans that could not be examined or removed
	Errors    []error       // the first ten reasons
	Duration  time.Duration // how long it took
}

// Sweep reclaims the orphans that the policy says must go, and logs each with its manifest: what was being uploaded,
// and how far it came. Failures of single orphans are reported, not returned; the error says why the
// sweep ended early, if it did. Its report is of use even then.
func Sweep(ctx context.Context, s Spool, p Policy, log *slog.Logger) (Report, error) {
	now := p.Now
	if now == nil {
		now = time.Now
	}
	var r Report
	start := now()
	err := r.sweep(ctx, s, p, log)
	r.Duration = now().Sub(start)
	if err != nil {
		return r, fmt.Errorf("sweep: %w", err)
	}
	return r, nil
}

func (r *Report) sweep(ctx context.Context, s Spool, p Policy, log *slog.Logger) error {
	for o, err := range s.Orphans(ctx) {
		switch {
		case err != nil && o.Name == "":
			return err
		case err != nil:
			r.Found++
			r.fail(err)
		case o.Age < p.OrphanAge:
			r.Found++
		default:
			r.Found++
			r.reclaim(ctx, s, o, log)
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
	return nil
}

func (r *Report) reclaim(ctx context.Context, s Spool, o spool.Orphan, log *slog.Logger) {
	freed, err := s.Reclaim(ctx, o)
	r.Freed += freed
	if err != nil {
		r.fail(err)
		return
	}
	r.Reclaimed++
	log.Log(ctx, level(o), "orphan reclaimed",
		"name", o.Name, "workspace", o.Workspace, "age", o.Age, "bytes", freed, "manifest", o.Manifest)
}

// level makes a dead server stand out among litter.
func level(o spool.Orphan) slog.Level {
	if o.Workspace {
		return slog.LevelWarn
	}
	return slog.LevelInfo
}

func (r *Report) fail(err error) {
	if r.Failed++; len(r.Errors) < maxErrors {
		r.Errors = append(r.Errors, err)
	}
}
