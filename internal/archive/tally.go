package archive

import "tecken-upload/internal/archive/fault"

// entriesPerMember is the number of entries allowed for each member: the member, its companion from macOS, and their directories. A few
// more never matter.
const (
	entriesPerMember = 4
	fewEntries       = 1000
)

// A tally checks the entries of an archive against its limits, as they come.
type tally struct {
	limits           Limits
	entries, members int
	bytes            int64 // of all entries
}

func newTally(l Limits) *tally { return &tally{limits: l} }

func (t *tally) maxEntries() int { return entriesPerMember*max(t.limits.MaxMembers, 0) + fewEntries }

// add counts one more entry.
func (t *tally) add(m *Member) error {
	t.entries++
	if m.role == roleSymbol || m.role == roleListing {
		t.members++
	}
	switch {
	case t.members > t.limits.MaxMembers:
		return fault.TooLarge("The archive has more than %d members, which is the most allowed", t.limits.MaxMembers)
	case t.entries > t.maxEntries():
		return t.tooManyEntries()
	case m.Size > t.limits.MaxMemberSize:
		return fault.TooLarge("The member %s has %d bytes; one member may have at most %d", fault.Quote(m.Name), m.Size, t.limits.MaxMemberSize)
	case m.Size > t.limits.MaxExtractedSize-t.bytes:
		return fault.TooLarge("The members have more than %d bytes together, which is the most allowed", t.limits.MaxExtractedSize)
	}
	t.bytes += m.Size
	return nil
}

func (t *tally) tooManyEntries() error {
	return fault.TooLarge("The archive has more than %d entries, members and directories, which is the most allowed", t.maxEntries())
}
