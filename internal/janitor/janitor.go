// Package janitor decides which orphans of a spool are removed, and when. The spool finds and removes them.
//
// An orphan has no owner. It stays until it has some age, which leaves time to look at it, and protects files that are just being put
// there. An owned workspace is never touched, however old: a slow upload is no orphan. When the disk runs full, orphaned workspaces go at
// any age: their owners are certainly dead. Other stray files may have a user, and keep their time. An orphan that can't be examined or
// removed does not block the others.
//
// A sweep needs the file system alone, and a bounded amount of memory. Its reports are bounded too, and can go through a pipe as they come
// ([Write], [Read]), since a sweep may be killed.
package janitor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"syscall"
	"time"

	"tecken-upload/internal/spool"
)

// Bounds of one sweep's reports.
const (
	maxFailures   = 10  // kinds of failure reported one by one
	maxWorkspaces = 100 // reclaimed workspaces reported one by one
	maxStrays     = 10  // other reclaimed orphans reported one by one
	maxText       = 2 << 10
	maxKinds      = 50 // extensions of one manifest
	maxKind       = 64 // bytes of one extension
)

// Spool is the part of [spool.Spool] that a sweep uses.
type Spool interface {
	// Orphans yields entries without an owner. An error beside a name concerns that entry alone; one without a name ends the search.
	Orphans(ctx context.Context) iter.Seq2[spool.Orphan, error]
	// Reclaim removes an orphan and returns the number of bytes freed, even if it fails midway. An error wrapping spool.ErrInUse means that
	// the orphan has an owner after all.
	Reclaim(ctx context.Context, o spool.Orphan) (freed int64, err error)
	// Live counts the owned workspaces.
	Live(ctx context.Context) (n int, oldest time.Duration, err error)
	// Usage returns the free space.
	Usage(ctx context.Context) (spool.Usage, error)
}

// A Policy decides which orphans are removed.
type Policy struct {
	OrphanAge time.Duration    // minimum age; 0: all
	Headroom  int64            // bytes; with less than twice this free, workspaces go at once
	Now       func() time.Time // nil: time.Now
}

// A Failure is a kind of failure, and how often it happened.
type Failure struct {
	Kind  string `json:"kind"` // one of few fixed texts
	Text  string `json:"text"` // of the first of its kind
	Count int    `json:"count"`
}

// A Report is the result of a sweep.
type Report struct {
	Found      int           `json:"found"`      // orphans, young ones included
	Reclaimed  int           `json:"reclaimed"`  // orphans that went
	Workspaces int           `json:"workspaces"` // those of them that were workspaces
	Freed      int64         `json:"freed"`      // bytes
	Failed     int           `json:"failed"`     // orphans that could not be examined or removed
	Failures   []Failure     `json:"failures,omitempty"`
	Live       int           `json:"live"`          // workspaces that have an owner
	OldestLive time.Duration `json:"oldest_live"`   // since the oldest of them was made
	OldestLeft time.Duration `json:"oldest_left"`   // since the last change in the oldest workspace that has no owner and is still there
	Low        bool          `json:"low,omitempty"` // less than twice the headroom was free, and a workspace younger than the age went for it
	Duration   time.Duration `json:"duration"`      // how long it took
}

// An Autopsy describes a removed orphan: what was being uploaded, and how far it came.
type Autopsy struct {
	Name      string          `json:"name"`
	Workspace bool            `json:"workspace"`
	Age       time.Duration   `json:"age"`
	Bytes     int64           `json:"bytes"`
	Manifest  *spool.Manifest `json:"manifest,omitempty"`
}

// Sweep reclaims the orphans that the policy selects, and calls tell for up to 100 workspaces and 10 others of them. Failures of single
// orphans are in the report; the error is why the sweep ended early, if it did. The report is valid even then.
func Sweep(ctx context.Context, s Spool, p Policy, tell func(Autopsy)) (Report, error) {
	if p.Now == nil {
		p.Now = time.Now
	}
	w := sweep{spool: s, policy: p, tell: tell}
	start := p.Now()
	err := w.run(ctx)
	w.Duration = p.Now().Sub(start)
	if err != nil {
		return w.Report, fmt.Errorf("sweep: %w", err)
	}
	return w.Report, nil
}

// A sweep is one sweep in progress.
type sweep struct {
	Report

	spool  Spool
	policy Policy
	tell   func(Autopsy)
	strays int // reported so far
}

func (w *sweep) run(ctx context.Context) (err error) {
	if w.Live, w.OldestLive, err = w.spool.Live(ctx); err != nil {
		return err
	}
	for o, err := range w.spool.Orphans(ctx) {
		switch {
		case err != nil && o.Name == "":
			return err
		case err != nil && ctx.Err() != nil:
			return context.Cause(ctx) // the sweep ends, the orphan is fine
		case err != nil:
			w.Found++
			w.fail("orphan not examined", err)
		case w.due(ctx, o):
			w.reclaim(ctx, o)
		default:
			w.Found++
			w.left(o)
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
	return nil
}

// due reports whether an orphan must go now.
func (w *sweep) due(ctx context.Context, o spool.Orphan) bool {
	if o.Age >= w.policy.OrphanAge {
		return true
	}
	if !o.Workspace {
		return false
	}
	usage, err := w.spool.Usage(ctx)
	if err != nil {
		w.fail("spool not measured", err)
		return false
	}
	low := usage.Free < 2*w.policy.Headroom
	w.Low = w.Low || low
	return low
}

func (w *sweep) reclaim(ctx context.Context, o spool.Orphan) {
	freed, err := w.spool.Reclaim(ctx, o)
	w.Freed += freed
	if errors.Is(err, spool.ErrInUse) {
		return // it has an owner after all
	}
	w.Found++
	if err != nil && ctx.Err() != nil {
		w.left(o) // interrupted; the next sweep continues
		return
	}
	if err != nil {
		w.fail("orphan not removed", err)
		w.left(o)
		return
	}
	w.Reclaimed++
	told, most := &w.strays, maxStrays
	if o.Workspace {
		told, most = &w.Workspaces, maxWorkspaces
	}
	if *told++; *told <= most {
		w.tell(Autopsy{Name: o.Name, Workspace: o.Workspace, Age: o.Age, Bytes: freed, Manifest: brief(o.Manifest)})
	}
}

func (w *sweep) left(o spool.Orphan) {
	if o.Workspace {
		w.OldestLeft = max(w.OldestLeft, o.Age)
	}
}

// fail counts an orphan's failure by its kind: the action and the kernel's error.
func (w *sweep) fail(what string, err error) {
	w.Failed++
	kind := what
	var errno syscall.Errno
	if errors.As(err, &errno) {
		kind += ": " + errno.Error()
	}
	for i := range w.Failures {
		if f := &w.Failures[i]; f.Kind == kind {
			f.Count++
			return
		}
	}
	if len(w.Failures) < maxFailures {
		w.Failures = append(w.Failures, Failure{Kind: kind, Text: clip(err.Error()), Count: 1})
	}
}

// Kind returns why a sweep ended early, as one of a few fixed texts.
func Kind(err error) string {
	var errno syscall.Errno
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return "sweep interrupted"
	case errors.Is(err, spool.ErrNotSpool):
		return "not a spool"
	case errors.Is(err, fs.ErrNotExist):
		return "spool missing"
	case errors.As(err, &errno):
		return "sweep failed: " + errno.Error()
	}
	return "sweep failed"
}

// brief cuts a manifest to a reportable size: its contents may be anything.
func brief(m *spool.Manifest) *spool.Manifest {
	if m == nil {
		return nil
	}
	b := *m
	b.TokenLabel, b.User, b.Instance, b.Phase = clip(m.TokenLabel), clip(m.User), clip(m.Instance), clip(m.Phase)
	if len(m.Kinds) > maxKinds {
		b.Kinds = nil
	}
	for kind := range m.Kinds {
		if len(kind) > maxKind {
			b.Kinds = nil
		}
	}
	return &b
}

func clip(text string) string {
	if len(text) > maxText {
		return text[:maxText] + "…"
	}
	return text
}
