package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"tecken-upload/internal/health"
	"tecken-upload/internal/spool"
	"tecken-upload/internal/upload"
)

// lateInterval is the pause between tries to open a directory.
const lateInterval = 2 * time.Second

// errNoSpool is the error of a spool that could not be opened yet.
var errNoSpool = fmt.Errorf("%w: the spool could not be opened yet", upload.ErrUnavailable)

// late are the directories that could not be opened at the start for a fault that can end: a volume without rights for this user, or a full
// or read-only disk. Meanwhile both heartbeats are red, and uploads are answered 503. A restart does not help.
type late struct {
	mu   sync.Mutex
	open map[string]func(context.Context) error // by setting
}

// orLate opens a setting's directory, now or later.
func (in *instance) orLate(ctx context.Context, setting string, open func(context.Context) error) error {
	err := open(ctx)
	if !upload.MayPass(err) {
		return err
	}
	in.logger.ErrorContext(ctx, "directory can't be used yet", "setting", setting, "err", err, "retry_in", lateInterval)
	in.reporter.Error("directory can't be used yet: "+setting, err)
	in.late.mu.Lock()
	defer in.late.mu.Unlock()
	if in.late.open == nil {
		in.late.open = make(map[string]func(context.Context) error)
	}
	in.late.open[setting] = open
	return nil
}

// left returns the settings with directories that are not open yet.
func (l *late) left() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Sorted(maps.Keys(l.open))
}

// openLate retries, until ctx ends, to open what could not be opened at the start.
func (in *instance) openLate(ctx context.Context) error {
	tick := time.NewTicker(lateInterval)
	defer tick.Stop()
	for len(in.late.left()) > 0 {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
		for _, setting := range in.late.left() {
			if in.late.try(ctx, setting) {
				in.logger.InfoContext(ctx, "directory can be used now", "setting", setting)
			}
		}
	}
	return nil
}

// try opens a setting's directory, and reports success.
func (l *late) try(ctx context.Context, setting string) bool {
	l.mu.Lock()
	open := l.open[setting]
	l.mu.Unlock()
	if open(ctx) != nil {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.open, setting)
	return true
}

// disk is what heartbeats check of this machine's disks.
type disk struct {
	*health.Disks
	late *late
}

// Full reports whether to send traffic elsewhere.
func (d *disk) Full() bool { return d.Disks.Full() || len(d.late.left()) > 0 }

// lateSpool is the spool, once it is open.
type lateSpool struct{ atomic.Pointer[spool.Spool] }

// Create implements gate.Spool.
func (l *lateSpool) Create(ctx context.Context, size int64) (*spool.Workspace, error) {
	s := l.Load()
	if s == nil {
		return nil, errNoSpool
	}
	return s.Create(ctx, size)
}

// Usage implements gate.Spool.
func (l *lateSpool) Usage(ctx context.Context) (spool.Usage, error) {
	s := l.Load()
	if s == nil {
		return spool.Usage{}, errNoSpool
	}
	return s.Usage(ctx)
}

// Contended implements gate.Spool.
func (l *lateSpool) Contended() bool {
	s := l.Load()
	return s != nil && s.Contended()
}

// Close closes the spool, if it is open.
func (l *lateSpool) Close() error {
	if s := l.Load(); s != nil {
		return s.Close()
	}
	return nil
}
