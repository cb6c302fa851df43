package archive

import (
	"archive/tar"
	"fmt"
	"slices"

	"tecken-upload/internal/archive/fault"
)

// A tarListing makes members of a tar's headers, in order.
type tarListing struct {
	archive *Archive
	sum     *tally
	names   naming
	members []*Member
	files   map[string]*Member // regular files by their plain name, the last of each
}

// add makes a member of a header, or nil for a directory. A hard link has its target's content.
func (t *tarListing) add(h *tar.Header) (*Member, error) {
	p, err := t.names.locate(h.Name, h.Typeflag == tar.TypeDir)
	if err != nil {
		return nil, err
	}
	if kind := otherKind(h); kind != "" {
		return nil, fault.Invalid("The member %s is a %s; only regular files and hard links to them are allowed", fault.Quote(h.Name), kind)
	}
	m := &Member{Size: h.Size, archive: t.archive, sent: h.Name}
	m.place(p)
	switch h.Typeflag {
	case tar.TypeDir:
		m.Size = 0
		return nil, t.sum.add(m)
	case tar.TypeLink:
		if err := t.link(m, h); err != nil {
			return nil, err
		}
	}
	if err := t.sum.add(m); err != nil {
		return nil, err
	}
	m.Index = len(t.members)
	t.members = append(t.members, m)
	t.files[m.Name] = m
	return m, nil
}

// link gives a hard link the content of its target, which was verified before.
func (t *tarListing) link(m *Member, h *tar.Header) error {
	name, err := t.names.plain(h.Linkname)
	if err != nil {
		return err
	}
	target := t.files[name]
	if target == nil || name == m.Name {
		return fault.Invalid("The member %s is a hard link to %s, which is no other member before it", fault.Quote(h.Name), fault.Quote(h.Linkname))
	}
	if target.link != nil {
		target = target.link
	}
	m.link, m.Size, m.MD5, m.crc, m.head = target, target.Size, target.MD5, target.crc, target.head
	if m.Key.IsSym() {
		m.Header = m.head
	}
	return nil
}

// inOrder returns the members in the order of their contents: hard links after their target.
func (t *tarListing) inOrder() []*Member {
	links := make(map[*Member][]*Member)
	for _, m := range t.members {
		if m.link != nil {
			links[m.link] = append(links[m.link], m)
		}
	}
	if len(links) == 0 {
		return t.members
	}
	ordered := make([]*Member, 0, len(t.members))
	for _, m := range t.members {
		if m.link == nil {
			ordered = append(append(ordered, m), links[m]...)
		}
	}
	return slices.Clip(ordered)
}

// otherKind names a member's forbidden kind, or returns "".
func otherKind(h *tar.Header) string {
	switch h.Typeflag {
	case tar.TypeReg, tar.TypeGNUSparse, tar.TypeDir, tar.TypeLink:
		return ""
	case tar.TypeSymlink:
		return "symbolic link"
	case tar.TypeChar, tar.TypeBlock:
		return "device"
	case tar.TypeFifo:
		return "named pipe"
	}
	return fmt.Sprintf("special file of type %q", h.Typeflag)
}
