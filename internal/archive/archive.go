package archive

import (
	"bytes"
	"context"
	"crypto/md5"
	"errors"
	"fmt"
	"io"
	"iter"
	"sync"

	"tecken-upload/internal/archive/fault"
	"tecken-upload/internal/archive/tarball"
	"tecken-upload/internal/background"
	"tecken-upload/internal/inflate"
	"tecken-upload/internal/symbol"
)

// An Error is the archive's own fault. Every other error is ours, and must not be shown to a client.
type Error = fault.Error

// Kinds of an [Error].
var (
	ErrInvalid  = fault.ErrInvalid  // the file is not an archive, is broken, or holds what it must not
	ErrTooLarge = fault.ErrTooLarge // the archive is over one of the [Limits]
)

// Limits bounds an archive's content. All apply at once.
type Limits struct {
	MaxMembers         int      // files, without those that operating systems leave in folders
	MaxMemberSize      int64    // bytes of one member, inflated
	MaxExtractedSize   int64    // bytes of all members together, inflated
	DisallowedSnippets []string // not allowed in names; empty ones are ignored
}

// A Turn is the right to use a processor. It belongs to one goroutine.
type Turn interface {
	// Context ends when the turn is lost.
	Context() context.Context
	// Moved reports n more bytes of content, at least every few megabytes.
	Moved(n int64)
	// Pause gives the turn back, calls wait, and waits for another turn, to inflate as many bytes as wait returns.
	Pause(ctx context.Context, wait func() (cost int64, err error)) error
}

// Work gives an archive the resources for its reading. Implementations are safe for concurrent use.
type Work interface {
	// Inflate calls do once it is the caller's turn to inflate cost bytes.
	Inflate(ctx context.Context, cost int64, do func(Turn) error) error
	// Stage calls write with an empty scratch file, once it may have one and write cost bytes to it. The caller closes the file it returns;
	// after an error of write there is none.
	Stage(ctx context.Context, cost int64, write func(file Scratch) error) (Scratch, error)
	// Memory waits until the archive's decoder may hold so many bytes, instead of those of an earlier call, for as long as the archive is used.
	Memory(ctx context.Context, bytes int64) error
	// Spare is Memory for an archive that still arrives, and does not wait: ok reports whether there is so much to spare. It is the archive's
	// until giveBack is called, or for as long as the archive is used.
	Spare(bytes int64) (giveBack func(), ok bool)
}

// An Archive is an open container. Its methods are not for concurrent use.
type Archive struct {
	Format   string // "zip", "tar", "tar.gz", "tar.bz2", "tar.xz" or "tar.zst"
	Declared int64  // bytes of all members, inflated, by the listing; 0 where there is none, as in every kind of tar

	f       io.ReaderAt
	size    int64     // of f; math.MaxInt64 while it arrives
	arrives *arriving // f, while it arrives; nil: all of it is there
	limits  Limits
	work    Work
	early   *Follower              // what was found while the file arrived; nil: nothing
	tar     *tarball.Tar           // nil: a zip
	entries []*Member              // of a zip: everything in its central directory
	members []*Member              // the entries without directories; of a tar, once it was read to its end
	keys    map[symbol.Key]*Member // the first member of each key
	staging chan struct{}          // one element while a member of a zip is in scratch: one at a time
}

// inflaters lends decoders: *inflate.Reader.
var inflaters = sync.Pool{New: func() any { return inflate.NewReader() }}

// A Member is one file in an archive.
type Member struct {
	Index     int            // its index in the archive, from 0
	Name      string         // in its plain form: see the package comment
	Key       symbol.Key     // zero when Ignored
	Ignored   bool           // harmless extra, not to be published
	Duplicate bool           // an earlier member has the same key and the same content
	Size      int64          // bytes of the content
	MD5       [md5.Size]byte // of the content
	Header    symbol.Header  // of a .sym

	archive *Archive
	sent    string // the name as in the archive
	role    role
	crc     uint32        // of the content
	zip     zipMember     // where and how it is in a zip
	head    symbol.Header // of any member of a tar
	link    *Member       // of a hard link: its target
	content *passing      // of a tar's member, while the reader is at it
}

// Open tells the format of the size bytes in f, and checks the whole listing of a zip. A fault of the archive is an [*Error]. The Archive reads
// f until it is no longer used, and never closes it.
func Open(ctx context.Context, f io.ReaderAt, size int64, l Limits, w Work) (*Archive, error) {
	a := newArchive(f, size, l, w)
	return a, a.open(ctx)
}

func newArchive(f io.ReaderAt, size int64, l Limits, w Work) *Archive {
	return &Archive{Format: "zip", f: f, size: size, limits: l, work: w, staging: make(chan struct{}, 1)}
}

func (a *Archive) open(ctx context.Context) error {
	kind, err := sniff(ctx, a.f, a.size)
	if err != nil {
		return err
	}
	a.tar = kind
	if a.sequential() {
		a.Format = kind.Name
		return a.tar.Open(a.all(ctx), a.limits.MaxMembers)
	}
	return a.listZip(ctx)
}

// sequential reports whether the members can only be read in order, as in every tar.
func (a *Archive) sequential() bool { return a.tar != nil }

// Members reads and checks every member once, and yields it: in the archive's order, each once it and its predecessors are checked. Several
// of a zip are read at once. The last value may be an error: a fault of the archive is an [*Error]; when the context ends, it is its cause.
// Nothing of an archive may become visible before it has yielded its last member.
func (a *Archive) Members(ctx context.Context) iter.Seq2[*Member, error] {
	return func(yield func(*Member, error) bool) {
		verify := a.verifyZip
		if a.sequential() {
			verify = a.verifyTar
		}
		err := verify(ctx, func(m *Member) error {
			if !yield(m, nil) {
				return errStopped
			}
			return nil
		})
		if err != nil && !errors.Is(err, errStopped) {
			yield(nil, err)
		}
	}
}

// errStopped ends the reading when the caller has stopped.
var errStopped = errors.New("no more members are wanted")

// Each calls do for each member that is to be stored, after [Archive.Members] has yielded all: for at most parallel at once where they can be
// read at once, otherwise in turn. [Member.Body] can be called until do returns. Each returns the first error of do; when ctx ends, its cause.
func (a *Archive) Each(ctx context.Context, parallel int, do func(context.Context, *Member) error) error {
	if a.sequential() {
		return a.walkTar(ctx, do)
	}
	g, ctx := background.NewGroup(ctx)
	g.SetLimit(parallel)
	for _, m := range a.members {
		if !m.wanted() {
			continue
		}
		g.Go(func() error {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			return do(ctx, m)
		})
	}
	return g.Wait()
}

// wanted reports whether m must be stored.
func (m *Member) wanted() bool { return !m.Ignored && !m.Duplicate }

// know completes a checked member, the next one of the archive: it resolves a null id, marks a repetition of an earlier member, and fails
// for a contradiction to one.
func (a *Archive) know(m *Member) error {
	m.resolveNull()
	if m.Ignored {
		return nil
	}
	f := a.keys[m.Key]
	switch {
	case f == nil:
		a.keys[m.Key] = m
	case f.Size != m.Size:
		return fault.Invalid("%s and differ: one has %d bytes, the other %d", namesakes(f, m), f.Size, m.Size)
	case !bytes.Equal(f.MD5[:], m.MD5[:]):
		return fault.Invalid("%s and differ: both have %d bytes (%d and %d), but not the same", namesakes(f, m), m.Size, f.Size, m.Size)
	default:
		m.Duplicate = true
	}
	return nil
}

// namesakes begins a sentence about two members with one key: ids may differ in case.
func namesakes(a, b *Member) string {
	if a.Name == b.Name {
		return "Two members are named " + fault.Quote(a.Name)
	}
	return fmt.Sprintf("Two members, %s and %s, are named alike", fault.Quote(a.Name), fault.Quote(b.Name))
}
