package health

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"tecken-upload/internal/spool"
	"tecken-upload/internal/upload"
)

// LateInterval is the pause between tries to open a directory.
const LateInterval = 2 * time.Second

// errNoSpool is the error of a spool that could not be opened yet.
var errNoSpool = fmt.Errorf("%w: the spool could not be opened yet", upload.ErrUnavailable)

// Late are the directories that could not be opened at the start for a fault that can end: a volume without rights for this user, or a full
// or read-only disk. Meanwhile both heartbeats must be red. A restart does not help. It is safe for concurrent use.
type Late struct {
	Failed func(setting string, err error) // called once a setting
	Opened func(setting string)

	mu   sync.Mutex
	open map[string]func(context.Context) error // by setting
}

// Open opens a setting's directory, now or later. It returns the error of a fault that does not end by itself.
func (l *Late) Open(ctx context.Context, setting string, open func(context.Context) error) error {
	err := open(ctx)
	if !upload.MayPass(err) {
		return err
	}
	l.Failed(setting, err)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open == nil {
		l.open = make(map[string]func(context.Context) error)
	}
	l.open[setting] = open
	return nil
}

// Left returns the settings with directories that are not open yet.
func (l *Late) Left() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Sorted(maps.Keys(l.open))
}

// Retry tries to open what is left, until nothing is or ctx ends.
func (l *Late) Retry(ctx context.Context) error {
	tick := time.NewTicker(LateInterval)
	defer tick.Stop()
	for len(l.Left()) > 0 {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
		for _, setting := range l.Left() {
			if l.try(ctx, setting) {
				l.Opened(setting)
			}
		}
	}
	return nil
}

// try opens a setting's directory, and reports success.
func (l *Late) try(ctx context.Context, setting string) bool {
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

// A LateSpool is the spool, once it is open.
type LateSpool struct{ atomic.Pointer[spool.Spool] }

// Create implements gate.Spool.
func (l *LateSpool) Create(ctx context.Context, size int64) (*spool.Workspace, error) {
	s := l.Load()
	if s == nil {
		return nil, errNoSpool
	}
	return s.Create(ctx, size)
}

// Usage implements gate.Spool.
func (l *LateSpool) Usage(ctx context.Context) (spool.Usage, error) {
	s := l.Load()
	if s == nil {
		return spool.Usage{}, errNoSpool
	}
	return s.Usage(ctx)
}

// Contended implements gate.Spool.
func (l *LateSpool) Contended() bool {
	s := l.Load()
	return s != nil && s.Contended()
}

// Close closes the spool, if it is open.
func (l *LateSpool) Close() error {
	if s := l.Load(); s != nil {
		return s.Close()
	}
	return nil
}
