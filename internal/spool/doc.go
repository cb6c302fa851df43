// Package spool holds uploads on local disk while they are processed.
//
// A spool is one directory shared by two programs: tecken-upload fills it, disk-manager removes what a dead server left behind. They share
// only the file system:
//
//	<dir>/<id>/manifest.json   what is being uploaded, and how far it came
//	<dir>/.new-<id>            a workspace being made
//	<dir>/.tecken-spool        marks the directory as a spool
//
// # Owners and orphans
//
// The owner of a workspace holds a flock(2) on its directory from before it has its name until [Workspace.Close]. The kernel drops that
// lock when the owner exits, however it exits: an unlocked workspace is an orphan at once, and a slow upload is never taken for a dead one.
// Archives and scratch files have no name once they are open: their space returns with the process, without a janitor. Anything else in the
// directory is a stray, and an orphan too, except "lost+found".
//
// # Room
//
// Room is promised before it is used. A file's room is allocated ahead of its writes (fallocate) if the file system can, and otherwise only
// counted. [Spool.Create] accepts an upload when
//
//	size + headroom ≤ free − (promised to live workspaces, not yet allocated)
//	size ≤ Options.Max − (promised to live workspaces)
//
// so that with nothing in flight an upload of at most free − headroom and Options.Max always fits. A live workspace that needs more waits
// in line, for up to Options.Wait; a new one is refused, also while live ones wait. An upload that would not fit into an empty file system,
// or is above Options.Max, is too large.
//
// # The mark
//
// The server keeps the file .tecken-spool young, and restores it: programs that clean /tmp remove old files, and a janitor touches nothing
// without the mark.
//
// # Not promised
//
// Promises are counted per process: two servers on one spool see only each other's allocations. They are as good as statfs(2), which lags
// by seconds on btrfs and ZFS: there the kernel may still return ENOSPC. Directory entries and manifests are not counted; the headroom is
// for them and for other programs. Nothing is synced: a spool need not survive a power failure. A lock shows a dead process, not a stuck
// goroutine. Network file systems are refused, because they neither lock nor unlink as needed.
package spool

import (
	"errors"
	"fmt"
	"time"
)

// Kinds of failure, tested with errors.Is.
var (
	// ErrFull: there is no room. Every error that wraps it is, or wraps, a *FullError.
	ErrFull = errors.New("the spool is full")
	// ErrTooLarge: a body is above Receive's limit, or an upload needs more than the spool could ever give; then the error wraps a
	// *LimitError.
	ErrTooLarge = errors.New("too large")
	// ErrInUse: the orphan has an owner, or has been replaced.
	ErrInUse = errors.New("in use")
	// ErrNotSpool: the directory lacks the file .tecken-spool.
	ErrNotSpool = errors.New("not a spool")
)

// A FullError is a lack of room. It wraps ErrFull.
type FullError struct {
	Need int64 // bytes asked for
	Free int64 // bytes available above headroom and promises; may be negative
	// Busy: it would fit with all other live workspaces gone, so a retry may help. Otherwise the disk is full: too much is asked for, or
	// the kernel returned ENOSPC or EDQUOT.
	Busy bool
	Err  error // the kernel's error; nil if room was refused by counting
}

// Error gives the bytes needed and available.
func (e *FullError) Error() string {
	if e.Err != nil {
		return fmt.Sprintf("%v: %v", ErrFull, e.Err)
	}
	kind := "on this disk"
	if e.Busy {
		kind = "now"
	}
	return fmt.Sprintf("%v: %d bytes needed, %d free %s", ErrFull, e.Need, max(0, e.Free), kind)
}

// Unwrap returns ErrFull and the kernel's error, if any.
func (e *FullError) Unwrap() []error {
	if e.Err == nil {
		return []error{ErrFull}
	}
	return []error{ErrFull, e.Err}
}

// A LimitError is an upload that needs more than the spool could ever give. It wraps ErrTooLarge.
type LimitError struct {
	Limit int64 // bytes of the largest upload: Options.Max, or the file system less the headroom
}

// Error names the limit.
func (e *LimitError) Error() string {
	return fmt.Sprintf("%v: the spool has at most %d bytes for an upload", ErrTooLarge, e.Limit)
}

// Unwrap returns ErrTooLarge.
func (e *LimitError) Unwrap() error { return ErrTooLarge }

const (
	// pollInterval is how often workspaces that wait for room look at the disk: room also comes from other processes and finished
	// allocations, without an event.
	pollInterval = 200 * time.Millisecond
	// manifestInterval and manifestBytes pace the manifest during Receive, whichever comes first: they bound how stale a killed upload's
	// autopsy is.
	manifestInterval = 5 * time.Second
	manifestBytes    = 64 << 20

	// growStep is the room that a file of unknown size reserves ahead of its writes.
	growStep = 16 << 20
	// bufferSize is the part of a body gathered for a write.
	bufferSize = 256 << 10
	// markAge is the largest age of the mark: far below the days after which files in /tmp are removed.
	markAge = time.Hour
	// allocateStep bounds one fallocate: the call restarts from zero when a signal interrupts it.
	allocateStep = 256 << 20
)
