package upload

import (
	"context"

	"tecken-upload/internal/sched"
	"tecken-upload/internal/spool"
)

// Storage keeps symbol files. Implementations are safe for concurrent use; every method ends soon after
// its context. A method that fails because storage is unreachable, refuses us, or is overloaded returns
// an error wrapping [ErrUnavailable], after retries of its own with back-off; where no retry can help it wraps [ErrRefused].
type Storage interface {
	// Name is the bucket's name, or the directory's base name.
	Name() string

	// Stat describes the object at loc, or returns ErrNotFound.
	Stat(ctx context.Context, loc Location) (Object, error)

	// Put stores body at loc, described by obj (whose Modified it ignores), replacing what is there.
	// The object becomes visible whole or not at all: after an error, readers see the former object,
	// the new one (stored, but the answer was lost), or none; never a part or a mixture. Put verifies body's
	// length and CRC-32 on its way. It may read body more than once, always from the start, and does
	// not use it after returning.
	Put(ctx context.Context, loc Location, obj Object, body Body) error

	// Refresh makes the object at loc as new for a retention rule, content unchanged: afterwards its
	// Modified is now. It returns ErrNotFound where there is none.
	Refresh(ctx context.Context, loc Location, obj Object) error

	Stager
}

// A Stager brings symbol files to storage ahead of their commit.
type Stager interface {
	// Stage brings body to storage as Put does, but where no reader sees it. Before any byte of body is sent, note receives the id under
	// which a sweep finds and discards what a dead process has left; a storage that leaves nothing behind does not call it. An error of
	// note ends the staging and is wrapped as it is. After an error nothing is left, as far as storage can be reached.
	//
	// Where body.At is set, Stage reads it, from several goroutines; else body.Reader, once. Neither is used after Stage has returned.
	Stage(ctx context.Context, loc Location, obj Object, body Body, note func(ctx context.Context, id string) error) (Staged, error)
}

// Staged is a symbol file that is in storage and invisible. Its holder calls Commit at most once, and Abort unless Commit returned nil.
type Staged interface {
	// Commit makes it the object at its location, with the promises of Put; it is durable once Commit returns nil. After Abort it fails.
	Commit(ctx context.Context) error

	// Abort throws it away. It works after ctx has ended, and while a Commit hangs: then the object appears or not. It takes seconds at
	// most. After a Commit that returned nil it does nothing.
	Abort(ctx context.Context) error
}

// Records keeps what became of uploads. Implementations are safe for concurrent use. A method that fails
// because the database is unreachable or busy returns an error wrapping [ErrUnavailable].
type Records interface {
	// Begin records a new upload, without its end, and assigns u.ID.
	Begin(ctx context.Context, u *Upload) error

	// Progress records the progress of uploads in flight, and that their process lives. It skips uploads that have ended or have no
	// record.
	Progress(ctx context.Context, uploads []Upload) error

	// Finish records u's end and its files, all of it or nothing, and is durable once it returns nil.
	// Called again for the same upload it changes nothing.
	Finish(ctx context.Context, u *Upload) error

	StagedRecords
}

// StagedRecords keeps the ids of what uploads have staged, so that a sweep finds what a dead process has left.
type StagedRecords interface {
	// NoteStaged records that an upload stages something under an id, and is durable once it returns nil. Called again it changes nothing.
	NoteStaged(ctx context.Context, uploadID int64, id string) error

	// ForgetStaged removes the records of ids under which nothing is staged any more: committed or aborted. It skips unknown ones.
	ForgetStaged(ctx context.Context, ids []string) error
}

// A Pass is what an upload holds from its admission on. Implementations are safe for concurrent use.
type Pass interface {
	// Workspace returns the upload's room on disk. Run closes it.
	Workspace() *spool.Workspace
	// Received reports that the whole archive is in the workspace, with its size.
	Received(size int64)
	// Done reports a piece of processing, a member verified or published, and the bytes of the archive dealt with since the last call,
	// which may be 0. Those of a completed upload add up to its size.
	Done(bytes int64)
	// Close closes the workspace and gives back whatever the upload holds. Run calls it at its end. Calling it again does nothing.
	Close() error
}

// Slots shares a bounded amount of work among tenants; a [sched.Scheduler] does.
type Slots interface {
	// Acquire waits for a slot, to be released once. It fails with the context's cause, or because there is no
	// waiting for one: sched.ErrQueueFull, sched.ErrRunaways.
	Acquire(ctx context.Context, t sched.Task) (*sched.Slot, error)

	// Run waits for a slot and calls work with it. It returns work's error; or, where work does not heed the end of
	// its context, the cause of that, soon after it, with work still running.
	Run(ctx context.Context, t sched.Task, work func(ctx context.Context, slot *sched.Slot) error) error
}
