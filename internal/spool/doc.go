// Package spool holds uploads on local disk while they are processed.
//
// A spool is one directory shared by two programs: tecken-upload fills it, disk-manager removes what a
// dead server left behind. They agree through the file system alone:
//
//	<dir>/<id>/manifest.json   what is being uploaded, and how far it came
//	<dir>/.new-<id>            a workspace being made
//	<dir>/.tecken-spool        says that this directory is a spool
//
// # Owners and orphans
//
// The owner of a workspace holds a flock(2) on its directory from before it has its name until
// [Workspace.Close]. The kernel drops that lock when the owner exits, however it exits: an unlocked workspace is an
// orphan at once, and a slow upload is never taken for a dead one. Archives and scratch files have no name from the
// moment they are open: their space returns with the process, and no janitor is needed for it.
// Whatever else lies in the directory is a stray, and an orphan too; "lost+found" is left alone.
//
// # Room
//
// Room is promised before it is used. A file's room is allocated ahead of its writes (fallocate) where
// the file system can, and otherwise only counted. [Spool.Create] accepts an upload when
//
//	size + headroom ≤ free − (promised to live workspaces, not yet allocated)
//	size ≤ Options.Max − (promised to live workspaces)
//
// so that with nothing in flight an upload of at most free − headroom and Options.Max always fits. A live workspace that needs more than
// there is waits in line, for up to Options.Wait; a new one is refused, and is refused while live ones wait. What would not fit
// into an empty file system either, or is more than Options.Max, is too large.
//
// # The mark
//
// The server keeps the file .tecken-spool young, and puts it back where something took it: programs that clean /tmp remove old files,
// and a janitor touches nothing where the mark is missing.
//
// # Not promised
//
// Promises are counted per process: two servers on one spool see each other's allocations only. They are as good as
// statfs(2), which lags by seconds on btrfs and ZFS: there the kernel may still say ENOSPC.
// Directory entries and manifests are not counted; the headroom is for them and for other programs.
// Nothing is synced: a spool does not survive a power failure, and need not. A lock shows a dead process, not a
// stuck goroutine. Network file systems are refused, because they neither lock nor unlink as needed.
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
	// ErrTooLarge: a body has more bytes than Receive was to take, or an upload needs more than the spool could ever give it; then the
	// error wraps a *LimitError.
	ErrTooLarge = errors.New("too large")
	// ErrInUse: what was to be reclaimed has an owner, or is no longer what was found.
	ErrInUse = errors.New("in use")
	// ErrNotSpool: the directory lacks the file .tecken-spool.
	ErrNotSpool = errors.New("not a spool")
)

// A FullError says what there was no room for. It wraps ErrFull.
type FullError struct {
	Need int64 // bytes asked for
	Free int64 // bytes that could be given, above headroom and promises; may be negative
	// Busy: it would fit, were all other live workspaces gone: trying again soon may help. Otherwise the
	// disk is full: too much is asked for, or the kernel said ENOSPC or EDQUOT.
	Busy bool
	Err  error // the kernel's word; nil where room was refused by counting
}

// Error says what was asked for and what there was.
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

// Unwrap returns ErrFull and, where there is one, the kernel's error.
func (e *FullError) Unwrap() []error {
	if e.Err == nil {
		return []error{ErrFull}
	}
	return []error{ErrFull, e.Err}
}

// A LimitError says that an upload needs more than the spool could ever give it. It wraps ErrTooLarge.
type LimitError struct {
	Limit int64 // bytes that one upload may have: Options.Max, or the file system less the headroom
}

// Error names the limit.
func (e *LimitError) Error() string {
	return fmt.Sprintf("%v: the spool has at most %d bytes for an upload", ErrTooLarge, e.Limit)
}

// Unwrap returns ErrTooLarge.
func (e *LimitError) Unwrap() error { return ErrTooLarge }

const (
	// pollInterval is how often workspaces that wait for room look at the disk themselves: room also comes
	// from other processes, and from allocations that turn out to be done, of which no event tells.
	pollInterval = 200 * time.Millisecond
	// manifestInterval and manifestBytes pace the manifest during Receive: how stale may the autopsy
	// of a killed upload be? Whichever comes first.
	manifestInterval = 5 * time.Second
	manifestBytes    = 64 << 20

	// growStep is how much room a file of unknown size takes ahead of its writes.
	growStep = 16 << 20
	// bufferSize is how much of a body is gathered before it is written.
	bufferSize = 256 << 10
	// markAge is how old the mark may get: a small part of the days after which files in /tmp are removed.
	markAge = time.Hour
	// allocateStep is the most that one fallocate asks for: the call restarts from zero when a signal interrupts it.
	allocateStep = 256 << 20
)
