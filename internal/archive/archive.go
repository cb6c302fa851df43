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

	"tecken-upload/internal/inflate"
	"tecken-upload/internal/symbol"
)

// maxTarMember is the largest member of a tar, in bytes, whatever Limits say: one may have to be staged
// in scratch.
const maxTarMember = 2 << 30

// Limits bounds what an archive may hold. All are in force at once.
type Limits struct {
	MaxMembers         int      // files, without those that operating systems leave in a folder
	MaxMemberSize      int64    // bytes of one member, inflated
	MaxExtractedSize   int64    // bytes of all members together, inflated
	DisallowedSnippets []string // no name may contain one of them; empty ones are passed over
}

// An Archive is a container that was opened. Its methods are not for concurrent use.
type Archive struct {
	f         io.ReaderAt
	size      int64
	limits    Limits
	format    format
	window    int64     // of the decoder, in bytes
	entries   []*Member // of a zip: everything in its central directory
	members   []*Member // the entries but for directories
	verified  bool
	inflaters sync.Pool // of *inflate.Reader
}

// A Member is one file in an archive.
type Member struct {
	Name      string         // as sent, but for its plain form: see the package comment
	Key       symbol.Key     // zero when Ignored
	Ignored   bool           // harmless extra: not to be published
	Duplicate bool           // an earlier member has the same key and the same content
	Size      int64          // bytes of the content
	MD5       [md5.Size]byte // of the content
	Header    symbol.Header  // of a .sym

	archive *Archive
	sent    string // the name as it stands in the archive
	role    role
	crc     uint32        // of the content
	zip     zipMember     // where and how a zip holds it
	head    symbol.Header // of a tar's member, whatever its name
	link    *Member       // of a hard link: the member it is one to
	content *passing      // of a tar's member, while Walk yields it
}

// A Slot is the right to work on a member.
type Slot interface {
	// Context is what the work is to be done in; it ends when the slot is lost.
	Context() context.Context
	// Moved is told as the work gets on, every few megabytes.
	Moved()
	// Release gives the slot back; it is called once.
	Release()
}

// Acquire waits for a slot for work on cost bytes.
type Acquire func(ctx context.Context, cost int64) (Slot, error)

// Open tells the format of the size bytes in f, and checks the whole listing of a zip. A fault of the
// archive is an [*Error]. The Archive reads f until it is no longer used, and never closes it.
func Open(ctx context.Context, f io.ReaderAt, size int64, l Limits) (*Archive, error) {
	format, err := sniff(ctx, f, size)
	if err != nil {
		return nil, err
	}
	a := &Archive{f: f, size: size, limits: l, format: format}
	a.inflaters.New = func() any { return inflate.NewReader() }
	if a.Sequential() {
		err = a.chooseWindow(ctx)
	} else {
		err = a.listZip(ctx)
	}
	if err != nil {
		return nil, err
	}
	return a, nil
}

// Format returns "zip", "tar", "tar.gz", "tar.bz2", "tar.xz" or "tar.zst".
func (a *Archive) Format() string { return a.format.name }

// Sequential reports whether the members can only be read one after the other, as in every kind of tar.
func (a *Archive) Sequential() bool { return a.format.name != "zip" }

// Inflated returns the bytes of all members as the listing declares them; 0 where there is no listing, as in
// every kind of tar.
func (a *Archive) Inflated() int64 {
	var sum int64
	for _, m := range a.entries {
		sum += m.Size
	}
	return sum
}

// Verify inflates every member once and checks all of it, and returns the members in the archive's
// order. Each member is read while holding a slot; several of a zip are read at once. A fault of the
// archive is an [*Error], but for [ErrMoreMemory]; when the context ends, its cause is returned.
func (a *Archive) Verify(ctx context.Context, acquire Acquire) ([]*Member, error) {
	verify := a.verifyZip
	if a.Sequential() {
		verify = a.verifyTar
	}
	if err := verify(ctx, acquire); err != nil {
		return nil, err
	}
	for _, m := range a.members {
		m.resolveNull()
	}
	if err := findDuplicates(a.members); err != nil {
		return nil, err
	}
	a.verified = true
	return a.members, nil
}

// Walk goes through the verified members again, in order: the very members that Verify returned. The
// body of a Sequential archive's member can be made and read only until the next one is yielded; of
// another's, at any time and concurrently. After an error nothing more is yielded.
func (a *Archive) Walk(ctx context.Context) iter.Seq2[*Member, error] {
	return func(yield func(*Member, error) bool) {
		if !a.verified {
			yield(nil, errors.New("walk of an archive that was not verified"))
			return
		}
		if a.Sequential() {
			a.walkTar(ctx, yield)
			return
		}
		for _, m := range a.members {
			if ctx.Err() != nil {
				yield(nil, context.Cause(ctx))
				return
			}
			if !yield(m, nil) {
				return
			}
		}
	}
}

// findDuplicates marks members that repeat an earlier one, and fails where one contradicts it.
func findDuplicates(members []*Member) error {
	first := make(map[symbol.Key]*Member, len(members))
	for _, m := range members {
		if m.Ignored {
			continue
		}
		f := first[m.Key]
		switch {
		case f == nil:
			first[m.Key] = m
		case f.Size != m.Size:
			return invalid("%s and differ: one has %d bytes, the other %d", namesakes(f, m), f.Size, m.Size)
		case !bytes.Equal(f.MD5[:], m.MD5[:]):
			return invalid("%s and differ: both have %d bytes (%d and %d), but not the same", namesakes(f, m), m.Size, f.Size, m.Size)
		default:
			m.Duplicate = true
		}
	}
	return nil
}

// namesakes begins a sentence about two members of one key: ids are of any case.
func namesakes(a, b *Member) string {
	if a.Name == b.Name {
		return "Two members are named " + quote(a.Name)
	}
	return fmt.Sprintf("Two members, %s and %s, are named alike", quote(a.Name), quote(b.Name))
}
