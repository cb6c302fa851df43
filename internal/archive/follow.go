package archive

import (
	"context"
	"io"
	"math"
	"runtime"
	"sync"
	"sync/atomic"

	"tecken-upload/internal/archive/tarcheck"
	"tecken-upload/internal/background"
)

// followStep is how many bytes of the file a follower waits for at once: enough to be worth a turn.
const followStep = 1 << 20

// followTurn is how many bytes of a member are read in one turn: others wait for theirs, some with a deadline.
const followTurn = 16 << 20

// A Follower verifies the members of an archive while its file arrives, so that little is left to do after the last byte. It does not read
// ahead of the file, and never delays its arrival. Its methods are not for concurrent use.
//
// In a zip it guesses where they are from what comes before them; what it finds counts only where it agrees with the archive's directory. What
// it does not find, or what is broken, is verified once the file is whole, and the archive's faults are found then.
//
// A tar it reads as it would be read later, once, and keeps its faults. Without memory to spare for the decoder the tar is not followed.
type Follower struct {
	archive *Archive // of the members it finds
	file    *arriving
	found   func(*Member)
	cancel  context.CancelFunc
	running sync.WaitGroup
	places  chan struct{} // an element for each member that is being verified
	names   int           // bytes of the names in local headers so far

	mu      sync.Mutex          // guards what follows
	whole   bool                // no further member is begun
	members map[int64]*followed // of a zip
	inOrder []*Member           // of a tar
	given   *growth             // their number; whole when the Follower has ended
	err     error               // the end of a tar; errGivenUp before
}

// A followed is a member that is verified as it arrives.
type followed struct {
	*Member // for others once done is closed

	wide bool          // its local header has a zip64 field
	end  atomic.Int64  // the offset where its data end at the latest
	done chan struct{} // closed when all of it was read
	good bool          // all of it is as its local header says, or its data descriptor is to say
}

// Follow follows the archive that arrives in f, until ctx ends. found is called for each symbol file that is good by itself, at any time, by
// any goroutine, and must not block: its Body can be made at once if it is [Member.Ready], and the archive may turn out to be broken.
func Follow(ctx context.Context, f io.ReaderAt, l Limits, w Work, found func(*Member)) *Follower {
	ctx, cancel := context.WithCancel(ctx)
	file := &arriving{ReaderAt: f, growth: newGrowth()}
	fl := &Follower{
		archive: newArchive(file, math.MaxInt64, l, w),
		file:    file,
		found:   found,
		cancel:  cancel,
		places:  make(chan struct{}, runtime.GOMAXPROCS(0)),
		members: make(map[int64]*followed),
		given:   newGrowth(),
		err:     errGivenUp,
	}
	fl.archive.arrives = file
	fl.start(func() {
		defer fl.given.end()
		err := fl.follow(ctx)
		fl.mu.Lock()
		defer fl.mu.Unlock()
		fl.err = err
	})
	return fl
}

// follow recognises the archive by its first block, and reads it.
func (f *Follower) follow(ctx context.Context) error {
	there, err := f.file.wait(ctx, tarcheck.BlockSize)
	if err != nil {
		return err
	}
	kind, err := sniff(ctx, f.file, min(there, tarcheck.BlockSize))
	switch {
	case err != nil:
		return errGivenUp // what else it is shows once it is whole
	case kind == nil:
		f.walk(ctx)
		return nil
	}
	f.archive.tar = kind
	return f.followTar(ctx)
}

// start calls a function in a goroutine.
func (f *Follower) start(do func()) {
	f.running.Add(1)
	background.Go("archive follower", func() {
		defer f.running.Done()
		do()
	})
}

// Arrived reports that size bytes of the file are there.
func (f *Follower) Arrived(size int64) { f.file.grow(size) }

// Open opens the archive, of which all size bytes are there, as the function [Open] does. Its Members waits for what the Follower is at.
func (f *Follower) Open(ctx context.Context, size int64) (*Archive, error) {
	f.file.grow(size)
	f.file.end()
	f.mu.Lock()
	f.whole = true
	f.mu.Unlock()
	a := newArchive(f.file.ReaderAt, size, f.archive.limits, f.archive.work)
	a.early = f
	return a, a.open(ctx)
}

// Close ends the following. Nothing of it reads the file afterwards.
func (f *Follower) Close() {
	f.cancel()
	f.running.Wait()
}

// begin notes a member that is about to be verified. It returns false once the file is whole.
func (f *Follower) begin(m *followed) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.whole {
		f.members[m.zip.header] = m
	}
	return !f.whole
}

// at returns the member with the local header at an offset, or nil.
func (f *Follower) at(header int64) *followed {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.members[header]
}
